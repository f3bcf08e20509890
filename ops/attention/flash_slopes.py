"""The gradient of attention with stored slopes: scores are computed again once, and not for each of two kernels.

The kernel by the keys (flash_backward.py) stores what its scores' gradients are, in half precision as it multiplies
them; the gradient by the queries is then one product with the keys: 5 products for each score in the place of 7.

Slopes of a head lie in panels of PANEL queries, (keys, PANEL) each without gaps, whose keys are a multiple of PANEL and
end under a causal mask with the diagonal: what no query attends takes no memory. A panel is what a tile of queries
reads from its begin to its end.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.flash import head_of, rows_of, store_tile, tile_of, turn_of
from tritorch.ops.attention.flash_tiles import (
    FLASH_BEGIN_SPACE,
    FLASH_FACTS,
    FLASH_PRODUCT_SPACE,
    flash_begin_default,
    flash_product_default,
)
from tritorch.ops.attention.flash_tiles import PANEL as _PANEL
from tritorch.runtime import tl

PANEL = tl.constexpr(_PANEL)


@kernel
def panel_line(panel, keys, CAUSAL: tl.constexpr):
    """The line, of PANEL slopes, where a panel of a head begins; for the panel after the last, how many there are."""
    blocks = tl.cdiv(keys, PANEL)
    count = panel * blocks
    if CAUSAL:
        short = tl.minimum(panel, blocks)
        count = short * (short + 1) // 2 + (panel - short) * blocks
    return count * PANEL


@kernel
def slopes_of(slopes, lines, BULK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """What tiles of COLUMNS keys by ROWS queries of all `lines` are read from or written to."""
    target = slopes
    if BULK:
        target = tl.make_tensor_descriptor(slopes, [lines, PANEL], [PANEL, 1], [COLUMNS, ROWS])
    return target


@kernel
def slope_places(line, query, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Offsets of a tile that begins at a line with the first of its queries."""
    lines = tl.cast(line, tl.int64) + tl.arange(0, COLUMNS)
    return lines[:, None] * PANEL + (query % PANEL + tl.arange(0, ROWS))[None, :]


