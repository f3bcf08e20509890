"""The gradients of a normalisation by its input, weight and bias in one pass over what was normalised.

A program walks over many rows and keeps sums of its own for each column; a second launch adds up those of all programs
in a fixed order. Where a row does not fit a block, rows are read again for the results while they lie in the cache,
and the sums are kept in memory.
"""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, device_of, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import as_contiguous, empty_like
from tritorch.ops.normalization.program_sums import launch_program_sums
from tritorch.ops.normalization.rows_kernel import lying_of, places_of, starts_of
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.rowwise.kernel import warps_of
from tritorch.runtime import tl

_WIDEST = 8192  # elements of a row that is kept: of two tensors, with two sums and a weight for each
_PART = 1024  # of a longer row at a time, of as many rows as stay in the cache
_TOGETHER = 4


def gradients_default(device, *, rows, columns, along, itemsize=4):
    """Whole rows up to 8192 elements, short ones together; of longer rows a few, in parts; 16 warps at once."""
    width = next_power_of_2(columns)
    if device.kind == "interpreter":
        width = min(width, 4096)
        height = min(next_power_of_2(cdiv(rows, 4)), 65536 // width)
        return {"ROWS": height, "COLUMNS": width, "PROGRAMS": 2, "STAGES": 1, "num_warps": 4}
    scale = itemsize // 4
    if not along:
        width, height = min(width, 32), min(64 // scale, next_power_of_2(rows))
    elif width > _WIDEST // scale:
        width, height = _PART // scale, min(_TOGETHER, next_power_of_2(rows))
    else:
        height = min(max(1024 // width, 1), 256, next_power_of_2(rows))
        while height > 1 and cdiv(rows, height) < 2 * device.sms:
            height //= 2
    count = warps_of(height * width * scale)
    return {"ROWS": height, "COLUMNS": width, "PROGRAMS": max(16 // count, 1), "STAGES": 2, "num_warps": count}


def _no_larger(ROWS, COLUMNS, rows, columns):
    return ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)


def _elements_a_thread(ROWS, COLUMNS, num_warps):
    """Up to 16, each with two sums; two at least, unless a warp is one too many already."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= 16 and (num_warps == 1 or each >= 2)


def _lines_of_memory(ROWS, COLUMNS, columns, along):
    """Whole rows or long parts where they are contiguous."""
    return COLUMNS >= min(next_power_of_2(columns), 512) if along else COLUMNS <= 512


def _enough_at_once(PROGRAMS, num_warps):
    """Eight warps to 32 of a multiprocessor."""
    return 8 <= PROGRAMS * num_warps <= 32


@kernel
def _loaded(array, row, at, inside, row_shape, row_strides, column_shape, column_strides, NUMBER: tl.constexpr,
            ROW_RANK: tl.constexpr, COLUMN_RANK: tl.constexpr, COMPUTE: tl.constexpr):  # fmt: skip
    """A tile of a tensor that lies by the strides of this number."""
    line = starts_of(row, row_shape, row_strides, NUMBER * ROW_RANK, ROW_RANK, 0, False)[:, None]
    places = places_of(at, column_shape, column_strides, NUMBER * COLUMN_RANK, COLUMN_RANK, 0, False)[None, :]
    return tl.load(array + line + places, mask=inside, other=0).to(COMPUTE)


@kernel
def _finished(g, hat, along, level, scale, more, out, row, at, inside, row_shape, row_strides, column_shape,
              column_strides, ROW_RANK: tl.constexpr, COLUMN_RANK: tl.constexpr, COMPUTE: tl.constexpr):  # fmt: skip
    """A tile of the gradient of x, stored."""
    result = scale * (g - level - hat * along)
    if more is not None:
        result += _loaded(more, row, at, inside, row_shape, row_strides, column_shape, column_strides, 3, ROW_RANK,
                          COLUMN_RANK, COMPUTE)  # fmt: skip
    line = starts_of(row, row_shape, row_strides, 2 * ROW_RANK, ROW_RANK, 0, False)[:, None]
    places = places_of(at, column_shape, column_strides, 2 * COLUMN_RANK, COLUMN_RANK, 0, False)[None, :]
    tl.store(out + line + places, result.to(out.dtype.element_ty), mask=inside)


@kernel
def _weights_of(weight, at, columns, COLUMNS: tl.constexpr, COMPUTE: tl.constexpr):
    """The weights of columns, as a row."""
    if weight is None:
        found = tl.full([1, COLUMNS], 1, COMPUTE)
    else:
        found = tl.load(weight + at, mask=at < columns, other=0).to(COMPUTE)[None, :]
    return found


@kernel(
    space=Space(
        ROWS=powers(1, 256, default=1), COLUMNS=powers(1, 16384, default=1024), PROGRAMS=powers(1, 16, default=2),
        STAGES=(1, 2, 3), num_warps=warps(1, 32),
        where=(_no_larger, _elements_a_thread, _lines_of_memory, _enough_at_once),
    ),
    default=gradients_default,
    key=("ROW_RANK", "COLUMN_RANK", "BIASED", "WIDE"),
)  # fmt: skip
def norm_gradients_kernel(
    grad,  # the gradient of the result: rows and columns by the first strides of each
    x,  # what was normalised: rows and columns by the second strides of each
    weight,  # of the columns, or None: (columns,)
    mean,  # of each row, or None where it was taken as zero: (rows,)
    variance,  # of each row: (rows,)
    more,  # a gradient that is added to that of x, by the fourth strides of each; or None
    out,  # the gradient of x: rows and columns by the third strides of each
    sums,  # by program and column, of grad times the normalised x, and of grad if BIASED: (programs, 1 or 2, columns)
    rows,
    columns,
    eps: tl.float64,
    row_shape,
    row_strides,
    column_shape,
    column_strides,
    ROW_RANK: tl.constexpr,
    COLUMN_RANK: tl.constexpr,
    BIASED: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    WHOLE: tl.constexpr,  # a row fits a block
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,  # rows are read ahead where there are two and more
):
    first = tl.program_id(0) * ROWS
    column = tl.arange(0, COLUMNS)
    if WIDE:
        first = first.to(tl.int64)
        column = column.to(tl.int64)
    own = sums + tl.program_id(0).to(tl.int64) * columns * (2 if BIASED else 1)
    product = tl.zeros([ROWS, COLUMNS], COMPUTE)
    total = tl.zeros([ROWS, COLUMNS], COMPUTE)
    factor = _weights_of(weight, column, columns, COLUMNS, COMPUTE)
    for start in tl.range(first, rows, tl.num_programs(0) * ROWS, num_stages=STAGES):
        row = start + tl.arange(0, ROWS)
        if WIDE:
            row = row.to(tl.int64)  # of an interpreted loop `start` is a number without a type
        valid = row < rows
        inside = valid[:, None] & (column < columns)[None, :]
        average = tl.zeros([ROWS, 1], COMPUTE)
        if mean is not None:
            average = tl.load(mean + row, mask=valid, other=0).to(COMPUTE)[:, None]
        scale = 1 / tl.sqrt(tl.load(variance + row, mask=valid, other=1).to(COMPUTE) + eps.to(COMPUTE))[:, None]
        g = _loaded(grad, row, column, inside, row_shape, row_strides, column_shape, column_strides, 0, ROW_RANK,
                    COLUMN_RANK, COMPUTE)  # fmt: skip
        value = _loaded(x, row, column, inside, row_shape, row_strides, column_shape, column_strides, 1, ROW_RANK,
                        COLUMN_RANK, COMPUTE)  # fmt: skip
        hat = (value - average) * scale
        if WHOLE:
            product += g * hat
            if BIASED:
                total += g
            g = g * factor
            along = tl.sum(g * hat, 1)
            level = tl.sum(g, 1)
        else:
            g = g * factor
            products, levels = g * hat, g
            for begin in tl.range(COLUMNS, columns, COLUMNS, num_stages=STAGES):
                at = begin + column
                inside = valid[:, None] & (at < columns)[None, :]
                g = _loaded(grad, row, at, inside, row_shape, row_strides, column_shape, column_strides, 0, ROW_RANK,
                            COLUMN_RANK, COMPUTE)  # fmt: skip
                value = _loaded(x, row, at, inside, row_shape, row_strides, column_shape, column_strides, 1, ROW_RANK,
                                COLUMN_RANK, COMPUTE)  # fmt: skip
                g = g * _weights_of(weight, at, columns, COLUMNS, COMPUTE)
                products += g * (value - average) * scale
                levels += g
            along = tl.sum(products, 1)
            level = tl.sum(levels, 1)
        along = (along / columns)[:, None]
        if mean is None:
            level = tl.zeros([ROWS], COMPUTE)
        level = (level / columns)[:, None]
        if WHOLE:
            _finished(g, hat, along, level, scale, more, out, row, column, inside, row_shape, row_strides,
                      column_shape, column_strides, ROW_RANK, COLUMN_RANK, COMPUTE)  # fmt: skip
        else:
            for begin in tl.range(0, columns, COLUMNS, num_stages=STAGES):
                at = begin + column
                inside = valid[:, None] & (at < columns)[None, :]
                g = _loaded(grad, row, at, inside, row_shape, row_strides, column_shape, column_strides, 0, ROW_RANK,
                            COLUMN_RANK, COMPUTE)  # fmt: skip
                value = _loaded(x, row, at, inside, row_shape, row_strides, column_shape, column_strides, 1, ROW_RANK,
                                COLUMN_RANK, COMPUTE)  # fmt: skip
                hat = (value - average) * scale
                kept = tl.sum(g * hat, 0)
                if start > first:  # else nothing is there yet
                    kept += tl.load(own + at, mask=at < columns, other=0)
                tl.store(own + at, kept, mask=at < columns)
                if BIASED:
                    kept = tl.sum(g, 0)
                    if start > first:
                        kept += tl.load(own + columns + at, mask=at < columns, other=0)
                    tl.store(own + columns + at, kept, mask=at < columns)
                g = g * _weights_of(weight, at, columns, COLUMNS, COMPUTE)
                _finished(g, hat, along, level, scale, more, out, row, at, inside, row_shape, row_strides,
                          column_shape, column_strides, ROW_RANK, COLUMN_RANK, COMPUTE)  # fmt: skip
            tl.debug_barrier()  # sums are read again by threads other than those that wrote them
    if WHOLE:
        tl.store(own + column, tl.sum(product, 0), mask=column < columns)
        if BIASED:
            tl.store(own + columns + column, tl.sum(total, 0), mask=column < columns)


def launch_norm_gradients(grad, more, input, weight, mean, variance, layout, eps, biased):
    """The gradients of the input, of the weight and, if `biased`, of the bias, in two launches.

    `more`, unless None, is added to the first. `layout` is over the last dimensions.
    """
    compute, kind = computed_in(input.dtype), input.dtype if weight is None else weight.dtype
    columns = layout.count
    out = empty_like(input, tuple(input.shape))
    products, totals = empty_like(input, (columns,), kind), empty_like(input, (columns,), kind) if biased else None
    if not columns:
        return out, products, totals
    weight, mean, variance = (None if each is None else as_contiguous(each) for each in (weight, mean, variance))
    lying = lying_of((grad, input, out) if more is None else (grad, input, out, more), layout)
    facts = {"BIASED": biased, **{name: lying.facts[name] for name in ("ROW_RANK", "COLUMN_RANK", "WIDE")}}
    arrays = (grad, input, weight, mean, variance, more, out)
    config = norm_gradients_kernel.config(
        arrays, rows=layout.rows, columns=columns, along=lying.along, itemsize=compute.itemsize, **facts
    )
    programs = min(max(cdiv(layout.rows, config["ROWS"]), 1), config["PROGRAMS"] * device_of(input).sms)
    sums = empty_like(input, (programs, 2 if biased else 1, columns), compute)
    knobs = {name: value for name, value in config.items() if name != "PROGRAMS"}
    norm_gradients_kernel[(programs,)](
        *arrays, sums, layout.rows, columns, eps, lying.rows[0], sum(lying.rows[1], ()), lying.columns[0],
        sum(lying.columns[1], ()), COMPUTE=triton_dtype(compute), WHOLE=config["COLUMNS"] >= columns, **facts, **knobs,
    )  # fmt: skip
    launch_program_sums(sums, products, totals)
    return out, products, totals
