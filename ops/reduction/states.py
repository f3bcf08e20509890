"""The kernels of reductions whose rows come to a state of two numbers: mean and squares, a largest and exponentials.

A state is kept for each place of a tile and takes one element after the other, so that a row is read once; at the end
the states of a row are joined. Few long rows are cut into parts, whose states a second launch joins in their order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.kernel import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import (
    REDUCE_SPACE,
    computed_in,
    is_wide,
    kept_and_gone,
    lies_along,
    line_of,
    reduce_default,
)
from tritorch.runtime import tl
from tritorch.runtime.kernel import Kernel


def _few_each(ROWS, COLUMNS, num_warps):
    """Up to 16 elements for each thread, which keeps several numbers for each."""
    return ROWS * COLUMNS <= 16 * 32 * num_warps


STATE_SPACE = Space(where=(*(each for each, _ in REDUCE_SPACE.conditions), _few_each), **REDUCE_SPACE.knobs)


@kernel(space=STATE_SPACE, default=reduce_default, key=("TAKE", "VALUES", "COMPUTE", "KEPT_RANK", "GONE_RANK", "WIDE"))
def state_kernel(
    x,  # what is reduced: rows by `kept`, columns by `gone` strides
    first,  # results, or first numbers of states: (SPLITS, rows)
    second,  # likewise; None where it is no result
    rows,
    columns,
    kept,
    kept_strides,
    gone,
    gone_strides,
    number: tl.float64,  # what FINISH takes
    TAKE: tl.constexpr,  # (first, second, value, inside, how many before) to a state
    JOIN: tl.constexpr,  # (first, second, counts) of places to those of rows
    FINISH: tl.constexpr,  # (first, second, number) to the results
    START: tl.constexpr,  # the first number before any element
    COMPUTE: tl.constexpr,
    KEPT_RANK: tl.constexpr,
    GONE_RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
    line = x + line_of(row, kept, kept_strides, 0, KEPT_RANK, ROWS)[:, None]
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    begin = part * share
    last = tl.minimum(begin + share, columns)
    one = tl.full([ROWS, COLUMNS], START, COMPUTE)
    two = tl.zeros([ROWS, COLUMNS], COMPUTE)
    taken = tl.full([], 0, COMPUTE)
    for start in range(begin, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        inside = (row < rows)[:, None] & (column < last)[None, :]
        place = line + offsets_of(column, gone, gone_strides, 0, GONE_RANK)[None, :]
        one, two = TAKE(one, two, tl.load(place, mask=inside, other=0).to(COMPUTE), inside, taken)
        taken += 1
    # How many elements each column of the tile took.
    counts = tl.maximum(last - begin - tl.arange(0, COLUMNS) + COLUMNS - 1, 0) // COLUMNS
    one, two = JOIN(one, two, counts.to(COMPUTE)[None, :])
    if SPLITS == 1:
        one, two = FINISH(one, two, number.to(COMPUTE))
    tl.store(first + part * rows + row, one.to(first.dtype.element_ty), mask=row < rows)
    if second is not None:
        tl.store(second + part * rows + row, two.to(second.dtype.element_ty), mask=row < rows)


def _join_default(device, *, rows, splits):
    """Tiles of up to 1024 states: there are few."""
    height = max(min(next_power_of_2(rows), 1024 // next_power_of_2(splits)), 1)
    return {"ROWS": height, "num_warps": 4 if height * splits > 256 else 1}


@kernel(space=Space(ROWS=powers(1, 1024), num_warps=warps(1, 4)), default=_join_default, key=("JOIN", "VALUES"))
def join_kernel(
    ones,  # first numbers of states: (splits, rows)
    twos,  # second ones
    first,  # results: (rows,)
    second,  # likewise, or None
    rows,
    splits,
    columns,  # elements of a row
    share,  # elements of each part, as far as there are any
    number: tl.float64,
    JOIN: tl.constexpr,
    FINISH: tl.constexpr,
    START: tl.constexpr,
    PARTS: tl.constexpr,  # `splits`, padded
    ROWS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    part = tl.arange(0, PARTS)
    inside = (row < rows)[:, None] & (part < splits)[None, :]
    place = part[None, :] * rows + row[:, None]
    one = tl.load(ones + place, mask=inside, other=START)
    two = tl.load(twos + place, mask=inside, other=0)
    counts = tl.minimum(tl.maximum(columns - part.to(tl.int64) * share, 0), share)
    counts = tl.where(part < splits, counts, 0).to(one.dtype)
    one, two = JOIN(one, two, counts[None, :])
    one, two = FINISH(one, two, number.to(one.dtype))
    tl.store(first + row, one.to(first.dtype.element_ty), mask=row < rows)
    if second is not None:
        tl.store(second + row, two.to(second.dtype.element_ty), mask=row < rows)


class State(NamedTuple):
    """A kind of state, in kernels: see `state_kernel`."""

    TAKE: Kernel
    JOIN: Kernel
    FINISH: Kernel
    START: float


def launch_states(x, dim, state, number=0.0, want_second=True):
    """Both results of reducing `dim` of an array by a State, flat; the second None unless it is wanted."""
    kept, gone = kept_and_gone(x, dim)
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    if columns == 0:
        gone = (0,), (0,)
    compute = computed_in(x.dtype)
    fixed = {"KEPT_RANK": len(kept[0]), "GONE_RANK": len(gone[0]), "WIDE": is_wide(kept, gone)}
    config = state_kernel.config(
        (x,), rows=rows, columns=columns, along=lies_along(kept, gone), itemsize=max(x.dtype.itemsize, 4),
        TAKE=state.TAKE, COMPUTE=compute, VALUES=want_second, **fixed,
    )  # fmt: skip
    splits = config["SPLITS"]
    kind = compute if splits > 1 else x.dtype
    first, second = empty_like(x, (rows * splits,), kind), empty_like(x, (rows * splits,), kind)
    if rows == 0:
        return first, second
    wanted = second if want_second or splits > 1 else None
    state_kernel[(cdiv(rows, config["ROWS"]), splits)](
        x, first, wanted, rows, columns, *kept, *gone, float(number), **state._asdict(), COMPUTE=triton_dtype(compute),
        **fixed, **config,
    )  # fmt: skip
    if splits == 1:
        return first, wanted
    return _joined(x, first, second, rows, columns, splits, config["COLUMNS"], state, number, want_second)


def _joined(x, ones, twos, rows, columns, splits, width, state, number, want_second):
    first, second = empty_like(x, (rows,)), empty_like(x, (rows,)) if want_second else None
    config = join_kernel.config((ones, first), rows=rows, splits=splits, JOIN=state.JOIN, VALUES=want_second)
    share = cdiv(cdiv(columns, width), splits) * width
    join_kernel[(cdiv(rows, config["ROWS"]),)](
        ones, twos, first, second, rows, splits, columns, share, float(number), JOIN=state.JOIN, FINISH=state.FINISH,
        START=state.START, PARTS=next_power_of_2(splits), **config,
    )  # fmt: skip
    return first, second
