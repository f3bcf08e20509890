"""Row-wise kernels of softmax and its relatives: any dimension, any strides, without copies.

A row that fits a block is read once. Longer rows are read twice: an online pass keeps the maximum and the sum of
exponentials (Milakov and Gimelshein 2018), a second one writes. Short rows share a program.
"""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import tl

WIDEST = 32768  # elements of a row that is kept in registers, by 1024 threads: 128 KiB
PART = 16384  # of a longer row at a time


def rows_default(device, *, rows, columns, along, itemsize=4):
    """A whole row a block where it stays in registers, several short rows; tall blocks where rows lie across memory.

    `itemsize` is of what is computed.
    """
    return rows_config(device, rows, columns, along, WIDEST * 4 // itemsize, PART * 4 // itemsize)


def pairs_default(device, *, rows, columns, along, itemsize=4):
    """The same for rows of two tensors."""
    return rows_config(device, rows, columns, along, WIDEST * 2 // itemsize, PART * 4 // itemsize)


def rows_config(device, rows, columns, along, widest, part):
    """A config for rows, of which up to `widest` elements are kept, else `part` at a time."""
    if device.kind == "interpreter":
        width = min(next_power_of_2(columns), 4096)
        return {"ROWS": min(next_power_of_2(cdiv(rows, 8)), 131072 // width), "COLUMNS": width, "num_warps": 4}
    if along:
        width = next_power_of_2(columns)
        width = width if width <= widest else part
        height = min(max(1024 // width, 1), 256, next_power_of_2(rows))
    else:
        width = min(next_power_of_2(columns), 128)
        height = min(max(4096 // width, 1), 64, next_power_of_2(rows))
    while height > 1 and cdiv(rows, height) < 2 * device.sms:
        height //= 2
    return {"ROWS": height, "COLUMNS": width, "num_warps": warps_of(height * width)}


def warps_of(tile):
    """How many warps share a tile of so many elements."""
    return 32 if tile > 16384 else 16 if tile > 4096 else 8 if tile > 1024 else 4 if tile > 256 else 1


def _no_larger(ROWS, COLUMNS, rows, columns):
    return ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)


def _warps_have_work(ROWS, COLUMNS, num_warps):
    """Two elements a thread at least, unless a warp is one too many already."""
    return num_warps == 1 or ROWS * COLUMNS >= 2 * 32 * num_warps


def _lines_of_memory(ROWS, COLUMNS, columns, along):
    """Where rows are contiguous whole ones or long parts; else no wider than it takes to share the reads of a row."""
    return COLUMNS >= min(next_power_of_2(columns), 512) if along else COLUMNS <= 512


def rows_space(most, *conditions):
    """The space of a kernel over rows that keeps up to `most` elements a thread; with conditions of its own."""

    def in_registers(ROWS, COLUMNS, num_warps):
        return ROWS * COLUMNS <= most * 32 * num_warps

    return Space(
        ROWS=powers(1, 256, default=1), COLUMNS=powers(1, 32768, default=1024), num_warps=warps(1, 32),
        where=(_no_larger, _warps_have_work, _lines_of_memory, in_registers, *conditions),
    )  # fmt: skip


ROWS_SPACE = rows_space(32)  # of one tensor


@kernel
def normalised(shifted, total):
    return tl.exp(shifted) * (1 / total)


@kernel
def log_normalised(shifted, total):
    return shifted - tl.log(total)


@kernel
def load_tile(x, line, column, step, rows_inside, last, FILL: tl.constexpr, COMPUTE: tl.constexpr):
    """A tile of rows by columns in the dtype that is computed in, with FILL outside."""
    inside = rows_inside[:, None] & (column < last)[None, :]
    value = tl.load(x + line[:, None] + (column * step)[None, :], mask=inside, other=0).to(COMPUTE)
    return tl.where(inside, value, FILL).to(COMPUTE)


@kernel
def store_tile(out, line, column, step, rows_inside, last, value):
    """Write a tile, narrowed to the dtype of `out`."""
    inside = rows_inside[:, None] & (column < last)[None, :]
    tl.store(out + line[:, None] + (column * step)[None, :], value.to(out.dtype.element_ty), mask=inside)


@kernel(space=ROWS_SPACE, default=rows_default, key=("FINISH", "RANK", "WIDE"))
def softmax_kernel(
    x,  # what is normalised: rows by `strides[:RANK]`, columns by `x_step`
    out,  # the result: rows by `strides[RANK:]`, columns by `out_step`
    rows,
    columns,
    shape,
    strides,
    x_step,
    out_step,
    FINISH: tl.constexpr,  # an element less its row's maximum, and the row's sum of exponentials, to the result
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    WHOLE: tl.constexpr,  # a row fits a block
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    source = offsets_of(row, shape, strides, 0, RANK)
    target = offsets_of(row, shape, strides, RANK, RANK)
    if WHOLE:
        value = load_tile(x, source, column, x_step, valid, columns, float("-inf"), COMPUTE)
        shifted = value - tl.max(value, 1)[:, None]
        total = tl.sum(tl.exp(shifted), 1)
        store_tile(out, target, column, out_step, valid, columns, FINISH(shifted, total[:, None]))
    else:
        highest = tl.full([ROWS], float("-inf"), COMPUTE)
        total = tl.zeros([ROWS], COMPUTE)
        for start in range(0, columns, COLUMNS):
            value = load_tile(x, source, start + column, x_step, valid, columns, float("-inf"), COMPUTE)
            higher = tl.maximum(highest, tl.max(value, 1))
            base = tl.where(higher == float("-inf"), 0.0, higher).to(COMPUTE)
            total = total * tl.exp(highest - base) + tl.sum(tl.exp(value - base[:, None]), 1)
            highest = higher
        for start in range(0, columns, COLUMNS):
            value = load_tile(x, source, start + column, x_step, valid, columns, float("-inf"), COMPUTE)
            result = FINISH(value - highest[:, None], total[:, None])
            store_tile(out, target, start + column, out_step, valid, columns, result)


@kernel
def softmax_term(grad, output):
    return grad * output


@kernel
def softmax_slope(grad, output, total):
    return output * (grad - total)


@kernel
def log_softmax_term(grad, output):
    return grad


@kernel
def log_softmax_slope(grad, output, total):
    return grad - tl.exp(output) * total


@kernel(space=ROWS_SPACE, default=pairs_default, key=("TERM", "FINISH", "RANK", "WIDE"))
def softmax_backward_kernel(
    grad,  # the gradient of the result: rows by `strides[:RANK]`, columns by `grad_step`
    output,  # the result: rows by the next RANK strides, columns by `output_step`
    out,  # the gradient of the input: rows by the last RANK strides, columns by `out_step`
    rows,
    columns,
    shape,
    strides,
    grad_step,
    output_step,
    out_step,
    TERM: tl.constexpr,  # what is summed along a row
    FINISH: tl.constexpr,  # gradient, result and that sum to the gradient of the input
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    WHOLE: tl.constexpr,  # a row fits a block
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    first = offsets_of(row, shape, strides, 0, RANK)
    second = offsets_of(row, shape, strides, RANK, RANK)
    target = offsets_of(row, shape, strides, 2 * RANK, RANK)
    if WHOLE:
        g = load_tile(grad, first, column, grad_step, valid, columns, 0.0, COMPUTE)
        y = load_tile(output, second, column, output_step, valid, columns, 0.0, COMPUTE)
        total = tl.sum(TERM(g, y), 1)
        store_tile(out, target, column, out_step, valid, columns, FINISH(g, y, total[:, None]))
    else:
        sums = tl.zeros([ROWS, COLUMNS], COMPUTE)
        for start in range(0, columns, COLUMNS):
            g = load_tile(grad, first, start + column, grad_step, valid, columns, 0.0, COMPUTE)
            y = load_tile(output, second, start + column, output_step, valid, columns, 0.0, COMPUTE)
            sums += TERM(g, y)
        total = tl.sum(sums, 1)
        for start in range(0, columns, COLUMNS):
            g = load_tile(grad, first, start + column, grad_step, valid, columns, 0.0, COMPUTE)
            y = load_tile(output, second, start + column, output_step, valid, columns, 0.0, COMPUTE)
            store_tile(out, target, start + column, out_step, valid, columns, FINISH(g, y, total[:, None]))


def rows_of(shape, strides):
    """`merge` of the rows, one of which is a dimension too: its start is a multiple of anything, as loads must know."""
    shape, strides = merge(shape, strides)
    return (shape, strides) if shape else ((1,), [(0,)] * len(strides))


def launch_rows(kernel, arrays, dim, result, **functions):
    """Run a row-wise kernel along `dim` of arrays of one shape; the result is contiguous, of NumPy dtype `result`."""
    out = empty_like(arrays[0], dtype=result)
    if out.size == 0:
        return out
    everyone = (*arrays, out)
    whole = out.shape
    dim = None if dim == () else dim
    columns = 1 if dim is None else whole[dim]
    kept = [each for each in range(len(whole)) if each != dim]
    steps = [element_strides(each) for each in everyone]
    shape, strides = rows_of(tuple(whole[d] for d in kept), [tuple(own[d] for d in kept) for own in steps])
    rows, along = math.prod(shape), [0 if dim is None else own[dim] for own in steps]
    shortest = min((abs(step) for step in strides[0] if step), default=1 << 62)
    facts = {"RANK": len(shape), "WIDE": needs_64_bits(whole, steps), **functions}
    compute = computed_in(result)
    config = kernel.config(
        everyone, rows=rows, columns=columns, along=abs(along[0]) <= shortest, itemsize=compute.itemsize, **facts
    )
    kernel[(cdiv(rows, config["ROWS"]),)](
        *everyone, rows, columns, shape, sum(strides, ()), *along,
        COMPUTE=triton_dtype(compute), WHOLE=config["COLUMNS"] >= columns, **facts, **config,
    )  # fmt: skip
    return out
