"""Products at the sizes of the benchmark: which instructions they compile to, within shared memory and registers."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending
from tritorch.ops.formula import tanh
from tritorch.ops.matrix.descriptor_kernel import descriptor_kernel
from tritorch.ops.matrix.kernel import matmul_kernel
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.pointwise.activation import Gelu, Silu
from tritorch.runtime import precision, transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

BFLOAT16, FLOAT8 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn
A100, H200, B200 = map(generation, (80, 90, 100))
COPIES, PRODUCTS = "cp.async.bulk.tensor", "wgmma.mma_async"  # by descriptors, and of a warp group

# (batch, rows, columns, inner), and how the operands lie
SHAPES = [((2048,) * 3, "nn"), ((8192,) * 3, "nn"), ((8192, 4096, 4096), "nt"), ((4096, 4096, 8192), "tn"),
          ((64, 4096, 4096), "nn"), ((256, 8192, 8192), "nn"), ((4096, 64, 4096), "nn"), ((128, 128, 16384), "nn"),
          ((16, 4096, 4096), "nt"), ((32, 512, 512, 512), "nn"), ((128, 1024, 1024, 64), "nt")]  # fmt: skip


def vast(shape, dtype):
    """An array of any size whose elements all lie in a few bytes' place: it is never read."""
    steps = [math.prod(shape[at + 1 :]) * np.dtype(dtype).itemsize for at in range(len(shape))]
    return np.lib.stride_tricks.as_strided(np.zeros(64, dtype), shape, steps)


