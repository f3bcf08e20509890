"""The tiled kernel under `matmul` and `linear`: any strides, any batch, float32 sums, bias, activation."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.matrix.tiles import MATMUL_SPACE, matmul_default
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
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
    """total + x @ y; integers have no product in tl.dot and are multiplied and summed."""
    if DOTS:
        result = tl.dot(x, y, total, input_precision=PRECISION, out_dtype=total.dtype)
    else:
        products = x.to(total.dtype)[:, :, None] * y.to(total.dtype)[None, :, :]
        result = total + tl.sum(products, axis=1).to(total.dtype)
    return result


@kernel(
    space=MATMUL_SPACE, default=matmul_default,
    key=("ACTIVATION", "PRECISION", "RANK", "WIDE", "a_across", "b_across"),
)  # fmt: skip
def matmul_kernel(
    a,  # left operand: (batch, rows, inner) by its strides
    b,  # right operand: (batch, inner, columns) by its strides
    bias,  # None, or what is added to every row: (columns,) by its stride
    out,  # product, contiguous: (batch, rows, columns)
    rows,
    columns,
    inner,
    a_row,
    a_inner,
    b_inner,
    b_column,
    bias_step,
    batch_shape,
    batch_strides,  # of a, then of b
    RANK: tl.constexpr,  # of the batch
    ACTIVATION: tl.constexpr,  # None, or a formula
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    EVEN_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    batch = tl.program_id(0) // tiles
    m, n = tile_of(tl.program_id(0) % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    if RANK > 0:
        a += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, 0, RANK)
        b += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, RANK, RANK)
    row, column, k = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    if WIDE:
        row, column, k = row.to(tl.int64), column.to(tl.int64), k.to(tl.int64)
    row_in, column_in = (row < rows)[:, None], (column < columns)[None, :]
    a += row[:, None] * a_row + k[None, :] * a_inner
    b += k[:, None] * b_inner + column[None, :] * b_column
    a_next, b_next = BLOCK_K * a_inner, BLOCK_K * b_inner
    if WIDE:
        a_next, b_next = tl.full([], BLOCK_K, tl.int64) * a_inner, tl.full([], BLOCK_K, tl.int64) * b_inner
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(0, inner, BLOCK_K):
        if EVEN_K:
            x, y = tl.load(a, mask=row_in, other=0), tl.load(b, mask=column_in, other=0)
        else:
            x = tl.load(a, mask=row_in & (start + k < inner)[None, :], other=0)
            y = tl.load(b, mask=column_in & (start + k < inner)[:, None], other=0)
        total = multiply_add(x, y, total, DOTS, PRECISION)
        a += a_next
        b += b_next
    if bias is not None:
        total += tl.load(bias + column * bias_step, mask=column < columns, other=0).to(ACCUMULATE)[None, :]
    if ACTIVATION is not None:
        total = ACTIVATION(total)
    place = out + batch.to(tl.int64) * rows * columns + row[:, None] * columns + column[None, :]
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


def launch_matmul(a, b, shape, bias=None, activation=None):
    """a @ b as a contiguous array of `shape`: a is (..., rows, inner), b (..., inner, columns), batches broadcast."""
    out = empty_like(a, shape)
    if out.size == 0:
        return out
    (rows, columns), inner, batch = shape[-2:], a.shape[-1], shape[:-2]
    (*a_batch, a_row, a_inner), (*b_batch, b_inner, b_column) = operand_strides(a, shape), operand_strides(b, shape)
    # Batches of one and the same right operand are more rows of one product, where the rows go on evenly.
    if batch and not any(b_batch):
        flat, (steps,) = merge((*batch, rows), [(*a_batch, a_row)])
        if len(flat) < 2:
            rows, a_row, batch, a_batch, b_batch = math.prod((*batch, rows)), (*steps, 0)[0], (), (), ()
    flat, (a_batch, b_batch) = merge(batch, [tuple(a_batch), tuple(b_batch)])
    count = math.prod(flat)
    wide = needs_64_bits((rows, inner), [(a_row, a_inner)]) or needs_64_bits((inner, columns), [(b_inner, b_column)])
    bias_step = element_strides(bias)[0] if bias is not None and bias.shape == (columns,) else 0
    wide = wide or needs_64_bits((rows, columns), [(columns, 1), (0, bias_step)])
    aligned = all(step == 1 or step % 16 == 0 for step in (a_row, a_inner, b_inner, b_column))
    constants, sizes = dot_settings(a.dtype)
    config = matmul_kernel.config(
        (a, b, bias, out), rows=rows, columns=columns, inner=inner, batch=count, aligned=aligned, **sizes,
        ACTIVATION=activation, PRECISION=constants["PRECISION"], RANK=len(flat), WIDE=wide,
        a_across=a_inner != 1, b_across=b_column != 1,
    )  # fmt: skip
    grid = (cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * count,)
    matmul_kernel[grid](
        a, b, bias, out, rows, columns, inner, a_row, a_inner, b_inner, b_column, bias_step,
        flat, (*a_batch, *b_batch), RANK=len(flat), ACTIVATION=activation,
        WIDE=wide, EVEN_K=inner % config["BLOCK_K"] == 0, **constants, **config,
    )  # fmt: skip
    return out


def operand_strides(a, shape):
    """The strides of an operand with the batch of `shape`: zero along batch dimensions that it is repeated over."""
    steps, extra = element_strides(a), len(shape) - a.ndim
    repeated = [0 if size == 1 else step for size, step in zip(a.shape[:-2], steps, strict=False)]
    return (*[0] * extra, *repeated, *steps[-2:])
