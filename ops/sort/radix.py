"""Sorting long rows by their digits, from the last to the first (least significant digit first, stable).

A row is cut into spans of tiles, one program each. A round counts how often each digit occurs in each span, and moves
the elements: a program knows where its elements of each digit begin from the counts of all spans, and ranks the equal
digits of a tile by running sums of counters, four to an integer. Nothing is added atomically and nobody waits. Where a
row has few tiles each program counts them all itself, and a round is one launch.

Elements travel as their bits, from which their order is computed in each round: 32 bits share an int64 with the column,
wider ones have it beside them. Source: Merrill and Grimshaw, "High performance and scalable radix sorting", 2011.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.family import offsets_of
from tritorch.runtime import tl

_INT64, _INT32 = np.dtype(np.int64), np.dtype(np.int32)
_DIGIT = 4  # bits: more are fewer rounds, but more sums
_FEW = 1 << 14  # elements of a row, up to which each program counts them all
_LOW = {"bfloat16": 16, "float16": 13}  # bits that say nothing in a float32


def radix_default(device, *, rows, columns):
    """Two programs for each multiprocessor, of tiles with eight elements a thread; few large tiles interpreted."""
    if device.kind == "interpreter":
        return {
            "BLOCK": min(max(next_power_of_2(columns), 128), 4096),
            "TILES": 2 if columns > 4096 else 1,
            "num_warps": 4,
        }
    block = min(max(next_power_of_2(columns), 256), 1024)
    tiles = 1
    while tiles < 64 and block * tiles < columns and rows * cdiv(columns, 2 * block * tiles) >= 2 * device.sms:
        tiles *= 2
    return {"BLOCK": block, "TILES": tiles, "num_warps": max(block // 256, 1)}


def _shared_out(BLOCK, num_warps):
    """Four or eight elements for each thread."""
    return 128 * num_warps <= BLOCK <= 256 * num_warps


def _filled(BLOCK, TILES, columns):
    """No more tiles than a row has."""
    return BLOCK <= max(next_power_of_2(columns), 256) and (TILES == 1 or BLOCK * TILES < 2 * columns)


RADIX_SPACE = Space(
    BLOCK=powers(128, 2048, default=1024), TILES=powers(1, 64), num_warps=warps(1, 8), where=(_shared_out, _filled)
)


@kernel
def sort_key(value, flip):
    """An integer of 32 bits, or 64 for wider elements, with the order of `value`; reversed where `flip` is -1."""
    if value.dtype.is_floating():
        if value.dtype == tl.float64:
            bits = value.to(tl.int64, bitcast=True)
            most = 9223372036854775807
        else:
            value = value.to(tl.float32)
            bits = value.to(tl.int32, bitcast=True)
            most = 2147483647
        key = tl.where(bits < 0, bits ^ most, bits)
        key = tl.where(value == 0, 0, key)
        key = tl.where(value != value, most, key).to(bits.dtype)
    elif value.dtype == tl.int64:
        key = value
    else:
        key = value.to(tl.int32)
    return key ^ flip


@kernel
def _bits_of(value):
    """What an element travels as: its bits, or an integer itself, in 32 bits, or 64 for wider elements."""
    if value.dtype.is_floating():
        if value.dtype == tl.float64:
            bits = value.to(tl.int64, bitcast=True)
        elif value.dtype == tl.float32:
            bits = value.to(tl.int32, bitcast=True)
        else:
            bits = value.to(tl.int16, bitcast=True).to(tl.int32)
    elif value.dtype == tl.int64:
        bits = value
    else:
        bits = value.to(tl.int32)
    return bits


@kernel
def _element_of(bits, TYPE: tl.constexpr):
    """The reverse."""
    if TYPE.is_floating():
        if TYPE == tl.float64 or TYPE == tl.float32:
            value = bits.to(TYPE, bitcast=True)
        else:
            value = bits.to(tl.int16).to(TYPE, bitcast=True)
    else:
        value = bits.to(TYPE)
    return value


@kernel
def _digit_of(bits, shift, flip, TYPE: tl.constexpr, BOUNDED: tl.constexpr, BUCKETS: tl.constexpr):
    """The digit of an element's order that begins at bit `shift`."""
    if BOUNDED:
        key = bits
    else:
        key = sort_key(_element_of(bits, TYPE), flip)
        if key.dtype == tl.int64:
            key = key ^ -9223372036854775808
        elif TYPE.primitive_bitwidth <= 8:
            key += 256
        elif TYPE == tl.int16:
            key += 32768
        else:
            key = key ^ -2147483648
    return ((key >> shift) & (BUCKETS - 1)).to(tl.int32)


