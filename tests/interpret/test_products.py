"""Every way to launch a product, against NumPy: by descriptors or pointers, whole or in parts, with any end."""

from __future__ import annotations

import mmap
from contextlib import ExitStack
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from tolerances import tolerance

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.ops.formula import tanh
from tritorch.ops.matrix import launch
from tritorch.ops.matrix.descriptor_kernel import descriptor_kernel
from tritorch.ops.matrix.epilogue import sum_parts_kernel
from tritorch.ops.matrix.kernel import matmul_kernel
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.shape.pad import _pad
from tritorch.runtime import precision
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

A100, H200 = generation(80), generation(90)
HALVES = (np.float16, ml_dtypes.bfloat16)
FLOAT8 = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
ROWS, COLUMNS, INNER = 200, 136, 176  # past one tile, none of them a multiple of a tile


@pytest.fixture(autouse=True)
def _small_is_worth_it(monkeypatch):
    monkeypatch.setattr(launch, "WORTH_DESCRIBING", 0)


def numbers(*shape, dtype=np.float16):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def turned(array):
    return array.swapaxes(-1, -2)


def operands(layout, batch=(), dtype=np.float16, rows=ROWS, columns=COLUMNS, inner=INNER):
    """Both operands, each as it is ("n") or as a transposed view ("t")."""
    a = (
        turned(numbers(*batch, inner, rows, dtype=dtype))
        if layout[0] == "t"
        else numbers(*batch, rows, inner, dtype=dtype)
    )
    other = (*batch, columns, inner), (*batch, inner, columns)
    b = turned(numbers(*other[0], dtype=dtype)) if layout[1] == "t" else numbers(*other[1], dtype=dtype)
    return a, b


def wide(array):
    return array.astype(np.float64)


def check(found, expected, dtype):
    relative, absolute = tolerance(dtype, length=INNER) if dtype not in FLOAT8 else (0.13, 0.1)
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(wide(found), expected, rtol=relative, atol=absolute * scale)


def launched(a, b, *rest, device=H200, knobs=None, kernel=descriptor_kernel, **end):
    """The product and the names of the kernels it took, chosen as for `device`, with some knobs of `kernel` forced."""
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    with ExitStack() as stack:
        stack.enter_context(pretending(device))
        if knobs:
            with noting_configs() as asked, recording_launches(run=False):
                launch_matmul(a, b, shape, *rest, **end)
            found = next(each for each in asked if each.kernel is kernel)
            stack.enter_context(using(kernel, found.key, found.config | knobs))
        launches = stack.enter_context(recording_launches())
        found = launch_matmul(a, b, shape, *rest, **end)
    return found, [each.kernel for each in launches]


