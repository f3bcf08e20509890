"""The forward kernel of attention over packed sequences, and what it shares with those of the gradient.

Where sequences begin is read by the programs, so that nothing waits for the host: there is a program for each tile of
queries that the longest sequence has, in each sequence and head, and those past the end of theirs do nothing. A window
is said from the last query, which meets the last key: query i of n attends key j of m where
-left <= j - (i + m - n) <= right.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.kernels import load_rows, products_of_rows
from tritorch.ops.attention.varlen_tiles import VARLEN_FACTS, VARLEN_SPACE, varlen_default
from tritorch.runtime import tl


@kernel
def span_of(starts, sequence, total):
    """Where a sequence begins and how many tokens it has, inside the `total` that are there whatever `starts` says."""
    first = tl.minimum(tl.maximum(tl.load(starts + sequence).to(tl.int64), 0), total)
    stop = tl.minimum(tl.maximum(tl.load(starts + sequence + 1).to(tl.int64), first), total)
    return first, (stop - first).to(tl.int32)


@kernel
def places_of(column, inside, pages, page_count, page, strides):
    """The offsets of keys: one after another, or `page` of them at each place that a table of `pages` names."""
    if pages is None:
        result = column * strides[1]
    else:
        number = tl.load(pages + column // page, mask=inside, other=0).to(tl.int64)
        number = tl.minimum(tl.maximum(number, 0), page_count - 1)
        result = number * strides[0] + column % page * strides[1]
    return result


@kernel
def in_window(row, column, shift, left, right, inside, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    """Whether queries `row` may attend keys `column`, both of shapes that broadcast."""
    allowed = inside
    if LEFT:
        allowed = allowed & (column >= row + shift - left)
    if RIGHT:
        allowed = allowed & (column <= row + shift + right)
    return allowed


@kernel
def attend_window(
    highest, sums, total, tile, q, q_step, row, row_inside, k, v, pages, page_count, page, start, keys, width,
    value_width, k_strides, v_strides, shift, left, right, factor,
    EDGE: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, WIDE: tl.constexpr, ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr, WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, DEPTH: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """One tile of keys: the maximum, sum of powers of two and weighted sum of values of each row, with it in."""
    column = start + tl.arange(0, COLUMNS)
    if WIDE:
        column = column.to(tl.int64)
    inside = column < keys
    k_rows = k + places_of(column, inside, pages, page_count, page, k_strides)
    if DEPTH >= WIDTH:
        other = load_rows(k_rows, k_strides[3], inside, width, 0, WIDTH)
        zero = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
        scores = tl.dot(tile, tl.trans(other), zero, input_precision=PRECISION, out_dtype=ACCUMULATE) * factor
    else:
        scores = factor * products_of_rows(
            q, q_step, row_inside, k_rows, k_strides[3], inside, width,
            ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    if EDGE:
        allowed = in_window(row[:, None], column[None, :], shift, left, right, inside[None, :], LEFT, RIGHT)
        scores = tl.where(allowed, scores, float("-inf"))
    higher = tl.maximum(highest, tl.max(scores, 1))
    base = tl.where(higher == float("-inf"), 0.0, higher).to(ACCUMULATE)
    weights, shrink = tl.exp2(scores - base[:, None]), tl.exp2(highest - base)
    sums = sums * shrink + tl.sum(weights, 1)
    v_rows = v + places_of(column, inside, pages, page_count, page, v_strides)
    value = load_rows(v_rows, v_strides[3], inside, value_width, 0, VALUE_WIDTH)
    total = total * shrink[:, None]
    total = tl.dot(weights.to(value.dtype), value, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    return higher, sums, total


@kernel(
    space=VARLEN_SPACE,
    default=varlen_default,
    key=VARLEN_FACTS,
    do_not_specialize=("tokens", "key_tokens", "longest", "page_count", "table_step"),
)
def varlen_kernel(
    q,  # queries: (tokens, heads, width) by its strides
    k,  # keys: (pages, tokens of a page, heads / group, width) by its strides; without `table` one page
    v,  # values: (pages, tokens of a page, heads / group, value width) by its strides
    starts_q,  # where sequences of queries begin, and the last one ends: (sequences + 1,)
    starts_k,  # None, or likewise of keys: (sequences + 1,)
    used,  # None, or how many keys of each sequence are there: (sequences,)
    table,  # None, or the pages of each sequence: (sequences, most pages)
    out,  # the result: (tokens, heads, value width) by its strides
    log_sum,  # of the exponentials of a row's scores, inf where there are none: (heads, tokens)
    heads,
    group,
    tokens,
    key_tokens,  # of all keys, or that the pages of a sequence can hold
    longest,  # sequence of queries
    page_count,
    page,  # tokens of a page
    table_step,  # from a sequence's pages to those of the next
    width,
    value_width,
    q_strides,
    k_strides,
    v_strides,
    out_strides,
    left,
    right,
    scale: tl.float64,
    LEFT: tl.constexpr,  # keys too far before a query are out of its window
    RIGHT: tl.constexpr,  # so are those too far behind
    WIDE: tl.constexpr,  # 64-bit offsets within a sequence
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,  # elements of a row multiplied at a time
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(longest, ROWS)
    place = tl.program_id(0) // tiles
    tile_number = tiles - 1 - tl.program_id(0) % tiles  # where later keys are out, the last have most to do
    sequence, head = place // heads, (place % heads).to(tl.int64)
    first, length = span_of(starts_q, sequence, tokens)
    if tile_number * ROWS >= length:
        return
    q += first * q_strides[0] + head * q_strides[1]
    out += first * out_strides[0] + head * out_strides[1]
    k += head // group * k_strides[2]
    v += head // group * v_strides[2]
    pages = None
    if starts_k is None:
        keys = key_tokens
    else:
        first_key, keys = span_of(starts_k, sequence, key_tokens)
        k += first_key * k_strides[1]
        v += first_key * v_strides[1]
    if table is not None:
        pages = table + sequence.to(tl.int64) * table_step
    if used is not None:
        keys = tl.minimum(tl.maximum(tl.load(used + sequence).to(tl.int32), 0), keys)
    shift = keys - length
    row = tile_number * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    row_inside = row < length
    q_rows = q + row * q_strides[0]
    tile = load_rows(q_rows, q_strides[2], row_inside, width, 0, WIDTH if DEPTH >= WIDTH else DEPTH)
    highest = tl.full([ROWS], float("-inf"), ACCUMULATE)
    sums = tl.zeros([ROWS], ACCUMULATE)
    total = tl.zeros([ROWS, VALUE_WIDTH], ACCUMULATE)
    factor = (scale * 1.4426950408889634).to(ACCUMULATE)  # to base 2
    top, bottom = tile_number * ROWS + shift, tl.minimum(tile_number * ROWS + ROWS, length) - 1 + shift
    begin, last, whole = 0, keys, keys // COLUMNS * COLUMNS
    if RIGHT:
        last = tl.maximum(tl.minimum(keys, bottom + right + 1), 0)
        whole = tl.maximum(tl.minimum(whole, (top + right + 1) // COLUMNS * COLUMNS), 0)
    if LEFT:
        begin = tl.maximum(top - left, 0) // COLUMNS * COLUMNS
        inner = tl.maximum(tl.minimum(tl.cdiv(tl.maximum(bottom - left, 0), COLUMNS) * COLUMNS, last), begin)
        for start in range(begin, inner, COLUMNS):
            highest, sums, total = attend_window(
                highest, sums, total, tile, q_rows, q_strides[2], row, row_inside, k, v, pages, page_count, page,
                start, keys, width, value_width, k_strides, v_strides, shift, left, right, factor,
                True, LEFT, RIGHT, WIDE, ACCUMULATE, PRECISION, WIDTH, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
            )  # fmt: skip
        begin = inner
        whole = tl.maximum(whole, begin)
    for start in range(begin, whole, COLUMNS):
        highest, sums, total = attend_window(
            highest, sums, total, tile, q_rows, q_strides[2], row, row_inside, k, v, pages, page_count, page,
            start, keys, width, value_width, k_strides, v_strides, shift, left, right, factor,
            False, LEFT, RIGHT, WIDE, ACCUMULATE, PRECISION, WIDTH, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    for start in range(whole, last, COLUMNS):
        highest, sums, total = attend_window(
            highest, sums, total, tile, q_rows, q_strides[2], row, row_inside, k, v, pages, page_count, page,
            start, keys, width, value_width, k_strides, v_strides, shift, left, right, factor,
            True, LEFT, RIGHT, WIDE, ACCUMULATE, PRECISION, WIDTH, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    none = sums == 0
    result = total / tl.where(none, 1.0, sums).to(ACCUMULATE)[:, None]
    logarithm = tl.where(none, float("inf"), (highest + tl.log2(sums)) * 0.6931471805599453)
    tl.store(log_sum + head * tokens + first + row, logarithm.to(ACCUMULATE), mask=row_inside)
    column = tl.arange(0, VALUE_WIDTH)
    tl.store(
        out + row[:, None] * out_strides[0] + column[None, :] * out_strides[2], result.to(out.dtype.element_ty),
        mask=row_inside[:, None] & (column < value_width)[None, :],
    )  # fmt: skip
