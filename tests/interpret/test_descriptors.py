"""Tensor descriptors made in a kernel, on NumPy arrays: what lies outside reads 0 and is not written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.interpreter import KernelError
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
DTYPES = [np.float32, np.float64, np.float16, np.int32, *(getattr(ml_dtypes, name) for name in NARROW)]
# The shape of an array, that of a block, where the block starts.
PLACES = [
    ((40,), (16,), (32,)),
    ((3, 48), (8, 32), (0, 32)),
    ((20, 48), (8, 32), (16, 16)),
    ((20, 48), (8, 32), (-3, -16)),
    ((20, 48), (8, 32), (24, 0)),
    ((2, 5, 32), (1, 8, 16), (1, 0, 16)),
    ((2, 2, 3, 32), (2, 2, 4, 16), (1, 0, 1, 16)),
    ((2, 2, 2, 3, 16), (1, 2, 2, 4, 32), (1, 1, 0, -2, 0)),
]


@Kernel
def copy_block(
    x,  # a block of it is read: of any shape, its last dimension contiguous
    out,  # the same place of it is written: as x
    block,  # what was read: as many elements as a block has
    shape,
    strides,
    start,
    BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
):
    source = tl.make_tensor_descriptor(x, shape=shape, strides=strides, block_shape=BLOCK)
    result = tl.make_tensor_descriptor(out, shape=shape, strides=strides, block_shape=BLOCK)
    value = source.load(start)
    result.store(start, value)
    tl.store(block + tl.arange(0, SIZE), tl.reshape(value, (SIZE,)))


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
    across = tl.cdiv(columns, COLUMNS)
    tiles = tl.cdiv(rows, ROWS) * across
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True, num_stages=3, warp_specialize=True):
        row, column = (tile // across) * ROWS, (tile % across) * COLUMNS
        result.store([row, column], source.load([row, column]) + 1)


def expected_block(x, block, start):
    """What a load of a block gives: zeros around the array."""
    around = [(2 * size, 2 * size) for size in block]
    padded = np.pad(x.astype(np.float64), around)
    return padded[tuple(slice(at + 2 * size, at + 3 * size) for at, size in zip(start, block, strict=True))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "block", "start"), PLACES)
def test_what_is_outside_reads_zero_and_is_not_written(dtype, shape, block, start):
    host = (np.arange(np.prod(shape)) % 13 + 1).reshape(shape).astype(dtype)
    with guarded_memory() as guarded:
        x, out = guarded.empty(shape, dtype), guarded.empty(shape, dtype)
        read = guarded.empty(int(np.prod(block)), dtype)
        x[...], out[...] = host, dtype(0)
        strides = tuple(step // x.itemsize for step in x.strides)
        copy_block[(1,)](x, out, read, shape, strides, start, BLOCK=block, SIZE=read.size)
        assert not guarded.broken()
    np.testing.assert_array_equal(read.reshape(block).astype(np.float64), expected_block(host, block, start))
    inside = tuple(slice(max(at, 0), max(at + size, 0)) for at, size in zip(start, block, strict=True))
    expected = np.zeros(shape, dtype)
    expected[inside] = host[inside]
    np.testing.assert_array_equal(out.astype(np.float64), expected.astype(np.float64))
    np.testing.assert_array_equal(x.astype(np.float64), host.astype(np.float64))


@pytest.mark.parametrize("programs", [1, 3])
def test_a_persistent_loop_with_hints_for_the_compiler(programs):
    x = np.arange(21 * 48, dtype=np.float32).reshape(21, 48)
    out = np.zeros_like(x)
    add_one[(programs,)](x, out, 21, 48, ROWS=8, COLUMNS=32)
    np.testing.assert_array_equal(out, x + 1)


def test_rows_that_do_not_start_at_16_bytes_are_refused():
    x = np.zeros((4, 9), np.float32)
    with pytest.raises(KernelError, match=r"kernel add_one.*stride must be 16-byte aligned"):
        add_one[(1,)](x, x, 4, 9, ROWS=4, COLUMNS=16)
    with pytest.raises(KernelError, match=r"kernel add_one.*base must be 16-byte aligned"):
        add_one[(1,)](x.reshape(-1)[1:33], x, 4, 8, ROWS=4, COLUMNS=16)


def test_descriptors_while_debugging(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + DEBUGGED)
    environment = {**os.environ, "TRITORCH_DEBUG": "1"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "True\n", done.stderr


DEBUGGED = """
import numpy as np
from test_descriptors import add_one
x = np.arange(21 * 48, dtype=np.float32).reshape(21, 48)
out = np.zeros_like(x)
add_one[(2,)](x, out, 21, 48, ROWS=8, COLUMNS=32)
print(bool((out == x + 1).all()))
"""