@pytest.mark.parametrize("dtype", [*HALVES, *FLOAT8], ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
def test_descriptors_read_operands_as_they_lie(layout, dtype):
    inner, columns = (176, 144) if dtype in FLOAT8 else (INNER, COLUMNS)
    a, b = operands(layout, dtype=dtype, rows=208, columns=columns, inner=inner)
    found, kernels = launched(a, b)
    assert kernels[0] is descriptor_kernel
    check(found, wide(a) @ wide(b), dtype)


def test_single_precision_takes_descriptors_where_tensor_cores_may_round_it():
    a, b = operands("nt", dtype=np.float32)
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision("high")
    try:
        found, kernels = launched(a, b)
    finally:
        precision.set_float32_matmul_precision(before)
    assert kernels[0] is descriptor_kernel
    check(found, wide(a) @ wide(b), np.float32)


@pytest.mark.parametrize("sms", [1, 3])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_few_programs_compute_many_tiles(batch, sms):
    a, b = operands("nn", batch)
    found, kernels = launched(a, b, device=replace(H200, sms=sms), knobs={"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4})
    assert kernels[0] is descriptor_kernel
    check(found, wide(a) @ wide(b), np.float16)


@pytest.mark.parametrize("pieces", [1, 2, 4])
@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS - 1])  # the second has no rows at multiples of 16 bytes to store
def test_results_are_stored_in_pieces_with_any_end(columns, pieces):
    a, b = operands("nt", columns=columns)
    bias, residual = numbers(columns), numbers(ROWS, columns)
    found, kernels = launched(a, b, bias, tanh, residual, 0.1, -2, knobs={"PIECES": pieces})
    assert kernels[0] is descriptor_kernel
    check(found, np.tanh(0.1 * (wide(a) @ wide(b)) + wide(bias)) - 2 * wide(residual), np.float16)


WAYS = [(descriptor_kernel, H200), (matmul_kernel, A100)]


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize(("kernel", "device"), WAYS, ids=["descriptors", "pointers"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_parts_of_sums_are_added_up(kernel, device, batch, parts):
    a, b = operands("nn", batch, rows=72, columns=88, inner=328)  # the last parts are short, or empty
    bias, residual = numbers(88), numbers(*batch, 72, 1)
    end = (bias, tanh, residual, 0.1, 3)
    found, kernels = launched(a, b, *end, device=device, knobs={"SPLIT_K": parts, "BLOCK_K": 64}, kernel=kernel)
    assert kernels == [kernel, sum_parts_kernel]
    check(found, np.tanh(0.1 * (wide(a) @ wide(b)) + wide(bias)) + 3 * wide(residual), np.float16)
    again, _ = launched(a, b, *end, device=device, knobs={"SPLIT_K": parts, "BLOCK_K": 64}, kernel=kernel)
    assert np.array_equal(found, again)


@pytest.mark.parametrize(("kernel", "device"), WAYS, ids=["descriptors", "pointers"])
@pytest.mark.parametrize("knobs", [None, {"SPLIT_K": 2}])
def test_products_are_added_to_what_is_there(kernel, device, knobs):
    a, b = operands("tn", rows=72, columns=88, inner=320)
    out = numbers(72, 88, dtype=np.float32)
    expected = out + wide(a) @ wide(b)
    found, kernels = launched(a, b, residual=out, out=out, device=device, knobs=knobs, kernel=kernel)
    assert found is out
    assert kernels[0] is kernel
    check(out, expected, np.float16)


@pytest.mark.parametrize(("kernel", "device"), WAYS, ids=["descriptors", "pointers"])
@pytest.mark.parametrize("knobs", [None, {"SPLIT_K": 2}])
@pytest.mark.parametrize("columns", [88, 87])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_what_the_activation_is_given_is_kept(kernel, device, knobs, columns, batch):
    with guarded_memory() as guarded:
        a, b = (
            guarded.mirror(each, INTERPRETER) for each in operands("nt", batch, rows=72, columns=columns, inner=320)
        )
        bias = guarded.mirror(numbers(columns), INTERPRETER)
        before = guarded.mirror(np.zeros((*batch, 72, columns), np.float16), INTERPRETER)
        found, kernels = launched(a, b, bias, tanh, before=before, device=device, knobs=knobs, kernel=kernel)
        assert kernels == [kernel] if knobs is None else [kernel, sum_parts_kernel]
        assert not guarded.broken()
    expected = wide(a) @ wide(b) + wide(bias)
    check(before, expected, np.float16)
    check(found, np.tanh(expected), np.float16)


@pytest.mark.parametrize(("kernel", "device"), WAYS, ids=["descriptors", "pointers"])
def test_batches_broadcast(kernel, device):
    tiles = {"BLOCK_M": 64, "BLOCK_N": 64}
    single, batch = numbers(72, 48), numbers(3, 72, 48)
    for a, b in ((batch, numbers(48, 64)), (single, numbers(3, 48, 64)), (batch, numbers(1, 48, 64)),
                 (turned(numbers(3, 48, 72)), numbers(48, 64)), (numbers(2, 1, 72, 48), numbers(3, 48, 64)),
                 (np.broadcast_to(single, (3, 72, 48)), numbers(3, 48, 64))):  # fmt: skip
        crossed = len(a.shape) > 3  # each is repeated along another dimension, which only pointers take
        chosen = matmul_kernel if crossed else kernel
        found, kernels = launched(a, b, device=A100 if crossed else device, knobs=tiles, kernel=chosen)
        assert kernels[0] is chosen
        check(found, wide(a) @ wide(b), np.float16)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("layout", ["nn", "tt"])
def test_heads_of_a_sequence_are_read_as_they_lie(layout, parts):
    a, b = numbers(2, 72, 3, 64).swapaxes(1, 2), numbers(2, 64, 3, 88).swapaxes(1, 2)
    if layout == "tt":
        a, b = turned(b), turned(a)
    residual = numbers(2, 1, *(72, 88) if layout == "nn" else (88, 72))
    knobs = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "SPLIT_K": parts}
    found, kernels = launched(a, b, residual=residual, knobs=knobs)
    assert kernels[0] is descriptor_kernel
    check(found, wide(a) @ wide(b) + wide(residual), np.float16)


def refused():
    """Operands that no descriptor can be made of."""
    a, b = operands("nn")
    yield "steps that are no multiples of 16 bytes", numbers(ROWS, INNER + 1)[:, :-1], b
    yield "gaps along both dimensions", numbers(ROWS, 2 * INNER)[:, ::2], b
    yield "backwards", a[::-1], b
    yield "one row for all", np.broadcast_to(a[:1], a.shape), b
    yield "a base that is no multiple of 16 bytes", numbers(ROWS, INNER + 8)[:, 4 : INNER + 4], b
    yield "three batches that are not one", numbers(2, 3, 2, 72, 48), turned(numbers(2, 3, 2, 64, 48).swapaxes(0, 2))
    yield "float64", wide(a), wide(b)
    yield "rows of float8 that are no multiples of 16", a.astype(FLOAT8[0]), b.astype(FLOAT8[0])


@pytest.mark.parametrize(("a", "b"), [pytest.param(a, b, id=name) for name, a, b in refused()])
def test_other_layouts_are_read_by_pointers(a, b):
    found, kernels = launched(a, b)
    assert kernels[0] is matmul_kernel
    check(found, wide(a) @ wide(b), a.dtype.type if a.dtype.itemsize == 1 else np.float16)


@pytest.mark.parametrize(("a", "b"), [pytest.param(a, b, id=name) for name, a, b in list(refused())[:5]])
def test_large_ones_are_rearranged_for_descriptors(a, b, monkeypatch):
    monkeypatch.setattr(launch, "WORTH_REARRANGING", 64)
    for x, y in ((a, b), (turned(b), turned(a))):
        found, kernels = launched(x, y)
        assert kernels[:2] == [_pad, descriptor_kernel]
        check(found, wide(x) @ wide(y), np.float16)


def test_a_device_without_descriptors_takes_pointers():
    _, kernels = launched(*operands("nn"), device=A100)
    assert kernels[0] is matmul_kernel


@pytest.mark.parametrize("knobs", [None, {"SPLIT_K": 2}])
@pytest.mark.parametrize("layout", ["nn", "tt"])
def test_nothing_is_touched_beside_the_buffers(layout, knobs):
    with guarded_memory() as guarded:
        a, b = (guarded.mirror(each, INTERPRETER) for each in operands(layout))
        bias, residual = (guarded.mirror(each, INTERPRETER) for each in (numbers(COLUMNS), numbers(ROWS, COLUMNS)))
        found, kernels = launched(a, b, bias, None, residual, knobs=knobs)
        assert kernels[0] is descriptor_kernel
        assert not guarded.broken()
        assert not guarded.changed()
    check(found, wide(a) @ wide(b) + wide(bias) + wide(residual), np.float16)


@pytest.mark.parametrize(("kernel", "device"), WAYS, ids=["descriptors", "pointers"])
def test_a_bias_may_lie_far_apart(kernel, device, tmp_path):
    a, b = operands("nn", columns=72)
    step = 2**25 + 64
    with open(tmp_path / "hole", "w+b") as file:
        file.truncate(2 * 2 * 72 * step)
        memory = mmap.mmap(file.fileno(), 2 * 2 * 72 * step)
    bias = np.ndarray((72,), np.float16, memory, 2 * 72 * step, (2 * step,))
    bias[...] = numbers(72)
    found, kernels = launched(a, b, bias, device=device, knobs={"BLOCK_M": 64, "BLOCK_N": 64}, kernel=kernel)
    assert kernels == [kernel]
    check(found, wide(a) @ wide(b) + wide(bias), np.float16)


@pytest.mark.parametrize("layout", ["n", "t"])
def test_rows_may_lie_more_than_two_to_the_31_apart(layout, tmp_path):
    a, b = numbers(65, 64), numbers(64, 72)
    step = 2**26 + 64
    with open(tmp_path / "hole", "w+b") as file:
        file.truncate(2 * 2 * 65 * step)
        memory = mmap.mmap(file.fileno(), 2 * 2 * 65 * step)
    far = np.ndarray(a.shape, a.dtype, memory, 2 * 65 * step, (2 * step, 2))
    far[...] = a
    x, y = (far, b) if layout == "n" else (turned(b), turned(far))
    found, kernels = launched(x, y)
    assert kernels[0] is descriptor_kernel
    check(found, wide(x) @ wide(y), np.float16)
