"""The gradient kernels of attention that nothing masks but causality, in half precision; each sums in a fixed order.

Tiles come as in the forward kernel. The kernel by the keys finds, of each row, what its scores and the gradients of its
weights begin with, 0 up to a `padded` length, so that nothing is masked. The kernel by the queries leaves it, in one
pass over the scores; where the one by the keys stores slopes, those of flash_slopes.py take the place of that pass.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.flash import ALIGNED, LOG2_E, head_of, only_tile_of, rows_of, store_tile, tile_of, turn_of
from tritorch.ops.attention.flash_slopes import PANEL, begin_place, panel_line, slopes_of, store_begins, store_slopes
from tritorch.ops.attention.flash_tiles import (
    FLASH_FACTS,
    FLASH_KEY_SPACE,
    FLASH_QUERY_SPACE,
    flash_key_default,
    flash_query_default,
)
from tritorch.runtime import tl


@kernel
def add_keys(
    total, tile, grads, sums, delta, k, v, k_strides, v_strides, start, row, keys, width, value_width, scale,
    DIAGONAL: tl.constexpr, EDGE: tl.constexpr, BULK: tl.constexpr, FILLED: tl.constexpr,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient by a tile of queries, still to be scaled, with a tile of keys in it."""
    other = tile_of(k, k_strides, start, keys, width, BULK, FILLED and not EDGE, COLUMNS, WIDTH)
    value = tile_of(v, v_strides, start, keys, value_width, BULK, FILLED and not EDGE, COLUMNS, VALUE_WIDTH)
    scores = tl.dot(tile, tl.trans(other))
    slope = tl.dot(grads, tl.trans(value))
    weights = tl.exp2(scores * scale - sums[:, None])
    column = start + tl.arange(0, COLUMNS)
    if DIAGONAL:
        weights = tl.where(row[:, None] >= column[None, :], weights, 0.0)
    if EDGE:
        weights = tl.where((column < keys)[None, :], weights, 0.0)
    slope = weights * (slope - delta[:, None])
    return tl.dot(slope.to(other.dtype), other, total)


