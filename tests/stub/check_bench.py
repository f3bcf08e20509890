"""`tritorch bench` on device="cuda" of the stub: what Python costs, the model's times, and the device's clock."""

from __future__ import annotations

import json
from contextlib import contextmanager

import made_up_peer
import pytest

import tritorch
from tritorch.autotune import clock as clocks
from tritorch.bench import peer as peers
from tritorch.bench import stopwatch
from tritorch.bench.case import Input, Side
from tritorch.bench.measure import drawn
from tritorch.bench.nets import gpt2
from tritorch.bench.stopwatch import DeviceStopwatch, HostStopwatch, SimulatedStopwatch, stopwatch_for
from tritorch.bench.suites import matmul, softmax, step
from tritorch.bench.training import Training, training_case
from tritorch.cli.main import GOOD, main
from tritorch.runtime.cuda import driver, memory
from tritorch.runtime.cuda.stream import current_stream
from tritorch.runtime.device import Device
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

CUDA = Device("cuda", 0)


@pytest.fixture
def short(monkeypatch):
    """Few repeats, short rounds."""
    monkeypatch.setattr(clocks, "WARM_SECONDS", 0.001)
    monkeypatch.setattr(clocks, "MEASURED_SECONDS", 0.0081)
    monkeypatch.setattr(clocks, "LEAST_REPEATS", 4)
    monkeypatch.setattr(stopwatch, "ROUNDS", 3)


@pytest.fixture
def torch(monkeypatch):
    """A library in torch's place, which notes on which streams it was told to work."""
    streams = []

    @contextmanager
    def on_stream(stream):
        streams.append(stream)
        yield

    cuda = made_up_peer.Stand(
        tritorch.cuda,
        is_available=lambda: True,
        stream=on_stream,
        ExternalStream=lambda number, device: (number, device),
    )
    made_up_peer.install(monkeypatch, made_up_peer.stand_in(cuda=cuda))
    return streams


def rows_of(tmp_path, *arguments):
    file = tmp_path / "rows.json"
    assert main(["bench", *arguments, "--json", str(file)]) == GOOD
    return json.loads(file.read_text())


def test_what_python_costs(stub, short, tmp_path):
    launches = stub.count("launches")
    found = rows_of(tmp_path, "launch")
    assert stub.count("launches") > launches
    rows = {row["case"]: row for row in found["rows"]}
    assert {"kernel of 6 arguments", "kernel of 16 arguments", "matmul with gradients"} < set(rows)
    for row in rows.values():
        assert row["unit"] == "us" and 0.5 < row["ours"] < 500 and row["roofline"] is None
    about = found["environment"]
    assert about["gpu"] == driver.properties(0).name and about["driver"] and about["cuda"] == driver.driver_version()


def test_kernels_by_themselves_have_no_other_side(stub, short, torch, tmp_path, monkeypatch):
    monkeypatch.setattr("tritorch.bench.measure.compare_all", lambda *results: (0.0, ""))  # the stub computes nothing
    rows = rows_of(tmp_path, "launch", "--quick", "--against", "torch")["rows"]
    assert [row["theirs"] is None for row in rows] == [True, True, False, False]


def test_times_of_the_model(interpreted, torch, tmp_path):
    rows = rows_of(tmp_path, "matmul", "--quick", "--against", "torch", "--dtype", "float32", "--dtype", "tf32")["rows"]
    assert {row["dtype"] for row in rows} == {"float32", "tf32"}
    for row in rows:
        assert 0 < row["roofline"] < 1 and row["agree"] is True
        assert row["ratio"] == pytest.approx(1, rel=0.05)  # both sides are the same here
    number = current_stream(0).cuda_stream
    assert torch and set(torch) == {(number, 0)}


@pytest.mark.parametrize("name", ["attention", "conv", "rnn", "softmax", "optimizer"])
def test_other_suites_of_the_model(name, interpreted, monkeypatch, tmp_path):
    rows = rows_of(tmp_path, name, "--quick", "--dtype", "float16" if name == "attention" else "float32")["rows"]
    assert all(row["ours"] > 0 and row["roofline"] > 0 and row["agree"] is None for row in rows)


def tiny(monkeypatch):
    """A net whose step is soon done in the place of GPT-2."""
    monkeypatch.setattr(gpt2, "QUICK", gpt2.TINY)
    monkeypatch.setattr(stopwatch, "STEP_ROUND_SECONDS", 1e-3)
    monkeypatch.setattr(clocks, "_SLOWER", 0)  # the stub fills memory for real


def test_what_a_step_does_on_a_gpu(stub, short, tmp_path, monkeypatch):
    tiny(monkeypatch)
    [row] = rows_of(tmp_path, "step", "--quick", "--net", "gpt2")["rows"]
    assert row["dtype"] == "bfloat16" and row["case"].endswith("autocast") and row["theirs"] is None
    assert 0 <= row["idle"] <= 1 and 0.01 < row["peak_mib"] < 10
    case = next(each for each in step.cases(("bfloat16",), True, False) if each.line == "gpt2")
    steps = case.step(tritorch, *drawn(case, CUDA))
    for _ in range(4):
        steps()
    before = stub.count("launches")
    steps()
    assert row["launches"] == stub.count("launches") - before > 50


