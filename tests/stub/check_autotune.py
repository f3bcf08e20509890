"""The tuner on device="cuda" of the stub: guards, trials, the device's clock, graphs, lost contexts."""

from __future__ import annotations

import numpy as np
import pytest
import tuning_toys as toys
from tuning_toys import NAME, Toy, config

from tritorch.autotune import clock as clocks
from tritorch.autotune import roofline
from tritorch.autotune.bench import Bench
from tritorch.autotune.clock import DeviceClock
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.problem import Work
from tritorch.autotune.trial import COMPILE, CRASH, OK, RESOURCES, WRONG
from tritorch.autotune.tunable import by_formula
from tritorch.autotune.worker import Worker
from tritorch.runtime import transfer
from tritorch.runtime.cuda import array as device
from tritorch.runtime.cuda import driver, memory
from tritorch.runtime.cuda.graph import Graph
from tritorch.runtime.cuda.stream import current_stream
from tritorch.runtime.device import Device
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import Kernel, recording_launches
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

CUDA = Device("cuda", 0)


@Kernel
def fill(
    out,  # what is filled: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, 1.0, mask=i < n)


def test_guards_lie_around_device_memory(interpreted):
    with guarded_memory() as guarded:
        out = transfer.empty((100,), np.dtype(np.float32), CUDA)
        assert out.pointer % 512 == 0 and np.isnan(transfer.to_host(out)).all()
        fill[(1,)](out, 100, BLOCK=128)
        assert not guarded.broken() and (transfer.to_host(out) == 1).all()
        fill[(1,)](out, 101, BLOCK=128)
        assert guarded.broken() == 1
        view = transfer.mirror(np.arange(20.0, dtype=np.float32)[::-2], CUDA)
        np.testing.assert_array_equal(transfer.to_host(view), np.arange(20.0)[::-2])
        assert not guarded.changed()
        fill[(1,)](view, 1, BLOCK=128)
        assert guarded.changed() == 1 and guarded.broken() == 1
    assert transfer.empty((1,), np.dtype(np.float32), CUDA).block.nbytes == 512  # as before


@pytest.fixture(scope="module")
def bench():
    return Bench(Toy(), CUDA)


def test_trials(interpreted, bench):
    (asked,) = bench.asked()
    assert asked.device.kind == "cuda" and asked.device.sms == 132
    good = bench.trial(NAME, asked.key, config())
    assert (good.state, good.error) == (OK, 0.0) and good.seconds > bench.roofline
    assert good.resources.registers > 0 and good.resources.spills == 0
    assert bench.trial(NAME, asked.key, config()) == good  # simulated, since the driver launches nothing
    for does, state in ((toys.UNSET, WRONG), (toys.BESIDE, WRONG), (toys.WRITES_INPUT, WRONG)):
        trial = bench.trial(NAME, asked.key, config(DOES=does))
        assert trial.state == state and trial.cause and trial.resources.registers > 0
    assert bench.trial(NAME, asked.key, config(num_warps=3)).state == COMPILE
    assert bench.finals(NAME, asked.key, [config(), config(BLOCK=32)])[0].p50 == pytest.approx(good.seconds, rel=0.02)


def test_an_op(interpreted):
    bench = Bench(OpProblem.sized("matmul", "bfloat16", {"M": 33, "N": 32, "K": 48}), CUDA)
    (asked,) = bench.asked()
    name, config = asked.kernel.kernel_name, by_formula(asked.kernel, asked.key, asked.device, asked.known)
    trial = bench.trial(name, asked.key, config)
    assert trial.ok and trial.error <= 1 and trial.resources.shared_memory > 0
    beyond = config | {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 256, "num_stages": 6}
    trial = bench.trial(name, asked.key, beyond)
    assert trial.state == RESOURCES and "bytes of shared memory per block, the device has 232448" in trial.cause


def test_a_worker_with_a_gpu_of_its_own(stub):
    """Its launches reach the stub, which leaves results as they are: only without verification are they timed."""
    (asked,) = Bench(Toy(), CUDA).asked()
    with Worker(CUDA, policy="graph", verify=False) as worker:
        bench = worker.bench(Toy())
        assert bench.asked() == [asked._replace(key=asked.key.with_policy("graph"))]
        trial = bench.trial(NAME, asked.key, config())
        assert trial.ok and trial.timing.p50 == pytest.approx(0.0005) and trial.resources.registers > 0


def launches_of(count, n=100):
    """Launches that were carried out as far as the stub goes."""
    out = device.empty((n,), np.float32)
    with recording_launches() as launches:
        for _ in range(count):
            fill[(1,)](out, n, BLOCK=128)
    return list(launches)


@pytest.fixture
def short(monkeypatch):
    """Few repeats, of half a millisecond each on the stub's clock."""
    monkeypatch.setattr(clocks, "WARM_SECONDS", 0.001)
    monkeypatch.setattr(clocks, "MEASURED_SECONDS", 0.0081)
    monkeypatch.setattr(clocks, "LEAST_REPEATS", 4)


def test_the_devices_clock_flushes_before_each_span(stub, short):
    clock = clocks.clock_for(CUDA, "eager")
    assert isinstance(clock, DeviceClock)
    clock.flush_seconds = 1.0
    launches = launches_of(2)
    before, fills = stub.count("launches"), stub.count("memsets")
    timing = clock.measure(launches)
    assert (timing.p20, timing.p50, timing.p80, timing.repeats) == (0.0005, 0.0005, 0.0005, 16)
    spans = 1 + 3 + 16  # once, to warm up, measured
    assert stub.count("memsets") - fills == spans
    assert stub.count("launches") - before == 2 * (spans + 1)
    assert clock._buffer.nbytes >= 2 * driver.properties(0).L2_cache_size


def test_a_flush_covers_the_time_that_the_host_needs(stub, short, monkeypatch):
    monkeypatch.setattr(clocks, "_LAUNCH_SECONDS", 1e-3)
    written = {}
    for policy in ("eager", "graph"):
        clock, before = DeviceClock(CUDA, policy), stub.count("memsets")
        clock.flush_seconds = 2e-3
        clock.measure(launches_of(5))
        written[policy] = stub.count("memsets") - before
    assert written == {"eager": 3 * 20, "graph": 20}  # six milliseconds are needed


def test_finals_go_turn_by_turn(stub, short, monkeypatch):
    clock, order = clocks.clock_for(CUDA, "eager"), []
    monkeypatch.setattr(clocks, "replay", lambda launches: order.append(launches[0]))
    timings = clock.finals([["a"], ["b"], ["c"]])
    assert [each.repeats for each in timings] == [16] * 3
    turns = "".join(order)[-48:]
    assert turns == "abcbcacab" * 5 + "abc"
    assert clock.finals([]) == []


def test_graphs_are_captured_once_and_replayed(stub, short):
    clock, launches = clocks.clock_for(CUDA, "graph"), launches_of(3)
    launched, captures, replays = (stub.count(each) for each in ("launches", "captures", "graph_launches"))
    timing = clock.measure(launches)
    assert timing.repeats == 16 and stub.count("captures") == captures + 1
    replays = stub.count("graph_launches") - replays
    assert replays == 1 + 1 + 3 + 16 and stub.count("launches") - launched == 3 * (replays + 1)


def test_a_graph_keeps_the_memory_it_uses(stub):
    memory.empty_cache()
    held, pointers = memory.memory_allocated(), []
    graph = Graph(lambda: pointers.extend(device.empty((1 << 20,), np.uint8).pointer for _ in range(3)))
    assert len(set(pointers)) == 3 and memory.memory_allocated() == held + (3 << 20)
    assert device.empty((1 << 20,), np.uint8).pointer not in pointers
    graph.replay()
    del graph
    assert memory.memory_allocated() == held
    assert device.empty((1 << 20,), np.uint8).pointer in pointers


def test_a_capture_that_fails_leaves_the_stream_as_it_was(stub):
    captures = stub.count("captures")
    with pytest.raises(ZeroDivisionError):
        Graph(lambda: 1 / 0)
    with pytest.raises(driver.CudaError):
        Graph(current_stream().synchronize)
    assert stub.count("captures") == captures + 2
    device.from_host(np.arange(3))
    current_stream().synchronize()
    with pytest.raises(memory.OutOfMemoryError, match=r"Tried to allocate 1\.00 GiB"):
        Graph(lambda: device.empty((1 << 30,), np.uint8))


def test_a_lost_context_is_a_crash(stub, monkeypatch):
    monkeypatch.setattr(driver, "_fatal", None)
    bench = Bench(Toy(), CUDA, verify=False)
    (asked,) = bench.asked()
    assert bench.trial(NAME, asked.key, config()).ok and not bench.lost
    stub.fail(700)
    try:
        trial = bench.trial(NAME, asked.key, config())
        assert trial.state == CRASH and "illegal memory access" in trial.cause and bench.lost
    finally:
        stub.fail(0)


def test_the_roofline_of_a_gpu(stub):
    work = Work(flops=2 * 8192**3, bytes=3 * 2 * 8192**2, dtype="bfloat16")
    assert roofline.ceiling_of(CUDA) == roofline.PRETENDED  # the stub has an H200's clocks
    assert roofline.fraction(work, 2 * 8192**3 / 785e12, CUDA) == pytest.approx(1, rel=0.02)
