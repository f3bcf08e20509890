"""The gradient kernels of attention: one by the queries, one by the keys and values; each sums in a fixed order.

Both compute a tile of weights again from the saved logarithms of the rows' sums. The gradient of a score is its weight
times (the gradient of the weight less the row's `delta`), where delta is grad . output (Dao et al. 2022).
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.attention.kernels import kept_factor, load_rows, masked, products_of_rows
from tritorch.ops.attention.tiles import ATTENTION_FACTS, KEY_SPACE, QUERY_SPACE, key_default, query_default
from tritorch.runtime import tl


@kernel
def store_rows(out, strides, row, inside, width, value, WIDTH: tl.constexpr):
    """Write rows of WIDTH elements, of which `width` exist, narrowed to the dtype of `out`."""
    column = tl.arange(0, WIDTH)
    at = row[:, None] * strides[2] + column[None, :] * strides[3]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside[:, None] & (column < width)[None, :])


@kernel
def row_products(
    x, x_step, y, y_step, inside, width,
    ACCUMULATE: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The inner product of each row of x with the same row of y."""
    total = tl.zeros([ROWS], ACCUMULATE)
    for first in range(0, WIDTH, DEPTH):
        left = load_rows(x, x_step, inside, width, first, DEPTH).to(ACCUMULATE)
        total += tl.sum(left * load_rows(y, y_step, inside, width, first, DEPTH).to(ACCUMULATE), 1)
    return total


