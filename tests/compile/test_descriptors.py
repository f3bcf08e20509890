"""Tensor descriptors made in a kernel compile for every GPU, and on Hopper to its bulk copies of tensors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.runtime.compile import Pointer, compile_kernel, resources
from tritorch.runtime.cuda.memory import GRANULE
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl, triton_missing
from tritorch.runtime.packing import generate_call

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

SIZES = (64, 128, 128)  # rows, columns, and elements from row to row
BLOCK = {"ROWS": 16, "COLUMNS": 64}


@Kernel
def add_one(
    x,  # (rows, columns), `step` elements from row to row
    out,  # x + 1: as x
    rows,
    columns,
    step,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    source = tl.make_tensor_descriptor(x, shape=[rows, columns], strides=[step, 1], block_shape=[ROWS, COLUMNS])
    result = tl.make_tensor_descriptor(out, shape=[rows, columns], strides=[step, 1], block_shape=[ROWS, COLUMNS])
    row = tl.program_id(0) * ROWS
    for column in tl.range(0, columns, COLUMNS, flatten=True, num_stages=3):
        value = source.load([row, column]).to(tl.float32) + 1
        result.store([row, column], value.to(out.dtype.element_ty))


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_descriptors_compile(capability, dtype):
    pointer = Pointer(np.dtype(dtype))
    compiled = compile_kernel(add_one, (pointer, pointer, *SIZES), BLOCK, {"num_warps": 4}, capability)
    assert resources(compiled).spills == 0
    bulk = capability >= 90
    assert ("cp.async.bulk.tensor" in compiled.asm["ptx"]) == bulk
    metadata = compiled.metadata
    assert metadata.global_scratch_size == (256 if bulk else 0)  # 128 bytes a descriptor
    assert GRANULE % metadata.global_scratch_align == 0  # the allocator's blocks start at multiples of it


def test_a_kernel_with_descriptors_does_not_start_before_the_one_in_front_is_done():
    pointer = Pointer(np.dtype(np.float16))
    compiled = compile_kernel(add_one, (pointer, pointer, *SIZES), BLOCK, {"launch_pdl": True}, 90)
    with pytest.raises(ValueError, match="kernel add_one: launch_pdl=True with tensor descriptors"):
        generate_call(add_one, compiled.src.signature, compiled.metadata, None, 0)
