"""`tritorch bench` on device="cuda" of the stub: what Python costs, the model's times, and the device's clock."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import made_up_peer
import pytest

from tritorch.autotune import clock as clocks
from tritorch.bench import peer as peers
from tritorch.bench import stopwatch
from tritorch.bench.stopwatch import DeviceStopwatch, HostStopwatch, SimulatedStopwatch, stopwatch_for
from tritorch.bench.suites import matmul
from tritorch.cli.main import GOOD, main
from tritorch.runtime.cuda import driver
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

    cuda = SimpleNamespace(
        is_available=lambda: True, stream=on_stream, ExternalStream=lambda number, device: (number, device)
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


@pytest.mark.parametrize("name", ["attention", "conv", "rnn"])
def test_other_suites_of_the_model(name, interpreted, monkeypatch, tmp_path):
    rows = rows_of(tmp_path, name, "--quick", "--dtype", "float16" if name == "attention" else "float32")["rows"]
    assert all(row["ours"] > 0 and row["roofline"] > 0 and row["agree"] is None for row in rows)


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
