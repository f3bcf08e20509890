"""The gradient kernels of attention over packed sequences: one by the queries, one by the keys; each sums in order.

Both compute a tile of weights again from the saved logarithms of the rows' sums. The gradient of a score is its weight
times (the gradient of the weight less the row's `delta`), where delta is grad . output (Dao et al. 2022).
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.kernels import load_rows, products_of_rows
from tritorch.ops.attention.varlen_kernels import in_window, span_of
from tritorch.ops.attention.varlen_tiles import (
    VARLEN_FACTS,
    VARLEN_KEY_SPACE,
    VARLEN_QUERY_SPACE,
    varlen_key_default,
    varlen_query_default,
)
from tritorch.runtime import tl


@kernel
def products(
    tile, x, x_step, x_inside, other, y, y_step, y_inside, width,
    ACCUMULATE: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The product of each row of a tile with each of another; from memory where they do not fit as a whole."""
    if DEPTH >= WIDTH:
        zero = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
        result = tl.dot(tile, tl.trans(other), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
    else:
        result = products_of_rows(
            x, x_step, x_inside, y, y_step, y_inside, width, ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS
        )
    return result


@kernel
def write_rows(rows, step, inside, width, value, WIDTH: tl.constexpr):
    """Write rows of WIDTH elements, of which `width` exist, narrowed to the dtype of what they are in."""
    column = tl.arange(0, WIDTH)
    at = rows[:, None] + column[None, :] * step
    tl.store(at, value.to(rows.dtype.element_ty), mask=inside[:, None] & (column < width)[None, :])


@kernel(
    space=VARLEN_QUERY_SPACE,
    default=varlen_query_default,
    key=VARLEN_FACTS,
    do_not_specialize=("tokens", "key_tokens", "longest"),
)
def varlen_query_gradient_kernel(
    grad,  # of the result: (tokens, heads, value width) by its strides
    grad_log_sum,  # None, or of the logarithms of the sums, contiguous: (heads, tokens)
    q,  # queries: (tokens, heads, width) by its strides
    k,  # keys: (tokens, heads / group, width) by its strides
    v,  # values: (tokens, heads / group, value width) by its strides
    starts_q,  # where sequences of queries begin, and the last one ends: (sequences + 1,)
    starts_k,  # likewise of keys: (sequences + 1,)
    output,  # the result: (tokens, heads, value width) by its strides
    log_sum,  # logarithms of the sums of exponentials: (heads, tokens)
    delta,  # grad . output of each row, less grad_log_sum, for the other kernel: (heads, tokens)
    out,  # the gradient by the queries: (tokens, heads, width) by its strides
    heads,
    group,
    tokens,
    key_tokens,
    longest,  # sequence of queries
    width,
    value_width,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    output_strides,
    out_strides,
    left,
    right,
    scale: tl.float64,
    LEFT: tl.constexpr,
    RIGHT: tl.constexpr,
    WIDE: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(longest, ROWS)
    place = tl.program_id(0) // tiles
    tile_number = tiles - 1 - tl.program_id(0) % tiles
    sequence, head = place // heads, (place % heads).to(tl.int64)
    first, length = span_of(starts_q, sequence, tokens)
    if tile_number * ROWS >= length:
        return
    first_key, keys = span_of(starts_k, sequence, key_tokens)
    shift = keys - length
    row = tile_number * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    row_inside = row < length
    line = head * tokens + first + row
    q_rows = q + first * q_strides[0] + head * q_strides[1] + row * q_strides[0]
    grad_rows = grad + first * grad_strides[0] + head * grad_strides[1] + row * grad_strides[0]
    output_rows = output + first * output_strides[0] + head * output_strides[1] + row * output_strides[0]
    k += first_key * k_strides[0] + head // group * k_strides[1]
    v += first_key * v_strides[0] + head // group * v_strides[1]
    tile = load_rows(q_rows, q_strides[2], row_inside, width, 0, WIDTH)
    grad_tile = load_rows(grad_rows, grad_strides[2], row_inside, value_width, 0, VALUE_WIDTH)
    result = load_rows(output_rows, output_strides[2], row_inside, value_width, 0, VALUE_WIDTH)
    own_delta = tl.sum(grad_tile.to(ACCUMULATE) * result.to(ACCUMULATE), 1)
    if grad_log_sum is not None:
        own_delta -= tl.load(grad_log_sum + line, mask=row_inside, other=0).to(ACCUMULATE)
    tl.store(delta + line, own_delta, mask=row_inside)
    sums = tl.load(log_sum + line, mask=row_inside, other=0) * 1.4426950408889634
    factor = (scale * 1.4426950408889634).to(ACCUMULATE)  # to base 2
    total = tl.zeros([ROWS, WIDTH], ACCUMULATE)
    begin, last = 0, keys
    if LEFT:
        begin = tl.maximum(tile_number * ROWS + shift - left, 0) // COLUMNS * COLUMNS
    if RIGHT:
        last = tl.minimum(keys, tl.minimum(tile_number * ROWS + ROWS, length) + shift + right)
    for start in range(begin, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        inside = column < keys
        k_rows, v_rows = k + column * k_strides[0], v + column * v_strides[0]
        other = load_rows(k_rows, k_strides[2], inside, width, 0, WIDTH)
        value = load_rows(v_rows, v_strides[2], inside, value_width, 0, VALUE_WIDTH)
        scores = products(
            tile, q_rows, q_strides[2], row_inside, other, k_rows, k_strides[2], inside, width,
            ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
        slope = products(
            grad_tile, grad_rows, grad_strides[2], row_inside, value, v_rows, v_strides[2], inside, value_width,
            ACCUMULATE, PRECISION, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
        allowed = in_window(row[:, None], column[None, :], shift, left, right, inside[None, :], LEFT, RIGHT)
        weights = tl.exp2(tl.where(allowed, scores * factor, float("-inf")) - sums[:, None])
        slope = weights * (slope - own_delta[:, None])
        total = tl.dot(slope.to(other.dtype), other, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    out_rows = out + first * out_strides[0] + head * out_strides[1] + row * out_strides[0]
    write_rows(out_rows, out_strides[2], row_inside, width, total * scale.to(ACCUMULATE), WIDTH)


@kernel(
    space=VARLEN_KEY_SPACE,
    default=varlen_key_default,
    key=VARLEN_FACTS,
    do_not_specialize=("tokens", "key_tokens", "longest"),
)
def varlen_key_gradient_kernel(
    grad,  # of the result: (tokens, heads, value width) by its strides
    q,  # queries: (tokens, heads, width) by its strides
    k,  # keys: (tokens, heads / group, width) by its strides
    v,  # values: (tokens, heads / group, value width) by its strides
    starts_q,  # where sequences of queries begin, and the last one ends: (sequences + 1,)
    starts_k,  # likewise of keys: (sequences + 1,)
    log_sum,  # logarithms of the sums of exponentials: (heads, tokens)
    delta,  # what the kernel by the queries left: (heads, tokens)
    k_out,  # the gradient by the keys: (tokens, heads / group, width) by its strides
    v_out,  # the gradient by the values: (tokens, heads / group, value width) by its strides
    heads,
    group,
    tokens,
    key_tokens,
    longest,  # sequence of keys
    width,
    value_width,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    k_out_strides,
    v_out_strides,
    left,
    right,
    scale: tl.float64,
    LEFT: tl.constexpr,
    RIGHT: tl.constexpr,
    WIDE: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(longest, COLUMNS)
    place, tile_number = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    shared = heads // group  # heads of keys
    sequence, key_head = place // shared, (place % shared).to(tl.int64)
    first_key, keys = span_of(starts_k, sequence, key_tokens)
    if tile_number * COLUMNS >= keys:
        return
    first, length = span_of(starts_q, sequence, tokens)
    shift = keys - length
    column = tile_number * COLUMNS + tl.arange(0, COLUMNS)
    if WIDE:
        column = column.to(tl.int64)
    inside = column < keys
    k_rows = k + first_key * k_strides[0] + key_head * k_strides[1] + column * k_strides[0]
    v_rows = v + first_key * v_strides[0] + key_head * v_strides[1] + column * v_strides[0]
    tile = load_rows(k_rows, k_strides[2], inside, width, 0, WIDTH if DEPTH >= WIDTH else DEPTH)
    value_tile = load_rows(
        v_rows, v_strides[2], inside, value_width, 0, VALUE_WIDTH if DEPTH >= VALUE_WIDTH else DEPTH
    )  # fmt: skip
    factor = (scale * 1.4426950408889634).to(ACCUMULATE)  # to base 2
    k_total = tl.zeros([COLUMNS, WIDTH], ACCUMULATE)
    v_total = tl.zeros([COLUMNS, VALUE_WIDTH], ACCUMULATE)
    begin, last = 0, length
    if RIGHT:
        begin = tl.maximum(tile_number * COLUMNS - shift - right, 0) // ROWS * ROWS
    if LEFT:
        last = tl.minimum(length, tl.minimum(tile_number * COLUMNS + COLUMNS, keys) - shift + left)
    for member in range(group):
        head = key_head * group + member
        for start in range(begin, last, ROWS):
            row = start + tl.arange(0, ROWS)
            if WIDE:
                row = row.to(tl.int64)
            row_inside = row < length
            line = head * tokens + first + row
            q_rows = q + first * q_strides[0] + head * q_strides[1] + row * q_strides[0]
            grad_rows = grad + first * grad_strides[0] + head * grad_strides[1] + row * grad_strides[0]
            query = load_rows(q_rows, q_strides[2], row_inside, width, 0, WIDTH)
            grads = load_rows(grad_rows, grad_strides[2], row_inside, value_width, 0, VALUE_WIDTH)
            scores = products(
                tile, k_rows, k_strides[2], inside, query, q_rows, q_strides[2], row_inside, width,
                ACCUMULATE, PRECISION, WIDTH, DEPTH, COLUMNS, ROWS,
            )  # fmt: skip
            slope = products(
                value_tile, v_rows, v_strides[2], inside, grads, grad_rows, grad_strides[2], row_inside, value_width,
                ACCUMULATE, PRECISION, VALUE_WIDTH, DEPTH, COLUMNS, ROWS,
            )  # fmt: skip
            allowed = in_window(row[None, :], column[:, None], shift, left, right, row_inside[None, :], LEFT, RIGHT)
            sums = tl.load(log_sum + line, mask=row_inside, other=0) * 1.4426950408889634
            weights = tl.exp2(tl.where(allowed, scores * factor, float("-inf")) - sums[None, :])
            v_total = tl.dot(weights.to(grads.dtype), grads, v_total, input_precision=PRECISION, out_dtype=ACCUMULATE)
            slope = weights * (slope - tl.load(delta + line, mask=row_inside, other=0)[None, :])
            k_total = tl.dot(slope.to(query.dtype), query, k_total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    k_out += first_key * k_out_strides[0] + key_head * k_out_strides[1]
    v_out += first_key * v_out_strides[0] + key_head * v_out_strides[1]
    write_rows(
        k_out + column * k_out_strides[0], k_out_strides[2], inside, width, k_total * scale.to(ACCUMULATE), WIDTH
    )  # fmt: skip
    write_rows(v_out + column * v_out_strides[0], v_out_strides[2], inside, value_width, v_total, VALUE_WIDTH)
