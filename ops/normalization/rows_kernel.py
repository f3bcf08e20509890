"""Kernels of layer_norm and its relatives: a row is what is normalised together, whatever its dimensions and strides.

A row that fits a block is read once, and short rows share a program. Longer rows are read twice: the first pass sums
distances from the mean of the row's first block, so that nothing cancels; the second one writes.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.autotune import cdiv, kernel
from tritorch.ops.layout import as_contiguous, element_strides, empty_by, empty_like, merge, needs_64_bits
from tritorch.ops.normalization.layout import written_order
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in, lies_along
from tritorch.ops.rowwise.kernel import rows_config, rows_of, rows_space
from tritorch.runtime import tl

WIDEST = 16384  # elements of a row that is kept in registers, with its weight and bias or gradient
_PART = 8192  # of a longer row at a time: with their sums and squares they fill the registers


def norm_default(device, *, rows, columns, along, itemsize=4, grouped=False):
    """As for softmax, but narrower and with fewer elements a thread; `grouped` rows find the channel of each."""
    widest = _PART if grouped else WIDEST
    config = rows_config(device, rows, columns, along, widest * 4 // itemsize, _PART * 4 // itemsize)
    if device.kind != "interpreter" and itemsize == 4 and config["COLUMNS"] > _PART:
        return config | {"num_warps": 32}
    return config


def _statistics_in_registers(ROWS, num_warps):
    """The most threads have the fewest registers each: enough for the means of a few rows."""
    return num_warps < 32 or ROWS <= 4


NORM_SPACE = rows_space(16, _statistics_in_registers)  # of up to three tensors
NORM_FACTS = ("ROW_RANK", "COLUMN_RANK", "SPAN", "APART", "WIDE")


@kernel
def _of_channels(array, row, column, inside, groups, span, inner, SPAN: tl.constexpr, COMPUTE: tl.constexpr):
    """The weight or bias of each element of a tile: that of its channel."""
    own = column % SPAN if SPAN else column // inner
    channel = (row % groups)[:, None] * span + own[None, :]
    return tl.load(array + channel, mask=inside, other=0).to(COMPUTE)


@kernel
def in_steps(number, STEP: tl.constexpr):
    """A multiple of STEP, so that every version of Triton sees that it is one: 3.6 forgets to be told so here."""
    return number // STEP * STEP


@kernel
def starts_of(row, shape, strides, FIRST: tl.constexpr, RANK: tl.constexpr, SPAN: tl.constexpr, APART: tl.constexpr):
    """The offset of each row."""
    start = offsets_of(row, shape, strides, FIRST, RANK)
    return in_steps(start, SPAN & -SPAN) if APART else start


@kernel
def places_of(column, shape, strides, FIRST: tl.constexpr, RANK: tl.constexpr, SPAN: tl.constexpr, APART: tl.constexpr):
    """The offset of each column, SPAN channels being a dimension of a constant size where they lie APART."""
    if APART:
        place = in_steps(offsets_of(column // SPAN, shape, strides, FIRST, RANK - 1), SPAN & -SPAN)
        return place + (column % SPAN) * strides[FIRST + RANK - 1]
    return offsets_of(column, shape, strides, FIRST, RANK)


@kernel
def _summed(
    value, residual, total, row, at, inside, row_shape, row_strides, column_shape, column_strides,
    ROW_RANK: tl.constexpr, COLUMN_RANK: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tile with that of a residual added, and stored to `total` unless that is None."""
    line = starts_of(row, row_shape, row_strides, 2 * ROW_RANK, ROW_RANK, 0, False)[:, None]
    places = line + places_of(at, column_shape, column_strides, 2 * COLUMN_RANK, COLUMN_RANK, 0, False)[None, :]
    value = value + tl.load(residual + places, mask=inside, other=0).to(COMPUTE)
    if total is not None:
        line = starts_of(row, row_shape, row_strides, 3 * ROW_RANK, ROW_RANK, 0, False)[:, None]
        places = line + places_of(at, column_shape, column_strides, 3 * COLUMN_RANK, COLUMN_RANK, 0, False)[None, :]
        tl.store(total + places, value.to(total.dtype.element_ty), mask=inside)
    return value


