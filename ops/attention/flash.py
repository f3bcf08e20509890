"""The forward kernel of attention that nothing masks but causality, in half precision.

All arrays lie at multiples of ALIGNED elements. What is read tile after tile comes by bulk copies on Hopper and later
(BULK, its TMA), else by ordinary loads; a descriptor for one tile alone pays where rows are padded. Outside of an array
zeros are read and nothing is written. Scores are multiplied by log2(e) with their scale, so that one exp2() is all that
a weight takes, and only tiles of keys that pass the diagonal or the last key are masked.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.flash_tiles import FLASH_FACTS, FLASH_FORWARD_SPACE, flash_forward_default
from tritorch.runtime import tl

LOG2_E = tl.constexpr(1.4426950408889634)
ALIGNED = tl.constexpr(8)  # elements, 16 bytes: what divides the widths and all steps but that within a row


@kernel
def turn_of(program, tiles, heads, together):
    """(tile, head) of a program: the first tiles of `together` heads, then their second tiles, then other heads."""
    first = program // (tiles * together) * together
    count = tl.minimum(heads - first, together)
    within = program - first * tiles
    return within // count, first + within % count


@kernel
def head_of(array, strides, batch, head):
    """Where a head of an array begins."""
    return array + batch * tl.multiple_of(strides[0], ALIGNED) + head * tl.multiple_of(strides[1], ALIGNED)


@kernel
def rows_of(array, strides, rows, width, BULK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """What tiles of ROWS rows of a head, which `array` points to, are read from: a descriptor, or the pointer."""
    source = array
    if BULK:
        source = tl.make_tensor_descriptor(array, [rows, width], [strides[2], 1], [ROWS, WIDTH])
    return source


@kernel
def places(start, step, rows, width, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Offsets of a tile of rows, and which of them are inside."""
    row, column = start + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    step, width = tl.multiple_of(step, ALIGNED), tl.multiple_of(width, ALIGNED)
    return row[:, None] * step + column[None, :], (row < rows)[:, None] & (column < width)[None, :]


