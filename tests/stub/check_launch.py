"""Kernel launches on device arrays: through the driver as far as the stub goes, and by the bridge to their numbers."""

from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from tritorch.autograd.planning import noted
from tritorch.runtime import plans
from tritorch.runtime.cuda import array as device
from tritorch.runtime.cuda import driver, memory
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.cuda.graph import Graph
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl, triton_missing
from tritorch.runtime.launcher import OutOfResources, entries, forget

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@Kernel
def scale(
    x,  # what is scaled: (n,) by its stride
    out,  # the results: (n,)
    factor,
    n,
    stride,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i * stride, mask=i < n).to(tl.float32) * factor
    tl.store(out + i, value.to(out.dtype.element_ty), mask=i < n)


@Kernel
def total(
    inputs,  # tuple of arrays: (BLOCK,) each
    out,  # their sum: (BLOCK,)
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(inputs[0] + i) + tl.load(inputs[1] + i))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.int32])
def test_numbers(interpreted, dtype):
    host = np.arange(1000).astype(dtype)
    x, out = device.from_host(host), device.empty((334,), dtype)
    view = x[::-3]
    scale[(2,)](view, out, 0.5, 334, view.strides[0] // view.itemsize, BLOCK=256, num_warps=2)
    np.testing.assert_array_equal(device.to_host(out), (host[::-3].astype(np.float32) * np.float32(0.5)).astype(dtype))


def test_tuples_of_arrays(interpreted):
    host = np.arange(64, dtype=np.float32)
    out = device.empty((32,), np.float32)
    total[(1,)]((device.from_host(host[:32]), device.from_host(host)[32:]), out, BLOCK=32)
    np.testing.assert_array_equal(device.to_host(out), host[:32] + host[32:])


@Kernel
def sum_of(
    parts,  # tuple of arrays: (BLOCK,) each
    more,  # added: (BLOCK,), or None
    out,  # (BLOCK,)
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    value = tl.load(parts[0] + i)
    if more is not None:
        value += tl.load(more + i)
    tl.store(out + i, value)


def test_an_array_may_be_there_at_the_first_launch_alone(interpreted):
    """The launcher looks at one argument to see that a launch is for its device."""
    x, out = device.from_host(np.ones(32, np.float32)), device.empty((32,), np.float32)
    for more, expected in ((x, 2), (None, 1), (x, 2)):
        sum_of[(1,)]((x,), more, out, BLOCK=32)
        assert (device.to_host(out) == expected).all()


def test_the_driver_gets_the_launch(stub):
    x = device.from_host(np.ones(1000, np.float32))
    launches = stub.count("launches")
    scale[(7,)](x, x, 2.0, 1000, 1, BLOCK=128)
    scale[(0,)](x, x, 2.0, 1000, 1, BLOCK=128)
    other = streams.Stream()
    with streams.stream(other):
        scale[(5,)](x, x, 2.0, 1000, 1, BLOCK=128)
    assert stub.count("launches") == launches + 2
    assert stub.count("grid") == 5


def test_alignment_and_dtype_choose_the_compiled_version(stub):
    x, wide = device.from_host(np.ones(64, np.float32)), device.from_host(np.ones(64, np.float64))
    before = len(entries(scale))
    for each in (x, x[4:], x[1:], wide, wide[2:], wide[1:]):
        scale[(1,)](each, each, 3.0, 60, 1, BLOCK=64, num_warps=1)
    assert len(entries(scale)) == before + 4  # two dtypes, each aligned to 16 bytes and not


def test_a_failing_launch_raises(stub, monkeypatch):
    monkeypatch.setattr(driver, "_fatal", None)
    x = device.from_host(np.ones(8, np.float32))
    scale[(1,)](x, x, 2.0, 8, 1, BLOCK=64)
    stub.fail(700)
    try:
        with pytest.raises(Exception, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
            scale[(1,)](x, x, 2.0, 8, 1, BLOCK=64)
    finally:
        stub.fail(0)


def test_a_launch_keeps_no_memory(interpreted):
    memory.empty_cache()
    x = device.from_host(np.ones(100, np.float32))
    held = memory.memory_allocated()
    for _ in range(5):
        scale[(1,)](x, device.empty((100,), np.float32), 2.0, 100, 1, BLOCK=128)
    assert memory.memory_allocated() == held


@Kernel
def add_one(
    x,  # (rows, columns)
    out,  # x + 1: (rows, columns)
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    source = tl.make_tensor_descriptor(x, shape=[rows, columns], strides=[columns, 1], block_shape=[ROWS, COLUMNS])
    result = tl.make_tensor_descriptor(out, shape=[rows, columns], strides=[columns, 1], block_shape=[ROWS, COLUMNS])
    at = [tl.program_id(0) * ROWS, tl.program_id(1) * COLUMNS]
    result.store(at, source.load(at) + 1)


def test_descriptors(interpreted):
    host = np.arange(21 * 48, dtype=np.float32).reshape(21, 48)
    out = device.empty((21, 48), np.float32)
    add_one[(3, 2)](device.from_host(host), out, 21, 48, ROWS=8, COLUMNS=32)
    np.testing.assert_array_equal(device.to_host(out), host + 1)


@pytest.fixture
def scratch(stub, monkeypatch):
    """A function that launches on a grid, on the current stream, and gives the address of the scratch it got."""
    forget(add_one)
    x = device.from_host(np.zeros((64, 64), np.float32))

    add_one[(1,)](x, x, 64, 64, ROWS=8, COLUMNS=32)
    (entry,) = entries(add_one)
    memory.empty_cache()

    def launch(grid):
        packed = []
        values = (x, x, 64, 64, 8, 32)
        entry.call(
            lambda *parameters: packed.append(parameters), streams.current_stream(0), entry.config(grid), *values
        )
        return packed[0][-2]

    return launch


def test_launches_of_a_stream_share_scratch(scratch):
    first = scratch((8, 2))
    assert first % 128 == 0
    held = memory.memory_allocated()
    assert scratch((8, 2)) == scratch((1, 1)) == first
    assert memory.memory_allocated() == held
    other = streams.Stream()
    with streams.stream(other):
        elsewhere = scratch((8, 2))
        assert elsewhere != first
    assert scratch((8, 2)) == first
    larger = scratch((800, 2))  # 256 bytes a program
    assert memory.allocator(0).scratch[streams.current_stream(0)].nbytes == 800 * 2 * 256
    assert larger not in (first, elsewhere) and scratch((8, 2)) == larger


def test_a_graph_has_scratch_of_its_own(scratch):
    def capture(grid):
        addresses = []
        return Graph(lambda: addresses.extend((scratch(grid), scratch(grid)))), addresses

    before = scratch((8, 2))
    graph, (first, second) = capture((8, 2))
    assert first == second != before
    assert scratch((8, 2)) == before
    _, (other, _) = capture((16, 2))
    assert other not in (first, before)
    memory.empty_cache()  # while the graph lives, nobody else gets its memory
    assert first not in {device.empty((4096,), np.uint8).pointer for _ in range(8)} | {scratch((8, 2))}
    del graph


def test_a_plan_finds_scratch_at_each_launch(interpreted):
    host = np.arange(21 * 48, dtype=np.float32).reshape(21, 48)
    x, scratch = device.from_host(host), memory.allocator(0).scratch

    def forward(x):
        out = device.empty(x.shape, x.dtype)
        add_one[(3, 2)](x, out, *x.shape, ROWS=8, COLUMNS=32)
        return out

    forward(x)
    noted(SimpleNamespace(passed=(), replay=None), "a signature", (x,), forward)
    plan = plans.ready.pop("a signature")
    for stream in (streams.current_stream(0), streams.Stream()):
        memory.empty_cache()
        assert not scratch
        with streams.stream(stream):
            np.testing.assert_array_equal(device.to_host(plan(x)), host + 1)
        assert [(each, block.nbytes) for each, block in scratch.items()] == [(stream, 3 * 2 * 256)]


def test_the_driver_is_told_of_a_cooperative_launch(stub):
    x, before = device.from_host(np.ones(1000, np.float32)), stub.count("cooperative_launches")
    scale[(132,)](x, x, 2.0, 1000, 1, BLOCK=128, launch_cooperative_grid=True)
    scale[(5,)](x, x, 2.0, 1000, 1, BLOCK=128)
    assert stub.count("cooperative_launches") == before + 1
    with pytest.raises(OutOfResources, match=r"kernel scale .* for 133 programs, of which 132 run at once") as raised:
        scale[(133,)](x, x, 2.0, 1000, 1, BLOCK=128, launch_cooperative_grid=True)
    assert raised.value.code == 720  # CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, as from the driver