@pytest.fixture(autouse=True)
def _results(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", vast)
    materialise()


def operands(shape, layout, dtype):
    *batch, rows, columns, inner = shape
    sizes = (rows, inner), (inner, columns)
    return [
        vast((*batch, *size[::-1]), dtype).swapaxes(-1, -2) if turn == "t" else vast((*batch, *size), dtype)
        for size, turn in zip(sizes, layout, strict=True)
    ]


def compiled(shape, layout, device=H200, dtype=BFLOAT16, **end):
    """The launches of a product and what they compile to, held against what the device has."""
    return compiled_product(*operands(shape, layout, dtype), shape[:-1], device, **end)


def compiled_product(a, b, shape, device=H200, **end):
    with pretending(device), noting_configs(), recording_launches(run=False) as launches:
        launch_matmul(a, b, shape, **end)
    found = []
    for launch in launches:
        values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
        built = compile_values(launch.kernel, values, options, device.capability)
        used = resources(built)
        assert used.shared_memory <= device.shared_memory, launch.keywords
        assert not spilled(used.registers, used.spills, used.num_warps), launch.keywords
        found.append((launch, built.asm["ptx"]))
    return found


@pytest.mark.parametrize(("shape", "layout"), SHAPES)
def test_halves_take_products_of_warp_groups(shape, layout):
    (launch, text), *_ = compiled(shape, layout)
    assert (PRODUCTS in text) == (shape[-3] >= 64)
    many = math.prod(shape[:-1]) >= 64 * 128 * H200.sms
    assert (launch.kernel is descriptor_kernel) == (COPIES in text) == many
    assert not many or launch.grid[0] <= H200.sms
    assert launch.grid[0] >= 0.9 * H200.sms


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("dtype", ["tf32", FLOAT8], ids=["tf32", "float8"])
def test_other_dtypes_of_tensor_cores(dtype, layout):
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision("high")
    try:
        (launch, text), *_ = compiled((2048,) * 3, layout, dtype=np.float32 if dtype == "tf32" else dtype)
    finally:
        precision.set_float32_matmul_precision(before)
    assert launch.kernel is descriptor_kernel
    assert COPIES in text
    assert PRODUCTS in text
    assert ("tf32" if dtype == "tf32" else "e4m3") in text


@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_few_rows_of_float8(layout):
    (_, text), *_ = compiled((64, 4096, 4096), layout, dtype=FLOAT8)
    assert PRODUCTS in text
    assert "e4m3" in text


@pytest.mark.parametrize("narrow", [True, False])
def test_ends_fit(narrow):
    shape = (8192, 4096, 4096)
    kind = BFLOAT16 if narrow else np.float32
    out = vast(shape[:2], kind)
    compiled(shape, "nt", bias=vast((4096,), BFLOAT16), activation=tanh, residual=out, alpha=0.5, out=out)


@pytest.mark.parametrize("device", [A100, H200, B200], ids=lambda device: device.name)
@pytest.mark.parametrize("dtype", [BFLOAT16, np.float32], ids=lambda dtype: np.dtype(dtype).name)
def test_gradients_of_weights_are_added_to_what_is_there(dtype, device):
    """Of parameters in half precision, and in single precision under autocast."""
    total = vast((4096, 1024), dtype)
    (launch, text), *_ = compiled((4096, 1024, 8192), "tn", device, residual=total, out=total)
    assert launch.kernel is (matmul_kernel if device is A100 else descriptor_kernel)
    assert (PRODUCTS in text) == (device is H200)


@pytest.mark.parametrize("device", [A100, H200, B200], ids=lambda device: device.name)
def test_linear_layers_with_sums_fit(device):
    shape = 8192, 1024, 4096
    compiled(shape, "nt", device, bias=vast(shape[1:2], BFLOAT16), residual=vast(shape[:2], BFLOAT16))


@pytest.mark.parametrize("device", [A100, H200, B200], ids=lambda device: device.name)
@pytest.mark.parametrize(("activation", "rows"), [(Gelu, 8192), (Gelu, 200), (Silu, 8192)])
def test_linear_layers_with_activations_fit(activation, rows, device):
    """The result and what the activation is given are both stored 16 bytes at once."""
    shape = rows, 4096, 1024
    given = {"bias": vast((shape[1],), BFLOAT16), "activation": activation.value, "before": vast(shape[:2], BFLOAT16)}
    (launch, text), *_ = compiled(shape, "nt", device, **given)
    assert launch.kernel is (matmul_kernel if device is A100 or rows == 200 else descriptor_kernel)
    assert "st.global.v4" in text
    assert (PRODUCTS in text) == (device is H200)


@pytest.mark.parametrize(("device", "wanted"), [(A100, "cp.async.cg"), (B200, COPIES)], ids=["sm_80", "sm_100"])
@pytest.mark.parametrize(("shape", "layout"), SHAPES[1:4])
def test_other_generations(device, wanted, shape, layout):
    (_, text), *_ = compiled(shape, layout, device)
    assert wanted in text
    assert (COPIES in text) == (device is B200)


@pytest.mark.parametrize("layout", ["nn", "nt"])
def test_heads_of_a_sequence(layout):
    """Two dimensions of a batch that lie apart, as attention has them where its products are written out."""
    a, b = (vast((8, 1024, 16, 128), BFLOAT16).swapaxes(1, 2) for _ in range(2))
    b = b.swapaxes(-1, -2) if layout == "nt" else b[..., :1024, :]
    a = a if layout == "nt" else vast((8, 16, 1024, 1024), BFLOAT16)
    (launch, text), *_ = compiled_product(a, b, (8, 16, 1024, 1024 if layout == "nt" else 128))
    assert launch.kernel is descriptor_kernel
    assert launch.keywords["B_RANK"] == 2
    assert PRODUCTS in text


ODD = [((4096, 4096, 4097), "nn", 1), ((4096, 4097, 4097), "nn", 2), ((4097, 4096, 4096), "nn", 0),
       ((4097, 4096, 4096), "tt", 1)]  # fmt: skip


@pytest.mark.parametrize(("shape", "layout", "count"), ODD)
def test_large_operands_without_aligned_rows_are_copied_for_descriptors(shape, layout, count):
    *copies, (launch, text) = compiled(shape, layout)
    assert len(copies) == count
    assert launch.kernel is descriptor_kernel
    assert PRODUCTS in text


@pytest.mark.parametrize("device", [A100, H200], ids=lambda device: device.name)
@pytest.mark.parametrize("layout", ["nn", "tt"])
def test_small_odd_sizes_are_read_by_pointers(layout, device):
    (launch, text), *_ = compiled((1001, 1003, 1005), layout, device)
    assert launch.kernel is matmul_kernel
    assert (PRODUCTS if device is H200 else "mma.sync") in text
