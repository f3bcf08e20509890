"""The product kernel for any strides and any batch, by pointers, and what other kernels of products share with it."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.layout import element_strides
from tritorch.ops.matrix.defaults import pointer_default
from tritorch.ops.matrix.epilogue import ended
from tritorch.ops.matrix.tiles import MATMUL_SPACE
from tritorch.ops.pointwise.kernel import offsets_of, triton_dtype
from tritorch.runtime import precision, tl


@kernel
def tile_of(program, rows, columns, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """Which tile a program computes: GROUP_M tiles down, then one to the right, so that neighbours share operands."""
    down, across = tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N)
    group = program // (GROUP_M * across)
    size = tl.minimum(down - group * GROUP_M, GROUP_M)
    within = program % (GROUP_M * across)
    return group * GROUP_M + within % size, within // size


@kernel
def multiply_add(x, y, total, DOTS: tl.constexpr, PRECISION: tl.constexpr):
    """total + x @ y; integers have no product in tl.dot and are multiplied and summed.

    Tensor cores sum products of float8 in fewer bits than float32 has: those of one tile here, and no more.
    """
    if DOTS and x.dtype.primitive_bitwidth == 8:
        result = tl.dot(x, y, total, out_dtype=total.dtype, max_num_imprecise_acc=x.shape[1])
    elif DOTS:
        result = tl.dot(x, y, total, input_precision=PRECISION, out_dtype=total.dtype)
    else:
        products = x.to(total.dtype)[:, :, None] * y.to(total.dtype)[None, :, :]
        result = total + tl.sum(products, axis=1).to(total.dtype)
    return result


@kernel(
    space=MATMUL_SPACE, default=pointer_default,
    key=("ACTIVATION", "SCALED", "PRECISION", "RANK", "WIDE", "a_across", "b_across"),
)  # fmt: skip
def matmul_kernel(
    a,  # left operand: (batch, rows, inner) by its strides
    b,  # right operand: (batch, inner, columns) by its strides
    bias,  # None, or what is added to every row: (columns,) by its stride
    residual,  # None, or what is added to the result: (batch, rows, columns) by its strides
    before,  # None, or what the activation is given, contiguous: (batch, rows, columns)
    out,  # product, contiguous: (batch, rows, columns); with parts their sums: (parts, batch, rows, columns)
    rows,
    columns,
    inner,
    a_row,
    a_inner,
    b_inner,
    b_column,
    bias_step,
    residual_row,
    residual_column,
    batch_shape,
    batch_strides,  # of a, of b, then of residual
    alpha: tl.float64,
    beta: tl.float64,
    RANK: tl.constexpr,  # of the batch
    ACTIVATION: tl.constexpr,  # None, or a formula
    SCALED: tl.constexpr,  # whether alpha or beta is not one
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    EVEN_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,  # into how many parts the sums are split, each a program's
):
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    batch, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    first, last, place = 0, inner, batch.to(tl.int64)
    if SPLIT_K > 1:
        share = tl.cdiv(tl.cdiv(inner, BLOCK_K), SPLIT_K) * BLOCK_K
        first = batch % SPLIT_K * share
        last = tl.minimum(first + share, inner)
        batches = tl.num_programs(0) // tiles // SPLIT_K
        batch, place = batch // SPLIT_K, batch % SPLIT_K * batches.to(tl.int64) + batch // SPLIT_K
    m, n = tile_of(tile, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    if RANK > 0:
        a += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, 0, RANK)
        b += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, RANK, RANK)
    row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N)
    k = first + tl.arange(0, BLOCK_K)
    if WIDE:
        row, column, k = row.to(tl.int64), column.to(tl.int64), k.to(tl.int64)
    row_in, column_in = (row < rows)[:, None], (column < columns)[None, :]
    a += row[:, None] * a_row + k[None, :] * a_inner
    b += k[:, None] * b_inner + column[None, :] * b_column
    a_next, b_next = BLOCK_K * a_inner, BLOCK_K * b_inner
    if WIDE:
        a_next, b_next = tl.full([], BLOCK_K, tl.int64) * a_inner, tl.full([], BLOCK_K, tl.int64) * b_inner
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(first, last, BLOCK_K):
        if EVEN_K:
            x, y = tl.load(a, mask=row_in, other=0.0), tl.load(b, mask=column_in, other=0.0)
        else:
            left = start + tl.arange(0, BLOCK_K) < inner
            x = tl.load(a, mask=row_in & left[None, :], other=0.0)  # there is no float8 of an integer
            y = tl.load(b, mask=column_in & left[:, None], other=0.0)
        total = multiply_add(x, y, total, DOTS, PRECISION)
        a += a_next
        b += b_next
    if SPLIT_K == 1:
        if RANK > 0 and residual is not None:
            residual += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, 2 * RANK, RANK)
        if before is not None:
            before += place * rows * columns
        total = ended(total, bias, residual, before, alpha, beta, row, column, rows, columns, bias_step, residual_row,
                      residual_column, ACTIVATION, SCALED)  # fmt: skip
    place = out + place * rows * columns + row[:, None] * columns + column[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=row_in & column_in)


def accumulator(dtype):
    """What products of a NumPy dtype are summed in: float32 for halves, 32 bits at least for integers."""
    if dtype.kind in "iu":
        return np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def dot_settings(dtype):
    """How a kernel multiplies operands of a NumPy dtype: constants ACCUMULATE, DOTS, PRECISION, and for the default."""
    floating = dtype.kind not in "iu"
    chosen = precision.input_precision() if dtype == np.float32 else "ieee"
    constants = {"ACCUMULATE": triton_dtype(accumulator(dtype)), "DOTS": floating, "PRECISION": chosen}
    sizes = {
        "itemsize": dtype.itemsize,
        "dots": floating,
        "tensor_cores": floating and (dtype.itemsize <= 2 or chosen == "tf32"),
    }
    return constants, sizes


def operand_strides(a, shape):
    """The strides of an operand with the batch of `shape`: zero along batch dimensions that it is repeated over."""
    steps, extra = element_strides(a), len(shape) - a.ndim
    repeated = [0 if size == 1 else step for size, step in zip(a.shape[:-2], steps, strict=False)]
    return (*[0] * extra, *repeated, *steps[-2:])