@kernel
def tile_of(
    source, strides, start, rows, width,
    BULK: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """ROWS rows from `start` on, zero outside; WHOLE where all of them are inside, and as wide as the tile."""
    if BULK:
        tile = source.load([start, 0])
    else:
        at, inside = places(start, strides[2], rows, width, ROWS, WIDTH)
        tile = tl.load(source + at) if WHOLE else tl.load(source + at, mask=inside, other=0)
    return tile


@kernel
def only_tile_of(
    array, strides, start, rows, width,
    BULK: tl.constexpr, FILLED: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """`tile_of` for a program that reads but one; where rows are narrower than a tile, a descriptor is worth it."""
    source = rows_of(array, strides, rows, width, BULK and not FILLED, ROWS, WIDTH)
    return tile_of(source, strides, start, rows, width, BULK and not FILLED, False, ROWS, WIDTH)


@kernel
def store_tile(
    out, strides, start, rows, width, value,
    BULK: tl.constexpr, FILLED: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Write ROWS rows from `start` on, those that exist, of a head that `out` points to, narrowed to its dtype."""
    narrow = value.to(out.dtype.element_ty)
    if BULK and not FILLED:
        rows_of(out, strides, rows, width, True, ROWS, WIDTH).store([start, 0], narrow)
    else:
        # Rows are counted from the tile's first: numbers that a load before a loop had too would be held throughout it.
        at, inside = places(0, strides[2], rows - start, width, ROWS, WIDTH)
        tl.store(out + start * tl.multiple_of(strides[2], ALIGNED) + at, narrow, mask=inside)


@kernel
def attend_tile(
    highest, sums, total, tile, k, v, k_strides, v_strides, start, row, keys, width, value_width, scale,
    DIAGONAL: tl.constexpr, EDGE: tl.constexpr, BULK: tl.constexpr, FILLED: tl.constexpr,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One tile of keys: the maximum (in base 2), sum of exponentials and weighted sum of values, with it in."""
    other = tile_of(k, k_strides, start, keys, width, BULK, FILLED and not EDGE, COLUMNS, WIDTH)
    scores = tl.dot(tile, tl.trans(other))
    column = start + tl.arange(0, COLUMNS)
    if DIAGONAL:
        scores = tl.where(row[:, None] >= column[None, :], scores, float("-inf"))
    if EDGE:
        scores = tl.where((column < keys)[None, :], scores, float("-inf"))
    higher = tl.maximum(highest, tl.max(scores, 1) * scale)
    weights = tl.exp2(scores * scale - higher[:, None])
    shrink = tl.exp2(highest - higher)
    sums = sums * shrink + tl.sum(weights, 1)
    value = tile_of(v, v_strides, start, keys, value_width, BULK, FILLED and not EDGE, COLUMNS, VALUE_WIDTH)
    total = tl.dot(weights.to(value.dtype), value, total * shrink[:, None])
    return higher, sums, total


@kernel(space=FLASH_FORWARD_SPACE, default=flash_forward_default, key=FLASH_FACTS)
def flash_kernel(
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    out,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # of the exponentials of a row's scores: (batch, heads, length)
    all_heads,  # of the whole batch
    heads,
    group,
    together,  # heads whose programs take turns, as their keys and values stay in the cache
    length,
    keys,
    width,
    value_width,
    q_strides,
    k_strides,
    v_strides,
    out_strides,
    scale: tl.float64,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,  # COLUMNS divides the number of keys
    FILLED: tl.constexpr,  # WIDTH and VALUE_WIDTH are the widths
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BULK: tl.constexpr,
    SPECIALIZED: tl.constexpr,  # warps of their own do all copying in bulk; Triton 3.6 does that for one loop alone
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(length, ROWS)
    turn, place = turn_of(tl.program_id(0), tiles, all_heads, together)
    first = (tiles - 1 - turn) * ROWS  # under a causal mask the last have most to do
    batch, head = (place // heads).to(tl.int64), (place % heads).to(tl.int64)
    q = head_of(q, q_strides, batch, head)
    k = head_of(k, k_strides, batch, head // group)
    v = head_of(v, v_strides, batch, head // group)
    k_rows = rows_of(k, k_strides, keys, width, BULK, COLUMNS, WIDTH)
    v_rows = rows_of(v, v_strides, keys, value_width, BULK, COLUMNS, VALUE_WIDTH)
    tile = only_tile_of(q, q_strides, first, length, width, BULK, FILLED and not SPECIALIZED, ROWS, WIDTH)
    row = first + tl.arange(0, ROWS)
    factor = (scale * LOG2_E).to(tl.float32)
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    sums = tl.zeros([ROWS], tl.float32)
    total = tl.zeros([ROWS, VALUE_WIDTH], tl.float32)
    last, whole = keys, keys // COLUMNS * COLUMNS
    if CAUSAL:
        last = tl.minimum(keys, first + ROWS)
        whole = tl.minimum(whole, (first + 1) // COLUMNS * COLUMNS)
    if SPECIALIZED and (CAUSAL or not EVEN):
        whole = 0  # all tiles are masked, in one loop
    if not SPECIALIZED or (EVEN and not CAUSAL):
        for start in tl.range(0, whole, COLUMNS, warp_specialize=SPECIALIZED):
            highest, sums, total = attend_tile(
                highest, sums, total, tile, k_rows, v_rows, k_strides, v_strides, start, row, keys, width, value_width,
                factor, False, False, BULK, FILLED, WIDTH, VALUE_WIDTH, COLUMNS,
            )  # fmt: skip
    if CAUSAL or not EVEN:
        for start in tl.range(whole, last, COLUMNS, warp_specialize=SPECIALIZED):
            highest, sums, total = attend_tile(
                highest, sums, total, tile, k_rows, v_rows, k_strides, v_strides, start, row, keys, width, value_width,
                factor, CAUSAL, not EVEN, BULK, FILLED, WIDTH, VALUE_WIDTH, COLUMNS,
            )  # fmt: skip
    out = head_of(out, out_strides, batch, head)
    store_tile(out, out_strides, first, length, value_width, total / sums[:, None], BULK, FILLED, ROWS, VALUE_WIDTH)
    line = place.to(tl.int64) * length + row
    tl.store(log_sum + line, (highest + tl.log2(sums)) / LOG2_E, mask=row < length)