@kernel(
    space=QUERY_SPACE, default=query_default, key=ATTENTION_FACTS, do_not_specialize=("seed", "offset", "threshold")
)  # fmt: skip
def query_gradient_kernel(
    grad,  # of the result: (batch, heads, length, value width) by its strides
    grad_log_sum,  # None, or of the logarithms of the sums, contiguous: (batch, heads, length)
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    mask,  # None, or what may be attended or is added: (batch, heads, length, keys) by its strides
    output,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # logarithms of the sums of exponentials: (batch, heads, length)
    delta,  # grad . output of each row, less grad_log_sum, for the other kernel: (batch, heads, length)
    out,  # the gradient by the queries: (batch, heads, length, width) by its strides
    heads,
    group,
    length,
    keys,
    width,
    value_width,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    mask_strides,
    output_strides,
    out_strides,
    scale: tl.float64,
    seed: tl.uint64,
    offset: tl.uint64,
    threshold: tl.uint64,
    kept_scale: tl.float64,
    CAUSAL: tl.constexpr,
    BOOLEAN: tl.constexpr,
    DROPOUT: tl.constexpr,
    WIDE: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(length, ROWS)
    place = tl.program_id(0) // tiles
    tile_number = tiles - 1 - tl.program_id(0) % tiles
    batch, head = (place // heads).to(tl.int64), (place % heads).to(tl.int64)
    grad += batch * grad_strides[0] + head * grad_strides[1]
    q += batch * q_strides[0] + head * q_strides[1]
    k += batch * k_strides[0] + (head // group) * k_strides[1]
    v += batch * v_strides[0] + (head // group) * v_strides[1]
    output += batch * output_strides[0] + head * output_strides[1]
    out += batch * out_strides[0] + head * out_strides[1]
    if mask is not None:
        mask += batch * mask_strides[0] + head * mask_strides[1]
    row = tile_number * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    row_inside = row < length
    line = place.to(tl.int64) * length + row
    q_rows, grad_rows = q + row * q_strides[2], grad + row * grad_strides[2]
    own_delta = row_products(
        grad_rows, grad_strides[3], output + row * output_strides[2], output_strides[3], row_inside, value_width,
        ACCUMULATE, VALUE_WIDTH, VALUE_WIDTH if DEPTH >= VALUE_WIDTH else DEPTH, ROWS,
    )  # fmt: skip
    if grad_log_sum is not None:
        own_delta -= tl.load(grad_log_sum + line, mask=row_inside, other=0).to(ACCUMULATE)
    tl.store(delta + line, own_delta, mask=row_inside)
    sums = tl.load(log_sum + line, mask=row_inside, other=0)
    if DEPTH >= WIDTH:
        tile = load_rows(q_rows, q_strides[3], row_inside, width, 0, WIDTH)
    if DEPTH >= VALUE_WIDTH:
        grad_tile = load_rows(grad_rows, grad_strides[3], row_inside, value_width, 0, VALUE_WIDTH)
    total = tl.zeros([ROWS, WIDTH], ACCUMULATE)
    last = keys
    if CAUSAL:
        last = tl.minimum(keys, (tile_number + 1) * ROWS)
    for start in range(0, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        column_inside = column < keys
        k_rows, v_rows = k + column * k_strides[2], v + column * v_strides[2]
        zero = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
        other = load_rows(k_rows, k_strides[3], column_inside, width, 0, WIDTH)
        if DEPTH >= WIDTH:
            scores = tl.dot(tile, tl.trans(other), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
        else:
            scores = products_of_rows(
                q_rows, q_strides[3], row_inside, k_rows, k_strides[3], column_inside, width,
                ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS,
            )  # fmt: skip
        if DEPTH >= VALUE_WIDTH:
            value = load_rows(v_rows, v_strides[3], column_inside, value_width, 0, VALUE_WIDTH)
            slope = tl.dot(grad_tile, tl.trans(value), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
        else:
            slope = products_of_rows(
                grad_rows, grad_strides[3], row_inside, v_rows, v_strides[3], column_inside, value_width,
                ACCUMULATE, PRECISION, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
            )  # fmt: skip
        allowed = column_inside[None, :]
        if CAUSAL:
            allowed = allowed & (row[:, None] >= column[None, :])
        at = row[:, None] * mask_strides[2] + column[None, :] * mask_strides[3]
        scores = masked(
            scores * scale.to(ACCUMULATE), mask, at, row_inside[:, None], column_inside[None, :], allowed,
            BOOLEAN, True, ACCUMULATE,
        )  # fmt: skip
        weights = tl.exp(scores - sums[:, None])
        if DROPOUT:
            slope *= kept_factor(line, start, keys, seed, offset, threshold, kept_scale, ACCUMULATE, COLUMNS)
        slope = weights * (slope - own_delta[:, None])
        total = tl.dot(slope.to(other.dtype), other, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    store_rows(out, out_strides, row, row_inside, width, total * scale.to(ACCUMULATE), WIDTH)


@kernel(
    space=KEY_SPACE, default=key_default, key=ATTENTION_FACTS, do_not_specialize=("seed", "offset", "threshold")
)  # fmt: skip
def key_gradient_kernel(
    grad,  # of the result: (batch, heads, length, value width) by its strides
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    mask,  # None, or what may be attended or is added: (batch, heads, length, keys) by its strides
    log_sum,  # logarithms of the sums of exponentials: (batch, heads, length)
    delta,  # what the kernel by the queries left: (batch, heads, length)
    k_out,  # the gradient by the keys: (batch, heads / group, keys, width) by its strides
    v_out,  # the gradient by the values: (batch, heads / group, keys, value width) by its strides
    heads,
    group,
    length,
    keys,
    width,
    value_width,
    grad_strides,
    q_strides,
    k_strides,
    v_strides,
    mask_strides,
    k_out_strides,
    v_out_strides,
    scale: tl.float64,
    seed: tl.uint64,
    offset: tl.uint64,
    threshold: tl.uint64,
    kept_scale: tl.float64,
    CAUSAL: tl.constexpr,
    BOOLEAN: tl.constexpr,
    DROPOUT: tl.constexpr,
    WIDE: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(keys, COLUMNS)
    place = tl.program_id(0) // tiles
    tile_number = tl.program_id(0) % tiles
    shared = heads // group  # heads of keys
    batch, key_head = (place // shared).to(tl.int64), (place % shared).to(tl.int64)
    k += batch * k_strides[0] + key_head * k_strides[1]
    v += batch * v_strides[0] + key_head * v_strides[1]
    k_out += batch * k_out_strides[0] + key_head * k_out_strides[1]
    v_out += batch * v_out_strides[0] + key_head * v_out_strides[1]
    column = tile_number * COLUMNS + tl.arange(0, COLUMNS)
    if WIDE:
        column = column.to(tl.int64)
    column_inside = column < keys
    k_rows, v_rows = k + column * k_strides[2], v + column * v_strides[2]
    if DEPTH >= WIDTH:
        tile = load_rows(k_rows, k_strides[3], column_inside, width, 0, WIDTH)
    if DEPTH >= VALUE_WIDTH:
        value_tile = load_rows(v_rows, v_strides[3], column_inside, value_width, 0, VALUE_WIDTH)
    k_total = tl.zeros([COLUMNS, WIDTH], ACCUMULATE)
    v_total = tl.zeros([COLUMNS, VALUE_WIDTH], ACCUMULATE)
    first = 0
    if CAUSAL:
        first = tile_number * COLUMNS // ROWS * ROWS
    for member in range(group):
        head = key_head * group + member
        q_head = q + batch * q_strides[0] + head * q_strides[1]
        grad_head = grad + batch * grad_strides[0] + head * grad_strides[1]
        for start in range(first, length, ROWS):
            row = start + tl.arange(0, ROWS)
            if WIDE:
                row = row.to(tl.int64)
            row_inside = row < length
            line = (batch * heads + head) * length + row
            q_rows, grad_rows = q_head + row * q_strides[2], grad_head + row * grad_strides[2]
            zero = tl.zeros([COLUMNS, ROWS], ACCUMULATE)
            query = load_rows(q_rows, q_strides[3], row_inside, width, 0, WIDTH)
            grads = load_rows(grad_rows, grad_strides[3], row_inside, value_width, 0, VALUE_WIDTH)
            if DEPTH >= WIDTH:
                scores = tl.dot(tile, tl.trans(query), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
            else:
                scores = products_of_rows(
                    k_rows, k_strides[3], column_inside, q_rows, q_strides[3], row_inside, width,
                    ACCUMULATE, PRECISION, WIDTH, DEPTH, COLUMNS, ROWS,
                )  # fmt: skip
            if DEPTH >= VALUE_WIDTH:
                slope = tl.dot(value_tile, tl.trans(grads), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
            else:
                slope = products_of_rows(
                    v_rows, v_strides[3], column_inside, grad_rows, grad_strides[3], row_inside, value_width,
                    ACCUMULATE, PRECISION, VALUE_WIDTH, DEPTH, COLUMNS, ROWS,
                )  # fmt: skip
            allowed = row_inside[None, :]
            if CAUSAL:
                allowed = allowed & (row[None, :] >= column[:, None])
            at = row[None, :] * mask_strides[2] + column[:, None] * mask_strides[3]
            if mask is not None:
                at += batch * mask_strides[0] + head * mask_strides[1]
            scores = masked(
                scores * scale.to(ACCUMULATE), mask, at, row_inside[None, :], column_inside[:, None], allowed,
                BOOLEAN, True, ACCUMULATE,
            )  # fmt: skip
            weights = tl.exp(scores - tl.load(log_sum + line, mask=row_inside, other=0)[None, :])
            dropped = weights
            if DROPOUT:
                kept = tl.trans(
                    kept_factor(
                        line, tile_number * COLUMNS, keys, seed, offset, threshold, kept_scale, ACCUMULATE, COLUMNS
                    )
                )
                dropped, slope = weights * kept, slope * kept
            v_total = tl.dot(dropped.to(grads.dtype), grads, v_total, input_precision=PRECISION, out_dtype=ACCUMULATE)
            slope = weights * (slope - tl.load(delta + line, mask=row_inside, other=0)[None, :])
            k_total = tl.dot(slope.to(query.dtype), query, k_total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    store_rows(k_out, k_out_strides, column, column_inside, width, k_total * scale.to(ACCUMULATE), WIDTH)
    store_rows(v_out, v_out_strides, column, column_inside, value_width, v_total, VALUE_WIDTH)
