"""Sums of rows that go to the same place, in a fixed order: gradients of indexing without atomics.

The places are sorted (stably), then each run of equal places is summed by one program in the order in
which its rows came. The result does not depend on scheduling.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, merge
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.family import add
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.sort.kernel import sort_along
from tritorch.runtime import tl


def _accumulate_default(device, *, count, width):
    """Threads along the row where it is wide, along rows where it is narrow; few large tiles interpreted."""
    if device.kind == "interpreter":
        columns = min(next_power_of_2(width), 1024)
        rows = next_power_of_2(max(cdiv(count, 8), 16))
        return {"ROWS": min(rows, max(131072 // columns, 1)), "COLUMNS": columns, "num_warps": 4}
    columns = min(next_power_of_2(width), 256)
    return {"ROWS": max(256 // columns, 1), "COLUMNS": columns, "num_warps": 4}


def _shared_out(ROWS, COLUMNS, num_warps):
    """One to eight elements for each thread: all wait until the longest run of a program ends."""
    return 32 * num_warps <= ROWS * COLUMNS <= 256 * num_warps


def _in_lines(COLUMNS, width):
    """Threads along a row where it is wide."""
    return min(next_power_of_2(width), 32) <= COLUMNS <= next_power_of_2(width)


def _filled(ROWS, COLUMNS, count):
    """No more rows than there are, but for a block that fills a few warps."""
    return ROWS * COLUMNS <= max(next_power_of_2(count) * COLUMNS, 256)


RUN_SPACE = Space(
    ROWS=powers(1, 256), COLUMNS=powers(1, 1024), num_warps=warps(1, 8), where=(_shared_out, _in_lines, _filled)
)


@kernel(space=RUN_SPACE, default=_accumulate_default, key=("COMBINE", "RANK"))
def _accumulate(
    out,  # what is added to, any shape
    rows,  # what is added: (count, width), contiguous
    places,  # the offset in `out` that each row goes to, sorted, negative for none: (count,)
    order,  # which row that is: (count,)
    count,
    width,
    shape,  # of a row's elements in `out`
    strides,  # likewise
    COMBINE: tl.constexpr,  # of what is there and a row's element, what is to be there
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    place = tl.load(places + row, mask=row < count, other=-1)
    previous = tl.load(places + row - 1, mask=(row < count) & (row > 0), other=-1)
    active = (row < count) & (place >= 0) & (place != previous)
    writes = active & (column < width)
    target = out + place + offsets_of(column, shape, strides, 0, RANK)
    total = tl.load(target, mask=writes, other=0).to(COMPUTE)
    at = row
    while tl.max(active.to(tl.int32)) > 0:
        source = tl.load(order + at, mask=active, other=0)
        value = tl.load(rows + source * width + column, mask=active & (column < width), other=0).to(COMPUTE)
        total = tl.where(active, COMBINE(total, value), total)
        at += 1
        following = tl.load(places + at, mask=active & (at < count), other=-1)
        active = active & (following == place)
    tl.store(target, total.to(out.dtype.element_ty), mask=writes)


def accumulate(out, rows, places, shape=None, strides=None, combine=add):
    """Add `rows`, contiguous of (count, ...), to `out` at the offsets `places`; `shape` and `strides` lay out one row.

    By default a row's elements lie one after the other. Rows whose place is negative are left out. Another `combine`
    does something else than add.
    """
    count = places.size
    width = rows.size // count if count else 0
    if not width:
        return
    flat, steps = ((width,), [(1,)]) if shape is None else merge(shape, [strides])
    places, order = sort_along(places, 0, count)
    compute = triton_dtype(computed_in(out.dtype))
    config = _accumulate.config((out, rows, places, order), count=count, width=width, COMBINE=combine, RANK=len(flat))
    _accumulate[cdiv(count, config["ROWS"]), cdiv(width, config["COLUMNS"])](
        out, rows, places, order, count, width, flat, steps[0],
        COMBINE=combine, RANK=len(flat), COMPUTE=compute, **config,
    )  # fmt: skip


NARROW = 8  # rows of fewer elements are quicker to add one by one


def add_rows(result, keys, rows):
    """On the host: result[key] += row for each, repeated keys too."""
    if keys.size == 0 or math.prod(result.shape[1:]) < NARROW:
        np.add.at(result, keys, rows)
        return
    keys, rows = summed_rows(keys, rows)
    result[keys] += rows


def summed_rows(keys, rows):
    """On the host: the different keys, in order, and the sum of the rows of each; there is at least one.

    Most keys come once, so first rows are taken at once, and only the others are added up.
    """
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.concatenate(([True], keys[1:] != keys[:-1]))
    sums = rows.take(order[first], 0)
    if len(sums) < len(keys):
        rest = ~first
        _add_sorted(sums, np.cumsum(first)[rest] - 1, rows.take(order[rest], 0))
    return keys[first], sums


def _add_sorted(sums, keys, rows):
    """sums[key] += row for each of sorted keys; rows of one key are summed in pairs, in place."""
    while True:
        count = len(keys)
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        if len(starts) == count:
            sums[keys] += rows
            return
        rank = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
        odd = np.flatnonzero(rank & 1)
        rows[odd - 1] += rows[odd]
        even = np.flatnonzero((rank & 1) == 0)
        keys, rows = keys[even], rows[even]


def rest_layout(array, dims):
    """The shape and element strides of an array without the dimensions `dims`."""
    steps = element_strides(array)
    rest = [dim for dim in range(array.ndim) if dim not in dims]
    return tuple([array.shape[dim] for dim in rest]), tuple([steps[dim] for dim in rest])