@kernel
def _numbers(tile, SIZE: tl.constexpr, WIDE: tl.constexpr):
    """The numbers of the SIZE parts of a tile."""
    return tile.to(tl.int64) * SIZE + tl.arange(0, SIZE) if WIDE else tile * SIZE + tl.arange(0, SIZE)


@kernel
def _eight(pointer, first, end, step):
    """The bits of eight neighbours for each of `first`, as one row: each thread has eight, so that it adds up by itself
    and little passes between threads. What is at `end` or beyond is zero."""
    w0 = _bits_of(tl.load(pointer + first * step, mask=first < end, other=0))
    w1 = _bits_of(tl.load(pointer + (first + 1) * step, mask=first + 1 < end, other=0))
    w2 = _bits_of(tl.load(pointer + (first + 2) * step, mask=first + 2 < end, other=0))
    w3 = _bits_of(tl.load(pointer + (first + 3) * step, mask=first + 3 < end, other=0))
    w4 = _bits_of(tl.load(pointer + (first + 4) * step, mask=first + 4 < end, other=0))
    w5 = _bits_of(tl.load(pointer + (first + 5) * step, mask=first + 5 < end, other=0))
    w6 = _bits_of(tl.load(pointer + (first + 6) * step, mask=first + 6 < end, other=0))
    w7 = _bits_of(tl.load(pointer + (first + 7) * step, mask=first + 7 < end, other=0))
    even, odd = tl.join(tl.join(w0, w4), tl.join(w2, w6)), tl.join(tl.join(w1, w5), tl.join(w3, w7))
    return tl.reshape(tl.join(even, odd), [first.shape[0] * 8])


