"""The kernels of sorting: rows along any dimension, of any strides, stably, ascending or descending.

An element becomes an integer whose order is the element's, with NaN above everything (-0 equals 0). Up to 32 bits it
shares an int64 with the element's column, so that no two are equal and every order of them is the stable one; wider
ones go with their columns as pairs. A block is sorted in registers by a bitonic network (Batcher 1968); longer rows are
sorted by their digits (`radix.py`). Where only the first few are wanted, the first of each block are sorted again until
they fit one.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise.family import offsets_of
from tritorch.ops.sort.radix import radix_sort, sort_key
from tritorch.runtime import tl

_INT64 = np.dtype(np.int64)
_WIDEST = 1024  # columns of a block
_FEW = 256  # elements of a row that are wanted at most where its blocks are sorted again


def _in_blocks(columns, keep):
    """Whether rows are sorted in blocks at all."""
    return columns <= _WIDEST or keep <= _FEW


def sort_default(device, *, rows, columns, keep):
    """Blocks of 32, 128, 512 or 1024, so that few networks are compiled; small ones interpreted.

    keep  how many of a row are wanted in the end, which decides whether blocks are sorted again
    """
    if device.kind == "interpreter":
        width = min(next_power_of_2(columns), 64)
        lines = rows * cdiv(columns, width)
        return {"ROWS": min(next_power_of_2(cdiv(lines, 8)), 32768 // width), "COLUMNS": width, "num_warps": 4}
    if 512 < columns <= _WIDEST:
        return {"ROWS": 1, "COLUMNS": _WIDEST, "num_warps": 8}
    width = 32 if columns <= 32 else 128 if columns <= 128 else 512
    return {"ROWS": 512 // width, "COLUMNS": width, "num_warps": 4}


def _shared_out(ROWS, COLUMNS, num_warps):
    """Two to eight elements for each thread, which holds each as one or two integers of 64 bits."""
    return 2 <= ROWS * COLUMNS // (32 * num_warps) <= 8


def _needed(ROWS, COLUMNS, rows, columns):
    """No more than twice as wide as a row, and no more rows than there are, but for a block that fills a few warps."""
    width = next_power_of_2(columns)
    lines = next_power_of_2(rows) * max(width // COLUMNS, 1)
    return COLUMNS <= max(2 * width, 32) and ROWS * COLUMNS <= max(lines * COLUMNS, 512)


def _whole_where_it_can(COLUMNS, columns):
    """A row that fits a block is sorted at once."""
    return COLUMNS >= min(next_power_of_2(columns), 128)


def _gets_on(COLUMNS, columns, keep):
    """A block is a row, or at least half of it is done with; else rows are sorted by their digits, without it."""
    return COLUMNS >= min(columns, 2 * keep) or not _in_blocks(columns, keep)


SORT_SPACE = Space(
    ROWS=powers(1, 64), COLUMNS=powers(32, _WIDEST), num_warps=warps(1, 8),
    where=(_shared_out, _needed, _whole_where_it_can, _gets_on),
)  # fmt: skip


@kernel
def _exchange(key, order, column, SIZE: tl.constexpr, STEP: tl.constexpr, PAIRS: tl.constexpr,
              ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """One step of the network: each element and the one STEP away, in order, or reversed in every other SIZE."""
    # The exclusive or of both, and with either, gives the other.
    cube = tl.reshape(key, [ROWS * COLUMNS // (2 * STEP), 2, STEP])
    other = tl.reshape(cube ^ tl.xor_sum(cube, 1, keep_dims=True), [ROWS, COLUMNS])
    smaller = ((column & SIZE) == 0) == ((column & STEP) == 0)
    if PAIRS:
        cube = tl.reshape(order, [ROWS * COLUMNS // (2 * STEP), 2, STEP])
        at = tl.reshape(cube ^ tl.xor_sum(cube, 1, keep_dims=True), [ROWS, COLUMNS])
        take = ((other < key) | ((other == key) & (at < order))) == smaller
        order = tl.where(take, at, order)
    else:
        take = (other < key) == smaller
    return tl.where(take, other, key), order


@kernel(space=SORT_SPACE, default=sort_default, key=("PAIRS", "RANK", "WIDE"))
def sort_blocks(
    x,  # what is sorted: rows by `strides[:RANK]`, columns by `x_step`
    keys,  # of a former round: (rows, columns); None in the first
    order,  # the columns of x that they stand for, likewise; None unless PAIRS
    values,  # the sorted elements: rows by `strides[RANK:]`, columns by `out_step`; None where blocks go on
    places,  # the columns they come from, laid out likewise
    sorted_keys,  # of each block, for another round or merging: (rows, blocks * keep), a row cut off at `cut`; or None
    sorted_order,  # the columns of x that they stand for, likewise; None unless PAIRS
    rows,
    columns,
    blocks,  # of a row
    keep,  # how many of each block are wanted
    cut,
    flip,  # -1 for descending order, else 0
    shape,
    strides,
    x_step,
    out_step,
    PAIRS: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    line = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if WIDE:
        line = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    row, block = line // blocks, line % blocks
    number = tl.arange(0, COLUMNS)[None, :]
    column = (block * COLUMNS)[:, None] + number
    inside = (row < rows)[:, None] & (column < columns)
    source = offsets_of(row, shape, strides, 0, RANK)[:, None]
    at = column.to(tl.int64)
    if keys is None:
        key = sort_key(tl.load(x + source + column * x_step, mask=inside, other=0), flip).to(tl.int64)
        if not PAIRS:
            key = key << 32 | at
    else:
        key = tl.load(keys + row[:, None] * columns + column, mask=inside, other=0)
        if PAIRS:
            at = tl.load(order + row[:, None] * columns + column, mask=inside, other=0)
    key = tl.where(inside, key, 9223372036854775807)
    at = tl.where(inside, at, 9223372036854775807)
    for level in tl.static_range(1, COLUMNS.bit_length()):
        for down in tl.static_range(1, level + 1):
            key, at = _exchange(key, at, number, 1 << level, 1 << (level - down), PAIRS, ROWS, COLUMNS)
    wanted = (row < rows)[:, None] & (number < keep)
    if values is None:
        place = (block * keep)[:, None] + number
        wanted = wanted & (place < cut)
        tl.store(sorted_keys + row[:, None] * cut + place, key, mask=wanted)
        if PAIRS:
            tl.store(sorted_order + row[:, None] * cut + place, at, mask=wanted)
    else:
        if not PAIRS:
            at = key & 0xFFFFFFFF
        place = number
        if WIDE:
            place = number.to(tl.int64)
        target = offsets_of(row, shape, strides, RANK, RANK)[:, None] + place * out_step
        tl.store(values + target, tl.load(x + source + at * x_step, mask=wanted, other=0), mask=wanted)
        tl.store(places + target, at, mask=wanted)


def sort_along(x, dim, keep, descending=False):
    """The first `keep` of the elements along `dim` in order, and the index of each; equal ones keep their order."""
    shape = (*x.shape[:dim], keep, *x.shape[dim + 1 :])
    values, places = empty_like(x, shape), empty_like(x, shape, _INT64)
    if not values.size:
        return values, places
    kept = [each for each in range(x.ndim) if each != dim]
    steps = [element_strides(each) for each in (x, values)]
    outer, strides = merge(tuple(x.shape[d] for d in kept), [tuple(own[d] for d in kept) for own in steps])
    rows, columns = math.prod(outer), x.shape[dim]
    pairs = x.itemsize == 8 or columns >= 2**31
    layout = (outer, sum(strides, ()), steps[0][dim], steps[1][dim])
    fixed = {"PAIRS": pairs, "RANK": len(outer)}
    flip, wide = -1 if descending else 0, needs_64_bits(x.shape, steps)
    keys = order = None
    if not _in_blocks(columns, keep):
        radix_sort(x, values, places, rows, columns, keep, descending, wide, layout)
        return values, places

    def sort_each(columns, config, take, cut):
        """Sort the blocks: to the results where `take` is None, else the first `take` of each for another round."""
        blocks = cdiv(columns, config["COLUMNS"])
        following = later = None
        if take is not None:
            following = empty_like(x, (rows, cut), _INT64)
            later = empty_like(x, (rows, cut), _INT64) if pairs else None
        whole = take is None
        sort_blocks[(cdiv(rows * blocks, config["ROWS"]),)](
            x, keys, order, values if whole else None, places if whole else None, following, later, rows, columns,
            blocks, keep if whole else take, cut, flip, *layout, WIDE=wide, **fixed, **config,
        )  # fmt: skip
        return following, later

    def config_of(columns):
        return sort_blocks.config((x, keys, order), rows=rows, columns=columns, keep=keep, WIDE=wide, **fixed)

    config = config_of(columns)
    while columns > config["COLUMNS"] >= 2 * keep:
        following = cdiv(columns, config["COLUMNS"]) * keep
        keys, order = sort_each(columns, config, keep, following)
        columns = following
        config = config_of(columns)
    if columns <= config["COLUMNS"]:
        sort_each(columns, config, None, 0)
    else:
        radix_sort(x, values, places, rows, x.shape[dim], keep, descending, wide, layout)
    return values, places


def sort_numbers(numbers, bound):
    """A vector of integers from 0 to `bound` in order, and where each comes from."""
    count = numbers.size
    if count <= 1024:
        return sort_along(numbers, 0, count)
    found, places = empty_like(numbers), empty_like(numbers, dtype=_INT64 if count >= 2**31 else np.dtype(np.int32))
    (step,) = element_strides(numbers)
    radix_sort(numbers, found, places, 1, count, count, False, count * abs(step) >= 2**31, ((), (), step, 1), bound + 1)
    return found, places