@kernel(space=NORM_SPACE, default=norm_default, key=NORM_FACTS)
def norm_rows_kernel(
    x,  # what is normalised: rows and columns by the first strides of each
    weight,  # of the channels, or None: (groups * span,)
    bias,  # likewise
    residual,  # what is added to x first: rows and columns by the third strides of each; or None
    total,  # that sum, which is what is normalised: by the fourth strides; or None
    out,  # the result: rows and columns by the second strides of each
    mean,  # of each row, or None where it is taken as zero: (rows,)
    variance,  # of each row: (rows,)
    rows,
    columns,
    groups,  # row r is of group r % groups, of `span` channels of `inner` elements each
    span,  # one after the other; or, where that is SPAN, an element of each in turn
    inner,
    eps: tl.float64,
    row_shape,
    row_strides,
    column_shape,
    column_strides,
    ROW_RANK: tl.constexpr,
    COLUMN_RANK: tl.constexpr,
    SPAN: tl.constexpr,
    APART: tl.constexpr,  # these channels are the last dimension of columns, and all other strides multiples of SPAN
    COMPUTE: tl.constexpr,
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
    line = x + starts_of(row, row_shape, row_strides, 0, ROW_RANK, SPAN, APART)[:, None]
    target = out + starts_of(row, row_shape, row_strides, ROW_RANK, ROW_RANK, SPAN, APART)[:, None]
    inside = valid[:, None] & (column < columns)[None, :]
    places = places_of(column, column_shape, column_strides, 0, COLUMN_RANK, SPAN, APART)
    value = tl.load(line + places[None, :], mask=inside, other=0).to(COMPUTE)
    if residual is not None:
        value = _summed(value, residual, total, row, column, inside, row_shape, row_strides, column_shape,
                        column_strides, ROW_RANK, COLUMN_RANK, COMPUTE)  # fmt: skip
    average = tl.zeros([ROWS], COMPUTE)
    if WHOLE:
        if mean is not None:
            average = tl.sum(value, 1) / columns
        apart = tl.where(inside, value - average[:, None], 0).to(COMPUTE)
        spread = tl.sum(apart * apart, 1) / columns
    else:
        if mean is not None:
            average = tl.sum(value, 1) / COLUMNS
        apart = value - average[:, None]
        sums, squares = apart, apart * apart
        for start in range(COLUMNS, columns, COLUMNS):
            at = start + column
            inside = valid[:, None] & (at < columns)[None, :]
            places = places_of(at, column_shape, column_strides, 0, COLUMN_RANK, SPAN, APART)
            value = tl.load(line + places[None, :], mask=inside, other=0).to(COMPUTE)
            if residual is not None:
                value = _summed(value, residual, total, row, at, inside, row_shape, row_strides, column_shape,
                                column_strides, ROW_RANK, COLUMN_RANK, COMPUTE)  # fmt: skip
            apart = tl.where(inside, value - average[:, None], 0).to(COMPUTE)
            sums += apart
            squares += apart * apart
        spread = tl.sum(squares, 1) / columns
        if mean is not None:
            moved = tl.sum(sums, 1) / columns
            average += moved
            spread -= moved * moved
    if mean is not None:
        tl.store(mean + row, average, mask=valid)
    tl.store(variance + row, spread, mask=valid)
    scale = (1 / tl.sqrt(spread + eps.to(COMPUTE)))[:, None]
    for start in range(0, columns, COLUMNS):
        at = start + column
        inside = valid[:, None] & (at < columns)[None, :]
        if not WHOLE:
            places = places_of(at, column_shape, column_strides, 0, COLUMN_RANK, SPAN, APART)
            value = tl.load(line + places[None, :], mask=inside, other=0).to(COMPUTE)
            if residual is not None:
                value = _summed(value, residual, None, row, at, inside, row_shape, row_strides, column_shape,
                                column_strides, ROW_RANK, COLUMN_RANK, COMPUTE)  # fmt: skip
        places = places_of(at, column_shape, column_strides, COLUMN_RANK, COLUMN_RANK, SPAN, APART)
        result = (value - average[:, None]) * scale
        if weight is not None:
            result = result * _of_channels(weight, row, at, inside, groups, span, inner, SPAN, COMPUTE)
        if bias is not None:
            result = result + _of_channels(bias, row, at, inside, groups, span, inner, SPAN, COMPUTE)
        tl.store(target + places[None, :], result.to(out.dtype.element_ty), mask=inside)


@kernel
def _slopes(
    grad, x, weight, line, other, row, at, inside, average, scale, groups, span, inner, shape, strides,
    RANK: tl.constexpr, SPAN: tl.constexpr, APART: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile times the weight, and what the tile was normalised to."""
    places = places_of(at, shape, strides, 0, RANK, SPAN, APART)
    g = tl.load(grad + line[:, None] + places[None, :], mask=inside, other=0).to(COMPUTE)
    if weight is not None:
        g = g * _of_channels(weight, row, at, inside, groups, span, inner, SPAN, COMPUTE)
    places = places_of(at, shape, strides, RANK, RANK, SPAN, APART)
    value = tl.load(x + other[:, None] + places[None, :], mask=inside, other=0).to(COMPUTE)
    return g, (value - average[:, None]) * scale[:, None]


@kernel(space=NORM_SPACE, default=norm_default, key=NORM_FACTS)
def norm_rows_backward_kernel(
    grad,  # the gradient of the result: rows and columns by the first strides of each
    x,  # what was normalised: rows and columns by the second strides of each
    weight,  # of the channels, or None: (groups * span,)
    mean,  # of each row, or None where it was taken as zero: (rows,)
    variance,  # of each row: (rows,)
    out,  # the gradient of x: rows and columns by the third strides of each
    rows,
    columns,
    groups,
    span,
    inner,
    eps: tl.float64,
    row_shape,
    row_strides,
    column_shape,
    column_strides,
    ROW_RANK: tl.constexpr,
    COLUMN_RANK: tl.constexpr,
    SPAN: tl.constexpr,
    APART: tl.constexpr,  # these channels are the last dimension of columns, and all other strides multiples of SPAN
    COMPUTE: tl.constexpr,
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
    line = starts_of(row, row_shape, row_strides, 0, ROW_RANK, SPAN, APART)
    other = starts_of(row, row_shape, row_strides, ROW_RANK, ROW_RANK, SPAN, APART)
    target = out + starts_of(row, row_shape, row_strides, 2 * ROW_RANK, ROW_RANK, SPAN, APART)[:, None]
    average = tl.zeros([ROWS], COMPUTE)
    if mean is not None:
        average = tl.load(mean + row, mask=valid, other=0).to(COMPUTE)
    scale = 1 / tl.sqrt(tl.load(variance + row, mask=valid, other=1).to(COMPUTE) + eps.to(COMPUTE))
    inside = valid[:, None] & (column < columns)[None, :]
    g, hat = _slopes(grad, x, weight, line, other, row, column, inside, average, scale, groups, span, inner,
                     column_shape, column_strides, COLUMN_RANK, SPAN, APART, COMPUTE)  # fmt: skip
    sums, products = g, g * hat
    if not WHOLE:
        for start in range(COLUMNS, columns, COLUMNS):
            at = start + column
            inside = valid[:, None] & (at < columns)[None, :]
            g, hat = _slopes(grad, x, weight, line, other, row, at, inside, average, scale, groups, span, inner,
                             column_shape, column_strides, COLUMN_RANK, SPAN, APART, COMPUTE)  # fmt: skip
            sums += g
            products += g * hat
    along = (tl.sum(products, 1) / columns)[:, None]
    level = tl.zeros([ROWS, 1], COMPUTE)
    if mean is not None:
        level = (tl.sum(sums, 1) / columns)[:, None]
    for start in range(0, columns, COLUMNS):
        at = start + column
        inside = valid[:, None] & (at < columns)[None, :]
        if not WHOLE:
            g, hat = _slopes(grad, x, weight, line, other, row, at, inside, average, scale, groups, span, inner,
                             column_shape, column_strides, COLUMN_RANK, SPAN, APART, COMPUTE)  # fmt: skip
        result = scale[:, None] * (g - level - hat * along)
        places = places_of(at, column_shape, column_strides, 2 * COLUMN_RANK, COLUMN_RANK, SPAN, APART)
        tl.store(target + places[None, :], result.to(out.dtype.element_ty), mask=inside)


class Lying(NamedTuple):
    """How tensors lie by row and by column, (shape, strides of each) for both, and what launches depend on."""

    rows: tuple
    columns: tuple
    along: bool  # neighbours in memory are of one row
    facts: dict


def lying_of(tensors, layout):
    """The Lying of tensors that are normalised as `layout` says, the last one being written to."""
    steps = [element_strides(each.reshape(layout.shape)) for each in tensors]
    kept = [axis for axis in range(len(layout.shape)) if axis not in layout.axes]
    innermost = written_order(tensors[-1], layout) is not None
    columns = (*layout.axes[1:], layout.axes[0]) if innermost else layout.axes  # the channels are the first of the axes
    parts = [
        join(tuple(layout.shape[axis] for axis in group), [tuple(own[axis] for axis in group) for own in steps])
        for join, group in ((rows_of, kept), (merge, columns))
    ]
    span = layout.groups[1]
    facts = {
        "ROW_RANK": len(parts[0][0]), "COLUMN_RANK": len(parts[1][0]), "SPAN": span if innermost else 0,
        "APART": innermost and _are_apart(parts, span), "WIDE": needs_64_bits(layout.shape, steps),
    }  # fmt: skip
    return Lying(*parts, lies_along(*[(shape, each[-1]) for shape, each in parts]), facts)


def _are_apart(parts, span):
    """Whether `span` channels are the last dimension of columns, and all others lie at multiples of that."""
    (_, rows), (shape, columns) = parts
    others = [step for own in rows for step in own] + [step for own in columns for step in own[:-1]]
    return len(shape) > 1 and shape[-1] == span and all(step % span == 0 for step in others)


def _launch(kernel, arrays, tensors, layout, eps, compute):
    """Launch `kernel` on `arrays`; rows and columns lie as those of `tensors` do, the last one written to."""
    lying = lying_of(tensors, layout)
    rows, columns, (groups, span) = layout.rows, layout.count, layout.groups
    config = kernel.config(
        arrays, rows=rows, columns=columns, along=lying.along, itemsize=compute.itemsize,
        grouped=(groups, span) != (1, columns), **lying.facts,
    )  # fmt: skip
    kernel[(cdiv(rows, config["ROWS"]),)](
        *arrays, rows, columns, groups, span, columns // max(span, 1), eps,
        lying.rows[0], sum(lying.rows[1], ()), lying.columns[0], sum(lying.columns[1], ()),
        COMPUTE=triton_dtype(compute), WHOLE=config["COLUMNS"] >= columns, **lying.facts, **config,
    )  # fmt: skip


def launch_norm(input, weight, bias, layout, eps, centred):
    """The normalised input, the mean of each row (None unless `centred`), and its mean square distance from that."""
    compute = computed_in(input.dtype)
    out = empty_by(input, tuple(input.shape), written_order(input, layout))
    mean, variance = _statistics(input, layout, compute, centred)
    if layout.rows:
        weight, bias = (None if each is None else as_contiguous(each) for each in (weight, bias))
        arrays = (input, weight, bias, None, None, out, mean, variance)
        _launch(norm_rows_kernel, arrays, (input, out), layout, eps, compute)
    return out, mean, variance


def launch_added_norm(input, residual, weight, bias, layout, eps, centred, kind):
    """The same of the sum of two tensors, of dtype `kind`, in one launch; and that sum, after the result."""
    compute = computed_in(kind)
    out, total = (empty_like(input, tuple(input.shape), kind) for _ in range(2))
    mean, variance = _statistics(input, layout, compute, centred)
    if layout.rows:
        weight, bias = (None if each is None else as_contiguous(each) for each in (weight, bias))
        arrays = (input, weight, bias, residual, total, out, mean, variance)
        _launch(norm_rows_kernel, arrays, (input, out, residual, total), layout, eps, compute)
    return out, total, mean, variance


def _statistics(input, layout, compute, centred):
    return empty_like(input, (layout.rows,), compute) if centred else None, empty_like(input, (layout.rows,), compute)


def launch_norm_backward(grad, input, weight, mean, variance, layout, eps):
    """The gradient of the input in one launch."""
    out = empty_by(input, tuple(input.shape), written_order(input, layout))
    if out.size:
        weight, mean, variance = (None if each is None else as_contiguous(each) for each in (weight, mean, variance))
        _launch(
            norm_rows_backward_kernel, (grad, input, weight, mean, variance, out), (grad, input, out), layout, eps,
            computed_in(input.dtype),
        )  # fmt: skip
    return out