@kernel
def _counted(x, keys, tile, columns, x_step, shift, flip, PAIRS: tl.constexpr, BOUNDED: tl.constexpr,
             WIDE: tl.constexpr, BUCKETS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """How often each digit occurs in a tile; what is beyond the row counts as the last one, which nothing follows."""
    column = _numbers(tile, BLOCK, WIDE)
    if keys is None:
        bits = _bits_of(tl.load(x + column * x_step, mask=column < columns, other=0))
    else:
        bits = tl.load(keys + column, mask=column < columns, other=0)
        if not PAIRS:
            bits = bits >> 32
    if not PAIRS:
        bits = bits.to(tl.int32)
    digit = _digit_of(bits, shift, flip, x.dtype.element_ty, BOUNDED, BUCKETS)
    return tl.histogram(tl.where(column < columns, digit, BUCKETS - 1), BUCKETS).to(tl.int64)


@kernel
def count_digits(
    counts,  # how often each digit occurs in each span, int64: (rows, spans, BUCKETS)
    x,  # what is sorted: rows by `strides[:RANK]`, columns by `x_step`
    keys,  # the elements after a former round: (rows, columns); None in the first
    columns,
    spans,  # of a row
    shift,  # of the digit
    flip,  # -1 for descending order, else 0
    shape,
    strides,
    x_step,
    PAIRS: tl.constexpr,
    BOUNDED: tl.constexpr,  # integers from 0 on, below a known bound
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    BUCKETS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    row, first = number // spans, (number % spans).to(tl.int32) * TILES
    x += offsets_of(row, shape, strides, 0, RANK)
    if keys is not None:
        keys += row * columns
    total = tl.zeros([BUCKETS], tl.int64)
    for tile in range(first, first + TILES):
        total += _counted(x, keys, tile, columns, x_step, shift, flip, PAIRS, BOUNDED, WIDE, BUCKETS, BLOCK)
    tl.store(counts + number * BUCKETS + tl.arange(0, BUCKETS), total)


@kernel
def _begins(counts, row, span, spans, BUCKETS: tl.constexpr):
    """Where a span's elements of each digit begin: after all of smaller digits, and those of the spans before it."""
    bucket = tl.arange(0, BUCKETS)[None, :]
    total, before = tl.zeros([BUCKETS], tl.int64), tl.zeros([BUCKETS], tl.int64)
    for start in range(0, spans, 64):
        number = start + tl.arange(0, 64)[:, None]
        count = tl.load(counts + (row * spans + number) * BUCKETS + bucket, mask=number < spans, other=0)
        total += tl.sum(count, 0)
        before += tl.sum(tl.where(number < span, count, 0), 0)
    return tl.cumsum(total, 0) - total + before


@kernel
def _ranks(digit, BUCKETS: tl.constexpr):
    """How many elements of a tile before each one have its digit: sums of counters of 16 bits, four to an integer."""
    shift = ((digit & 3) * 16).to(tl.int64)
    one = tl.full(digit.shape, 1, tl.int64) << shift
    rank = digit * 0
    for word in tl.static_range(BUCKETS // 4):
        mine = (digit >> 2) == word
        sums = tl.cumsum(tl.where(mine, one, 0), 0)
        rank = tl.where(mine, ((sums >> shift) & 0xFFFF).to(tl.int32) - 1, rank)
    return rank


@kernel(
    space=RADIX_SPACE, default=radix_default,
    key=("PAIRS", "BOUNDED", "RANK", "WIDE", "BUCKETS", "FIRST", "LAST", "ALONE"),
)  # fmt: skip
def move_by_digit(
    x,  # what is sorted: rows by `strides[:RANK]`, columns by `x_step`
    moved,  # the elements by their digit, equal ones in their order: (rows, columns); None in the last round
    moved_order,  # the columns of x that they come from, likewise; None unless PAIRS
    values,  # in the last round the elements: rows by `strides[RANK:]`, columns by `out_step`; else None
    places,  # the columns they come from, laid out likewise
    counts,  # of digits: (rows, spans, BUCKETS); None where each program counts
    keys,  # the elements after a former round: (rows, columns); None in the first
    order,  # the columns of x that they come from, likewise; None unless PAIRS
    columns,
    keep,  # how many are wanted in the end
    spans,
    shift,
    flip,
    shape,
    strides,
    x_step,
    out_step,
    PAIRS: tl.constexpr,
    BOUNDED: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,
    BUCKETS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    row, span = number // spans, (number % spans).to(tl.int32)
    first = span * TILES
    x += offsets_of(row, shape, strides, 0, RANK)
    if keys is not None:
        keys += row * columns
    if order is not None:
        order += row * columns
    if counts is None:
        total, before = tl.zeros([BUCKETS], tl.int64), tl.zeros([BUCKETS], tl.int64)
        for tile in range(spans * TILES):
            count = _counted(x, keys, tile, columns, x_step, shift, flip, PAIRS, BOUNDED, WIDE, BUCKETS, BLOCK)
            total += count
            before += tl.where(tile < first, count, 0)
        begin = tl.cumsum(total, 0) - total + before
    else:
        begin = _begins(counts, row, span, spans, BUCKETS)
    for tile in range(first, first + TILES):
        column = _numbers(tile, BLOCK, WIDE)
        inside = column < columns
        lead = _numbers(tile, BLOCK // 8, WIDE) * 8
        at = column.to(tl.int64)
        if keys is None:
            bits = _eight(x, lead, columns, x_step)
        else:
            bits = _eight(keys, lead, columns, 1)
            if PAIRS:
                at = tl.load(order + column, mask=inside, other=0).to(tl.int64)
            else:
                at = bits & 0xFFFFFFFF
                bits = bits >> 32
        if not PAIRS:
            bits = bits.to(tl.int32)
        digit = _digit_of(bits, shift, flip, x.dtype.element_ty, BOUNDED, BUCKETS)
        digit = tl.where(inside, digit, BUCKETS - 1)
        place = tl.gather(begin, digit, 0) + _ranks(digit, BUCKETS)
        begin += tl.histogram(digit, BUCKETS).to(tl.int64)
        if values is None:
            if PAIRS:
                tl.store(moved + row * columns + place, bits, mask=inside)
                tl.store(moved_order + row * columns + place, at.to(moved_order.dtype.element_ty), mask=inside)
            else:
                tl.store(moved + row * columns + place, bits.to(tl.int64) << 32 | at, mask=inside)
        else:
            wanted = inside & (place < keep)
            target = offsets_of(row, shape, strides, RANK, RANK) + place * out_step
            value = bits.to(values.dtype.element_ty) if BOUNDED else _element_of(bits, x.dtype.element_ty)
            tl.store(values + target, value, mask=wanted)
            tl.store(places + target, at.to(places.dtype.element_ty), mask=wanted)


def _bits_that_count(dtype):
    """The first bit, and the one after the last, that decide the order of elements."""
    if dtype.itemsize == 8:
        return 0, 64
    if dtype.itemsize == 1:
        return 0, 9
    return (0, 16) if dtype.kind in "iu" and dtype.itemsize == 2 else (_LOW.get(dtype.name, 0), 32)


def radix_sort(x, values, places, rows, columns, keep, descending, wide, layout, bound=None):
    """Write the first `keep` of each row in order to `values`, and their columns to `places`.

    layout  the shape of the rows, the strides of x and of the results under it, and their steps along columns
    bound   what all elements are known to lie below, integers from 0 on
    """
    outer, strides, x_step, out_step = layout
    low, high = (0, int(bound - 1).bit_length()) if bound is not None else _bits_that_count(x.dtype)
    rounds = max(cdiv(high - low, _DIGIT), 1)
    digit = cdiv(high - low, rounds)
    pairs, alone, flip = high > 32 or columns >= 2**31, columns <= _FEW, -1 if descending else 0
    fixed = {
        "PAIRS": pairs,
        "BOUNDED": bound is not None,
        "RANK": len(outer),
        "WIDE": wide,
        "BUCKETS": max(1 << digit, 4),
    }
    keys = order = None
    spare = []
    for number in range(rounds):
        last = number == rounds - 1
        config = move_by_digit.config(
            (values, places, x, keys, order),
            rows=rows,
            columns=columns,
            FIRST=not number,
            LAST=last,
            ALONE=alone,
            **fixed,
        )
        spans = cdiv(columns, config["BLOCK"] * config["TILES"])
        common = (spans, low + number * digit, flip, outer, strides, x_step)
        counts = None if alone else empty_like(x, (rows, spans, fixed["BUCKETS"]), _INT64)
        if counts is not None:
            count_digits[(rows * spans,)](counts, x, keys, columns, *common, **fixed, **config)
        moved = (None, None) if last else spare.pop() if len(spare) == 2 else _buffers(x, rows, columns, pairs)
        move_by_digit[(rows * spans,)](
            x, *moved, *((values, places) if last else (None, None)), counts, keys, order, columns, keep, *common,
            out_step, **fixed, **config,
        )  # fmt: skip
        keys, order = moved
        spare.insert(0, moved)


def _buffers(x, rows, columns, pairs):
    kind = _INT64 if columns >= 2**31 else _INT32
    return empty_like(x, (rows, columns), _INT64), empty_like(x, (rows, columns), kind) if pairs else None
