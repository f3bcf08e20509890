"""A trace on a GPU (of the stub driver): ops' times are read from events on their streams, and nothing waits."""

from __future__ import annotations

import threading

import pytest

import tritorch as torch
from tritorch.autotune import trace as tracing
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.trace import Tracer, device_text, read_shapes, trace_of, write_shapes
from tritorch.ops.base import TABLE
from tritorch.runtime.cuda.stream import Event

pytestmark = pytest.mark.usefixtures("interpreted")


def test_ops_are_timed_by_events(tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "_MOST_PENDING", 4)  # so that events are used again
    made = []
    monkeypatch.setattr(tracing, "_event", lambda: made.append(Event(enable_timing=True)) or made[-1])
    x = torch.ones(64, 8, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    with Tracer() as tracer:
        for _ in range(20):
            y = (x * 3).exp()
        with torch.cuda.stream(side):
            y.sum().backward()
        other = threading.Thread(target=lambda: x.detach().cos())
        other.start()
        other.join()
        x.t()
    seen = {each.op: each for each in tracer.seen()}
    assert seen["exp"].count == 20 and seen["cos"].count == 1
    assert all(seen[name].seconds >= 0 and seen[name].device.is_cuda for name in ("exp", "mul", "sum", "cos"))
    assert seen["t"].seconds == 0  # launches nothing, so it takes no time there
    assert 2 <= len(made) < 40 and not tracer._launches._pending
    trace, device = trace_of(tracer.seen(), 10), device_text(tracer.seen())
    assert device.startswith("cuda:0 (")
    write_shapes(tmp_path / "a.json", trace, "a block", device)
    problem = next(row.problem for row in read_shapes(tmp_path / "a.json") if row.problem.name == "exp")
    call = problem.call(x.device)
    assert call.compare(call.run())[0] <= 1


def test_a_number_on_the_host_beside_tensors_on_the_gpu_is_a_number():
    with Tracer() as tracer:
        torch.ones(300, device="cuda") * torch.tensor(2.5, device="cpu")
    (mul,) = (each for each in tracer.seen() if each.op == "mul")
    assert mul.problem.arguments[1] == 2.5


def test_values_are_looked_at_on_the_gpu():
    with Tracer() as tracer:
        torch.arange(2000, device="cuda").flip(0)
        torch.ones(300, device="cuda").sqrt()
    seen = {each.op: each.problem for each in tracer.seen()}
    spec = seen["flip"].arguments[0]
    assert (spec.low, spec.high, spec.sorted) == (0, 1999, True)
    assert (seen["sqrt"].arguments[0].low, seen["sqrt"].arguments[0].high) == (0.5, 1.5)


def test_layouts_and_private_copies_on_the_gpu():
    x = torch.rand(9, 16, device="cuda")[1:, ::3].t()
    problem = OpProblem.of(TABLE["exp"], (x,))
    call = problem.call(x.device)
    assert call.compare(call.run())[0] <= 1
    parameter, gradient, velocity = (torch.ones(300, device="cuda") for _ in range(3))
    problem = OpProblem.of(TABLE["sgd_step"], (0.1, 0.9, 0, 0, False, False, False, parameter, gradient, velocity))
    call = problem.call(x.device)
    call.run()
    assert call.compare(call.run())[0] <= 1