@kernel
def store_slopes(target, line, query, tile, BULK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Write a tile of slopes, (COLUMNS, ROWS), that begins at a line with number `query` of the queries."""
    if BULK:
        target.store([line, query % PANEL], tile)
    else:
        tl.store(target + slope_places(line, query, ROWS, COLUMNS), tile)


@kernel
def begin_place(row):
    """Where what the scores of a row begin with lies in its head; what its slopes begin with lies PANEL further."""
    return 2 * row - row % PANEL


@kernel
def store_begins(begins, place, row, inside, padded, sums, delta, scale):
    """Write what the scores and the slopes of rows of a head begin with: -log_sum / scale, and -delta."""
    at = begins + place.to(tl.int64) * (2 * padded) + begin_place(row)
    tl.store(at, sums * (-1 / scale).to(tl.float32), mask=inside)
    tl.store(at + PANEL, -delta, mask=inside)


@kernel(space=FLASH_BEGIN_SPACE, default=flash_begin_default)
def flash_begin_kernel(
    grad,  # of the result: (batch, heads, length, value width) by its strides
    grad_log_sum,  # None, or of the logarithms of the sums, contiguous: (batch, heads, length)
    output,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # logarithms of the sums of exponentials: (batch, heads, length)
    begins,  # what rows begin with, 0 beyond the last: (batch, heads, padded / PANEL, 2, PANEL)
    heads,
    length,
    value_width,
    padded,
    grad_strides,
    output_strides,
    scale: tl.float64,
    VALUE_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    tiles = tl.cdiv(padded, ROWS)
    place = tl.program_id(0) // tiles
    first = tl.program_id(0) % tiles * ROWS
    batch, head = (place // heads).to(tl.int64), (place % heads).to(tl.int64)
    grad = head_of(grad, grad_strides, batch, head)
    output = head_of(output, output_strides, batch, head)
    grads = tile_of(grad, grad_strides, first, length, value_width, False, False, ROWS, VALUE_WIDTH)
    result = tile_of(output, output_strides, first, length, value_width, False, False, ROWS, VALUE_WIDTH)
    row = first + tl.arange(0, ROWS)
    line = place.to(tl.int64) * length + row
    delta = tl.sum(grads.to(tl.float32) * result.to(tl.float32), 1)
    if grad_log_sum is not None:
        delta -= tl.load(grad_log_sum + line, mask=row < length, other=0)
    sums = tl.load(log_sum + line, mask=row < length, other=0)
    store_begins(begins, place, row, row < padded, padded, sums, delta, scale)


@kernel
def add_slopes(
    total, slopes, k, k_strides, line, start, first, keys, width,
    DIAGONAL: tl.constexpr, EDGE: tl.constexpr, BULK: tl.constexpr, FILLED: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient by a tile of queries, to be scaled, with a tile of keys in it; nobody stored what is masked."""
    if BULK:
        tile = slopes.load([line + start, first % PANEL])
    else:
        tile = tl.load(slopes + slope_places(line + start, first, ROWS, COLUMNS))
    column = start + tl.arange(0, COLUMNS)
    if DIAGONAL:
        tile = tl.where((first + tl.arange(0, ROWS))[None, :] >= column[:, None], tile, 0.0)
    if EDGE:
        tile = tl.where((column < keys)[:, None], tile, 0.0)
    other = tile_of(k, k_strides, start, keys, width, BULK, FILLED and not EDGE, COLUMNS, WIDTH)
    return tl.dot(tl.trans(tile), other, total)


@kernel(
    space=FLASH_PRODUCT_SPACE, default=flash_product_default, key=FLASH_FACTS, do_not_specialize=("all_heads", "before")
)
def flash_product_kernel(
    slopes,  # what the kernel by the keys stored: (heads of the launch, lines, PANEL)
    k,  # keys: (batch, heads / group, keys, width) by its strides
    out,  # the gradient by the queries: (batch, heads, length, width) by its strides
    all_heads,  # of the launch
    before,  # heads of the batch before those of the launch
    heads,
    group,
    together,  # heads whose programs take turns, as their keys stay in the cache
    length,
    keys,
    width,
    k_strides,
    out_strides,
    scale: tl.float64,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,  # COLUMNS divides the number of keys
    FILLED: tl.constexpr,  # WIDTH is the width
    WIDTH: tl.constexpr,
    BULK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(length, ROWS)
    turn, stored = turn_of(tl.program_id(0), tiles, all_heads, together)
    first = (tiles - 1 - turn) * ROWS  # under a causal mask the last have most to do
    place = before + stored
    batch, head = (place // heads).to(tl.int64), (place % heads).to(tl.int64)
    k = head_of(k, k_strides, batch, head // group)
    out = head_of(out, out_strides, batch, head)
    k_rows = rows_of(k, k_strides, keys, width, BULK, COLUMNS, WIDTH)
    lines = panel_line(tl.cdiv(length, PANEL), keys, CAUSAL)
    tiles_of_slopes = slopes_of(slopes, all_heads * lines, BULK, ROWS, COLUMNS)
    line = stored * lines + panel_line(first // PANEL, keys, CAUSAL)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    last, whole = keys, keys // COLUMNS * COLUMNS
    if CAUSAL:
        last = tl.minimum(keys, first + ROWS)
        whole = tl.minimum(whole, (first + 1) // COLUMNS * COLUMNS)
    for start in range(0, whole, COLUMNS):
        total = add_slopes(
            total, tiles_of_slopes, k_rows, k_strides, line, start, first, keys, width,
            False, False, BULK, FILLED, WIDTH, ROWS, COLUMNS,
        )  # fmt: skip
    if CAUSAL or not EVEN:
        for start in range(whole, last, COLUMNS):
            total = add_slopes(
                total, tiles_of_slopes, k_rows, k_strides, line, start, first, keys, width,
                CAUSAL, not EVEN, BULK, FILLED, WIDTH, ROWS, COLUMNS,
            )  # fmt: skip
    store_tile(out, out_strides, first, length, width, total * scale.to(tl.float32), BULK, FILLED, ROWS, WIDTH)
