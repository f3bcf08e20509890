"""The profiler: what it records, how spans nest, its table, its schedule and the trace it writes."""

from __future__ import annotations

import gzip
import json

import pytest

import tritorch as torch
from tritorch.profiler import ProfilerAction, profile, record_function, schedule, tensorboard_trace_handler

nn = torch.nn


@pytest.fixture(scope="module")
def recorded():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.ones(3, 4)
    with profile(record_shapes=True, profile_memory=True, with_stack=True, with_flops=True) as found:
        with record_function("forward"):
            loss = model(x).sum()
        loss.backward()
    return found


def named(found, name):
    return [span for span in found.events() if span.name == name]


def test_every_op_call_is_a_span_inside_what_called_it(recorded):
    assert len(named(recorded, "linear")) == 2
    assert {span.cpu_parent.name for span in named(recorded, "linear")} == {"forward"}
    assert named(recorded, "forward")[0].is_user_annotation
    gradients = named(recorded, "LinearBackward0")
    assert len(gradients) == 2 and all("matmul" in [c.name for c in g.cpu_children] for g in gradients)


def test_times_add_up(recorded):
    forward = named(recorded, "forward")[0]
    inside = sum(child.cpu_time_total for child in forward.cpu_children)
    assert forward.cpu_time_total >= inside > 0
    assert forward.self_cpu_time_total == pytest.approx(forward.cpu_time_total - inside)
    assert forward.time_range.elapsed_us() == pytest.approx(forward.cpu_time_total)
    roots = [span for span in recorded.events() if span.cpu_parent is None]
    assert recorded.events().self_cpu_time_total == pytest.approx(sum(root.cpu_time_total for root in roots))


def test_averages_count_calls_and_tell_shapes_apart(recorded):
    by_name = {each.key: each for each in recorded.key_averages()}
    assert by_name["linear"].count == 2
    assert by_name["linear"].cpu_time == pytest.approx(by_name["linear"].cpu_time_total / 2)
    shapes = [each.input_shapes for each in recorded.key_averages(group_by_input_shape=True) if each.key == "linear"]
    assert sorted(shapes) == [[[3, 4], [8, 4], [8]], [[3, 8], [1, 8], [1]]]
    assert by_name["linear"].cpu_memory_usage == 3 * 8 * 4 + 3 * 4


def test_products_are_counted(recorded):
    by_name = {each.key: each for each in recorded.key_averages()}
    assert by_name["linear"].flops == 2 * (3 * 4 * 8 + 3 * 8 * 1)
    assert by_name["matmul"].flops == 2 * (3 * 4 * 8 + 2 * 3 * 8 * 1)  # the first layer's input wants no gradient
    assert by_name["relu"].flops == 0 and "Total MFLOPs" in recorded.key_averages().table()


def test_the_table_sorts_limits_and_refuses_unknown_keys(recorded):
    text = recorded.key_averages().table(sort_by="count", row_limit=2, header="first")
    lines = text.splitlines()
    assert lines[0] == "first" and "# of Calls" in lines[2] and "CPU Mem" in lines[2]
    assert lines[-1].startswith("Self CPU time total:") and len(lines) == 4 + 2 + 2
    with pytest.raises(ValueError, match=r"sort_by must be one of .*, but got 'speed'"):
        recorded.key_averages().table(sort_by="speed")


def test_stacks_lead_to_the_callers_line(recorded, tmp_path):
    span = named(recorded, "linear")[0]
    assert "test_profiler.py" in span.stack[0] and "recorded" in span.stack[0]
    recorded.export_stacks(tmp_path / "stacks.txt")
    last = (tmp_path / "stacks.txt").read_text().splitlines()[-1]
    assert last.rpartition(" ")[2].isdigit() and ";" in last


def test_the_trace_holds_complete_events_on_named_threads(recorded, tmp_path):
    recorded.add_metadata("run", "first")
    recorded.export_chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(complete) == len(recorded.events()) and trace["run"] == "first"
    assert all(event["dur"] >= 0 and event["ts"] >= 0 and isinstance(event["tid"], int) for event in complete)
    linear = next(event for event in complete if event["name"] == "linear")
    assert linear["cat"] == "cpu_op" and linear["args"]["Input Dims"] == [[3, 4], [8, 4], [8]]
    rows = {event["tid"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert {event["tid"] for event in complete} <= rows
    recorded.export_chrome_trace(tmp_path / "trace.json.gz")
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes())) == trace


def test_a_schedule_names_the_steps_that_are_recorded(tmp_path):
    plan = schedule(skip_first=1, wait=1, warmup=1, active=2, repeat=2)
    none, warm, record, save = ProfilerAction
    assert [plan(step) for step in range(10)] == [none, none, warm, record, save, none, warm, record, save, none]
    seen = []
    with profile(schedule=plan, on_trace_ready=lambda found: seen.append([s.name for s in found.events()])) as found:
        for _ in range(12):
            torch.ones(2).exp()
            found.step()
    steps = [["ProfilerStep#3", "full", "exp", "ProfilerStep#4", "full", "exp"],
             ["ProfilerStep#7", "full", "exp", "ProfilerStep#8", "full", "exp"]]  # fmt: skip
    assert seen == steps


def test_a_handler_writes_a_file_for_each_recording(tmp_path):
    ready = tensorboard_trace_handler(tmp_path / "runs", worker_name="one")
    with profile(schedule=schedule(wait=0, warmup=1, active=1, repeat=2), on_trace_ready=ready) as found:
        for _ in range(4):
            torch.ones(2).exp()
            found.step()
    assert len(list((tmp_path / "runs").glob("one.*.pt.trace.json"))) == 2


def test_nothing_is_recorded_outside_and_an_error_ends_its_spans():
    with record_function("nobody looks"):
        torch.ones(2).exp()
    with pytest.raises(ZeroDivisionError), profile() as found, record_function("broken"):
        torch.ones(2).exp()
        raise ZeroDivisionError
    torch.ones(2).log()
    assert [span.name for span in found.events()] == ["broken", "full", "exp"]
    assert found.events()[0].cpu_time_total >= found.events()[2].cpu_time_total
    with pytest.raises(AssertionError, match="initialized before"):
        profile().events()


def test_the_older_form_and_the_decorator():
    @record_function("twice")
    def twice(x):
        return x + x

    with torch.autograd.profiler.profile() as found:
        twice(torch.ones(2))
    assert "twice" in found.table() and found.total_average().count == 3
    with torch.autograd.profiler.profile(enabled=False) as found, torch.autograd.profiler.record_function("nothing"):
        twice(torch.ones(2))