@kernel(space=FLASH_QUERY_SPACE, default=flash_query_default, key=FLASH_FACTS)
def flash_query_kernel(
    grad,  # of the result: (batch, heads, length, value width) by its strides
    grad_log_sum,  # None, or of the logarithms of the sums, contiguous: (batch, heads, length)
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    output,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # logarithms of the sums of exponentials: (batch, heads, length)
    begins,  # what the other kernel begins rows with: (batch, heads, padded / PANEL, 2, PANEL)
    out,  # the gradient by the queries: (batch, heads, length, width) by its strides
    all_heads,  # of the whole batch
    heads,
    group,
    together,  # heads whose programs take turns, as their keys and values stay in the cache
    length,
    keys,
    width,
    value_width,
    padded,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    output_strides,
    out_strides,
    scale: tl.float64,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,  # COLUMNS divides the number of keys
    FILLED: tl.constexpr,  # WIDTH and VALUE_WIDTH are the widths
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BULK: tl.constexpr,
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
    grad = head_of(grad, grad_strides, batch, head)
    output = head_of(output, output_strides, batch, head)
    out = head_of(out, out_strides, batch, head)
    k_rows = rows_of(k, k_strides, keys, width, BULK, COLUMNS, WIDTH)
    v_rows = rows_of(v, v_strides, keys, value_width, BULK, COLUMNS, VALUE_WIDTH)
    tile = only_tile_of(q, q_strides, first, length, width, BULK, FILLED, ROWS, WIDTH)
    grads = only_tile_of(grad, grad_strides, first, length, value_width, BULK, FILLED, ROWS, VALUE_WIDTH)
    result = only_tile_of(output, output_strides, first, length, value_width, BULK, FILLED, ROWS, VALUE_WIDTH)
    row = first + tl.arange(0, ROWS)
    line = place.to(tl.int64) * length + row
    own_delta = tl.sum(grads.to(tl.float32) * result.to(tl.float32), 1)
    if grad_log_sum is not None:
        own_delta -= tl.load(grad_log_sum + line, mask=row < length, other=0)
    sums = tl.load(log_sum + line, mask=row < length, other=0)
    store_begins(begins, place, row, row < padded, padded, sums, own_delta, scale)
    beyond = tl.where(first + ROWS < length, padded, row + ROWS)  # what no tile covers: less than one more
    none = tl.zeros([ROWS], tl.float32)
    store_begins(begins, place, beyond, beyond < padded, padded, none, none, scale)
    sums *= LOG2_E
    factor = (scale * LOG2_E).to(tl.float32)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    last, whole = keys, keys // COLUMNS * COLUMNS
    if CAUSAL:
        last = tl.minimum(keys, first + ROWS)
        whole = tl.minimum(whole, (first + 1) // COLUMNS * COLUMNS)
    for start in range(0, whole, COLUMNS):
        total = add_keys(
            total, tile, grads, sums, own_delta, k_rows, v_rows, k_strides, v_strides, start, row, keys, width,
            value_width, factor, False, False, BULK, FILLED, WIDTH, VALUE_WIDTH, COLUMNS,
        )  # fmt: skip
    if CAUSAL or not EVEN:
        for start in range(whole, last, COLUMNS):
            total = add_keys(
                total, tile, grads, sums, own_delta, k_rows, v_rows, k_strides, v_strides, start, row, keys, width,
                value_width, factor, CAUSAL, not EVEN, BULK, FILLED, WIDTH, VALUE_WIDTH, COLUMNS,
            )  # fmt: skip
    store_tile(out, out_strides, first, length, width, total * scale.to(tl.float32), BULK, FILLED, ROWS, WIDTH)


@kernel
def rows_of_group(
    array, strides, group, rows, width,
    BULK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """`rows_of` for all heads that share a key, of which `array` points to the first."""
    source = array
    if BULK:
        source = tl.make_tensor_descriptor(
            array, [group, rows, width], [strides[1], strides[2], 1], [1, ROWS, WIDTH]
        )  # fmt: skip
    return source


@kernel
def tile_of_member(
    source, strides, member, start, rows, width,
    BULK: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """`tile_of` for a head of a group."""
    if BULK:
        tile = source.load([member, start, 0]).reshape([ROWS, WIDTH])
    else:
        head = source + tl.cast(member, tl.int64) * tl.multiple_of(strides[1], ALIGNED)
        tile = tile_of(head, strides, start, rows, width, False, WHOLE, ROWS, WIDTH)
    return tile


@kernel
def add_queries(
    k_total, v_total, tile, values, q, grad, q_strides, grad_strides, begins, slopes, line_of_slopes, step,
    count, lowest, first, length, keys, width, value_width, padded, scale,
    STORES: tl.constexpr, CAUSAL: tl.constexpr, EVEN: tl.constexpr, GROUPED: tl.constexpr, BULK: tl.constexpr,
    FILLED: tl.constexpr,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradients by a tile of keys (still to be scaled) and values, with a tile of queries of a head in them.

    Scores and slopes begin with what is subtracted from them, or -inf above the diagonal, and slopes come after the
    product with the weights: thus all that is held fits the registers. Queries beyond the last are zeros, and so is
    what they give.
    """
    member, at = 0, step
    if GROUPED:
        member, at = step // count, step % count
    start = (lowest + at) * ROWS
    query = tile_of_member(q, q_strides, member, start, length, width, BULK, FILLED and EVEN, ROWS, WIDTH)
    line = begin_place(tl.cast(member, tl.int64) * padded + start) + tl.arange(0, ROWS)
    begin = tl.broadcast_to(tl.load(begins + line)[None, :], [COLUMNS, ROWS])
    if CAUSAL:
        allowed = (start - first + tl.arange(0, ROWS))[None, :] >= tl.arange(0, COLUMNS)[:, None]
        begin = tl.where(allowed, begin, float("-inf"))
    weights = tl.exp2(tl.dot(tile, tl.trans(query), begin) * scale)
    grads = tile_of_member(
        grad, grad_strides, member, start, length, value_width, BULK, FILLED and EVEN, ROWS, VALUE_WIDTH
    )  # fmt: skip
    v_total = tl.dot(weights.to(grads.dtype), grads, v_total)
    begin = tl.broadcast_to(tl.load(begins + line + PANEL)[None, :], [COLUMNS, ROWS])
    slope = tl.dot(values, tl.trans(grads), begin)
    narrow = (weights * slope).to(query.dtype)
    k_total = tl.dot(narrow, query, k_total)
    if STORES:
        line = line_of_slopes + panel_line(start // PANEL, keys, CAUSAL) + first
        if GROUPED:
            line += member * panel_line(tl.cdiv(length, PANEL), keys, CAUSAL)
        store_slopes(slopes, line, start, narrow, BULK, ROWS, COLUMNS)
    return k_total, v_total


@kernel(space=FLASH_KEY_SPACE, default=flash_key_default, key=FLASH_FACTS, do_not_specialize=("all_shared", "before"))
def flash_key_kernel(
    grad,  # of the result: (batch, heads, length, value width) by its strides
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    begins,  # what rows begin with, 0 beyond the last: (batch, heads, padded / PANEL, 2, PANEL)
    slopes,  # None, or those that are stored: (heads of the launch, lines, PANEL)
    k_out,  # the gradient by the keys: (batch, heads / group, keys, width) by its strides
    v_out,  # the gradient by the values: (batch, heads / group, keys, value width) by its strides
    all_shared,  # heads of keys of the launch
    before,  # heads of keys of the batch before those of the launch
    heads,
    group,
    together,  # heads of keys whose programs take turns, as their queries stay in the cache
    length,
    keys,
    width,
    value_width,
    padded,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    k_out_strides,
    v_out_strides,
    scale: tl.float64,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,  # ROWS divides the length
    GROUPED: tl.constexpr,  # group is more than 1
    FILLED: tl.constexpr,  # WIDTH and VALUE_WIDTH are the widths
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BULK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    STORES: tl.constexpr = slopes is not None
    turn, stored = turn_of(tl.program_id(0), tl.cdiv(keys, COLUMNS), all_shared, together)
    first = turn * COLUMNS  # under a causal mask the first have most to do
    shared, place = heads // group, before + stored
    batch, key_head = (place // shared).to(tl.int64), (place % shared).to(tl.int64)
    head = key_head * group
    q = head_of(q, q_strides, batch, head)
    grad = head_of(grad, grad_strides, batch, head)
    k = head_of(k, k_strides, batch, key_head)
    v = head_of(v, v_strides, batch, key_head)
    k_out = head_of(k_out, k_out_strides, batch, key_head)
    v_out = head_of(v_out, v_out_strides, batch, key_head)
    begins += (batch * heads + head) * (2 * padded)
    q_rows = rows_of_group(q, q_strides, group, length, width, BULK, ROWS, WIDTH)
    grad_rows = rows_of_group(grad, grad_strides, group, length, value_width, BULK, ROWS, VALUE_WIDTH)
    HELD: tl.constexpr = FILLED and not STORES  # offsets would take registers, of which a loop that stores needs all
    tile = only_tile_of(k, k_strides, first, keys, width, BULK, HELD, COLUMNS, WIDTH)
    values = only_tile_of(v, v_strides, first, keys, value_width, BULK, HELD, COLUMNS, VALUE_WIDTH)
    factor = (scale * LOG2_E).to(tl.float32)
    k_total = tl.zeros([COLUMNS, WIDTH], tl.float32)
    v_total = tl.zeros([COLUMNS, VALUE_WIDTH], tl.float32)
    line = 0
    if STORES:
        lines = group * panel_line(tl.cdiv(length, PANEL), keys, CAUSAL)
        line = stored * lines
        slopes = slopes_of(slopes, all_shared * lines, BULK, ROWS, COLUMNS)
    lowest = tl.minimum(first // ROWS, tl.cdiv(length, ROWS)) if CAUSAL else 0  # tile of queries that attends any
    count = tl.cdiv(length, ROWS) - lowest
    for step in range(count * group):
        k_total, v_total = add_queries(
            k_total, v_total, tile, values, q_rows, grad_rows, q_strides, grad_strides, begins, slopes, line,
            step, count, lowest, first, length, keys, width, value_width, padded, factor, STORES, CAUSAL, EVEN,
            GROUPED, BULK, FILLED, WIDTH, VALUE_WIDTH, ROWS, COLUMNS,
        )  # fmt: skip
    store_tile(k_out, k_out_strides, first, keys, width, k_total * scale.to(tl.float32), BULK, FILLED, COLUMNS, WIDTH)
    store_tile(v_out, v_out_strides, first, keys, value_width, v_total, BULK, FILLED, COLUMNS, VALUE_WIDTH)