def test_memory_of_a_step_is_the_most_it_holds(stub):
    """A net of one matrix: the weight, its slope, and a product of the batch's size that is let go."""
    training = Training(
        sizes="", net=lambda lib: Product(lib), inputs=(Input((256, 64)),), count=1, unit="images/s", flops=1, terms=1,
        optimizer=lambda lib, parameters: lib.optim.SGD(parameters, lr=0.1),
    )  # fmt: skip
    case = training_case("product", "float32", training)
    steps = case.step(tritorch, *drawn(case, CUDA))
    steps()
    facts = case.facts(CUDA, {"ours": Side(tritorch, steps, 1.0)}, [])
    assert 2 * 64 * 64 * 4 + 256 * 64 * 4 <= facts["peak_mib"] * 2**20 < 2 * 64 * 64 * 4 + 5 * 256 * 64 * 4


class Product(tritorch.nn.Module):
    """The sum of the squares of x @ w."""

    def __init__(self, lib):
        super().__init__()
        self.weight = lib.nn.Parameter(lib.zeros(64, 64))

    def forward(self, x):
        return ((x @ self.weight) ** 2).sum()


def test_both_sides_of_a_step(stub, short, torch, tmp_path, monkeypatch):
    tiny(monkeypatch)
    monkeypatch.setattr("tritorch.bench.measure.compare_all", lambda *results: (0.0, ""))
    monkeypatch.setattr(peers.Torch, "launches", lambda self, function: 7)
    monkeypatch.setattr(peers.Torch, "compiled", lambda self, function: function)
    [row] = rows_of(tmp_path, "step", "--quick", "--net", "gpt2", "--against", "torch")["rows"]
    assert row["theirs_launches"] == row["compiled_launches"] == 7 and row["launches"] > 50
    assert row["peak_mib"] == pytest.approx(row["theirs_peak_mib"], rel=0.05) == row["compiled_peak_mib"]
    assert row["over_compiled"] > 0 and 0 <= row["theirs_idle"] <= 1


def test_a_copy_is_timed_beside_memory_bound_ops(stub, short, tmp_path, monkeypatch):
    monkeypatch.setattr(softmax, "rows", lambda quick, small: ((8, 128), (64, 128)))
    before = stub.count("copies")
    rows = rows_of(tmp_path, "softmax", "--quick", "--dtype", "float32")["rows"]
    assert len(rows) == 8 and all(row["copy"] > 0 and row["of_copy"] > 0 for row in rows)
    assert stub.count("copies") > before


def test_no_copy_where_launches_are_interpreted(interpreted, tmp_path):
    assert all("copy" not in row for row in rows_of(tmp_path, "copy", "--quick", "--dtype", "float32")["rows"])


def test_batches_fit_the_memory(stub, monkeypatch):
    for free, batch in ((200 << 30, 16), (30 << 30, 8), (1, 1)):
        monkeypatch.setattr(memory, "mem_get_info", lambda free=free: (free, free))
        assert gpt2.fitting(16) == batch


def test_the_devices_clock_times_any_function(stub, short, torch, tmp_path, monkeypatch):
    monkeypatch.setattr("tritorch.bench.measure.compare_all", lambda *results: (0.0, ""))
    monkeypatch.setattr(matmul, "QUICK", ((64, 64, 64), (16, 64, 64)))
    monkeypatch.setattr(matmul, "QUICK_LAYERS", ())
    before = stub.count("memsets")
    rows = rows_of(tmp_path, "matmul", "--quick", "--against", "torch", "--dtype", "bfloat16")["rows"]
    assert len(rows) == 3 and all(row["ours"] > 0 and row["theirs"] > 0 for row in rows)
    assert stub.count("memsets") - before >= 3 * 2 * 4  # a flush before each span, of either side


def test_the_flush_lasts_as_long_as_python_takes(stub, monkeypatch):
    clock, order = DeviceStopwatch(CUDA).clock, []
    clock.flush_seconds = 1e-3
    monkeypatch.setattr(clock, "_host_seconds", lambda function: 0.01)
    flushes, function = clock.queued(lambda: order.append("queued"))
    assert flushes == 16 and order == ["queued"]  # half as long again, and the events
    function()
    assert order == ["queued"] * 2


def test_who_times(stub):
    assert isinstance(stopwatch_for(CUDA, True), HostStopwatch)
    assert isinstance(stopwatch_for(CUDA, False), DeviceStopwatch)


def test_who_times_where_launches_are_interpreted(interpreted):
    assert isinstance(stopwatch_for(CUDA, False), SimulatedStopwatch)


def test_the_other_library_works_on_our_stream(stub, torch):
    with peers.Torch(CUDA).running(CUDA):
        assert torch == [(current_stream(0).cuda_stream, 0)]
