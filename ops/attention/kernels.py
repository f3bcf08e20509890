"""The forward kernel of attention, and what it shares with those of the gradient.

A program keeps a tile of queries and goes over the keys once: an online softmax (Milakov and Gimelshein 2018) scales
what was summed so far to each new maximum, so no row of weights is ever stored (Dao et al., "FlashAttention", 2022).
Heads of keys and values are shared by `group` heads of queries, by arithmetic on the head's number.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.attention.tiles import ATTENTION_FACTS, FORWARD_SPACE, forward_default
from tritorch.ops.matrix.kernel import dot_settings
from tritorch.ops.random.philox import philox
from tritorch.runtime import tl


@kernel
def load_rows(rows, step, inside, width, FIRST, DEPTH: tl.constexpr):
    """DEPTH elements from FIRST on of each row, zero outside."""
    column = FIRST + tl.arange(0, DEPTH)
    return tl.load(rows[:, None] + column[None, :] * step, mask=inside[:, None] & (column < width)[None, :], other=0)


@kernel
def products_of_rows(
    x, x_step, x_inside, y, y_step, y_inside, width,
    ACCUMULATE: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The product of each row of x with each of y, DEPTH elements at a time, for tiles that do not fit as a whole."""
    total = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
    for first in range(0, WIDTH, DEPTH):
        left = load_rows(x, x_step, x_inside, width, first, DEPTH)
        right = load_rows(y, y_step, y_inside, width, first, DEPTH)
        total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    return total


@kernel
def masked(
    scores, mask, at, row_inside, column_inside, allowed,
    BOOLEAN: tl.constexpr, EDGE: tl.constexpr, ACCUMULATE: tl.constexpr,
):  # fmt: skip
    """The scores with the mask of their places applied, and -inf where a tile passes an edge or the diagonal."""
    if mask is not None:
        value = tl.load(mask + at, mask=row_inside & column_inside, other=0)
        if BOOLEAN:
            if tl.float64 == ACCUMULATE:  # Triton 3.6 builds no product of doubles that depend on bytes: hide them
                value = tl.max(value.to(tl.int32)[:, :, None], 2)
            scores = tl.where(value != 0, scores, float("-inf"))
        else:
            scores += value.to(ACCUMULATE)
    if EDGE:
        scores = tl.where(allowed, scores, float("-inf"))
    return scores


@kernel
def kept_factor(
    row, first, keys, seed, offset, threshold, scale,
    ACCUMULATE: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """0 where dropout takes a weight, else its scale; each row of weights starts at a Philox block of its own.

    `row` counts the rows of all heads, and `first`, a multiple of 4, is the tile's first column.
    """
    block = first // 4 + tl.arange(0, COLUMNS // 4)
    a, b, c, d = philox(seed, (row.to(tl.int64)[:, None] * tl.cdiv(keys, 4) + block[None, :]).to(tl.uint64) + offset)
    word = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))
    return tl.where(word.to(tl.uint64) >= threshold, scale.to(ACCUMULATE), 0.0).to(ACCUMULATE)


@kernel
def attend(
    highest, sums, total, tile, q, k, v, mask, start, row, row_inside, line, length, keys, width, value_width,
    q_step, k_strides, v_strides, mask_strides, scale, seed, offset, threshold, kept_scale,
    EDGE: tl.constexpr, CAUSAL: tl.constexpr, BOOLEAN: tl.constexpr, DROPOUT: tl.constexpr, WIDE: tl.constexpr,
    ACCUMULATE: tl.constexpr, PRECISION: tl.constexpr, WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One tile of keys: the maximum, sum of exponentials and weighted sum of values of each row, with it in."""
    column = start + tl.arange(0, COLUMNS)
    if WIDE:
        column = column.to(tl.int64)
    column_inside = column < keys
    k_rows = k + column * k_strides[2]
    if DEPTH >= WIDTH:
        other = load_rows(k_rows, k_strides[3], column_inside, width, 0, WIDTH)
        zero = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
        scores = tl.dot(tile, tl.trans(other), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
    else:
        scores = products_of_rows(
            q, q_step, row_inside, k_rows, k_strides[3], column_inside, width,
            ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    allowed = column_inside[None, :]
    if CAUSAL:
        allowed = allowed & (row[:, None] >= column[None, :])
    at = row[:, None] * mask_strides[2] + column[None, :] * mask_strides[3]
    scores = masked(
        scores * scale.to(ACCUMULATE), mask, at, row_inside[:, None], column_inside[None, :], allowed,
        BOOLEAN, EDGE, ACCUMULATE,
    )  # fmt: skip
    higher = tl.maximum(highest, tl.max(scores, 1))
    base = tl.where(higher == float("-inf"), 0.0, higher).to(ACCUMULATE)
    weights = tl.exp(scores - base[:, None])
    shrink = tl.exp(highest - base)
    sums = sums * shrink + tl.sum(weights, 1)
    if DROPOUT:
        weights = weights * kept_factor(line, start, keys, seed, offset, threshold, kept_scale, ACCUMULATE, COLUMNS)
    value = load_rows(v + column * v_strides[2], v_strides[3], column_inside, value_width, 0, VALUE_WIDTH)
    total = total * shrink[:, None]
    total = tl.dot(weights.to(value.dtype), value, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    return higher, sums, total


@kernel(
    space=FORWARD_SPACE, default=forward_default, key=ATTENTION_FACTS,
    do_not_specialize=("seed", "offset", "threshold"),
)  # fmt: skip
def attention_kernel(
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    mask,  # None, or what may be attended or is added: (batch, heads, length, keys) by its strides
    out,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # of the exponentials of a row's scores, 0 where there are none: (batch, heads, length)
    heads,
    group,
    length,
    keys,
    width,
    value_width,
    q_strides,
    k_strides,
    v_strides,
    mask_strides,
    out_strides,
    scale: tl.float64,
    seed: tl.uint64,
    offset: tl.uint64,
    threshold: tl.uint64,  # a weight is kept if its word is not below this
    kept_scale: tl.float64,
    CAUSAL: tl.constexpr,
    BOOLEAN: tl.constexpr,  # the mask says what may be attended
    DROPOUT: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets within a head
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,  # elements of a row multiplied at a time
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(length, ROWS)
    place = tl.program_id(0) // tiles
    tile_number = tiles - 1 - tl.program_id(0) % tiles  # under a causal mask the last have most to do
    batch, head = (place // heads).to(tl.int64), (place % heads).to(tl.int64)
    q += batch * q_strides[0] + head * q_strides[1]
    k += batch * k_strides[0] + (head // group) * k_strides[1]
    v += batch * v_strides[0] + (head // group) * v_strides[1]
    if mask is not None:
        mask += batch * mask_strides[0] + head * mask_strides[1]
    row = tile_number * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    row_inside = row < length
    line = place.to(tl.int64) * length + row
    q_rows = q + row * q_strides[2]
    tile = load_rows(q_rows, q_strides[3], row_inside, width, 0, WIDTH if DEPTH >= WIDTH else DEPTH)
    highest = tl.full([ROWS], float("-inf"), ACCUMULATE)
    sums = tl.zeros([ROWS], ACCUMULATE)
    total = tl.zeros([ROWS, VALUE_WIDTH], ACCUMULATE)
    last, whole = keys, keys // COLUMNS * COLUMNS
    if CAUSAL:
        last = tl.minimum(keys, (tile_number + 1) * ROWS)
        whole = tl.minimum(whole, (tile_number * ROWS + 1) // COLUMNS * COLUMNS)
    for start in range(0, whole, COLUMNS):
        highest, sums, total = attend(
            highest, sums, total, tile, q_rows, k, v, mask, start, row, row_inside, line, length, keys, width,
            value_width, q_strides[3], k_strides, v_strides, mask_strides, scale, seed, offset, threshold, kept_scale,
            False, CAUSAL, BOOLEAN, DROPOUT, WIDE, ACCUMULATE, PRECISION, WIDTH, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    for start in range(whole, last, COLUMNS):
        highest, sums, total = attend(
            highest, sums, total, tile, q_rows, k, v, mask, start, row, row_inside, line, length, keys, width,
            value_width, q_strides[3], k_strides, v_strides, mask_strides, scale, seed, offset, threshold, kept_scale,
            True, CAUSAL, BOOLEAN, DROPOUT, WIDE, ACCUMULATE, PRECISION, WIDTH, VALUE_WIDTH, DEPTH, ROWS, COLUMNS,
        )  # fmt: skip
    none = sums == 0
    result = total / tl.where(none, 1.0, sums).to(ACCUMULATE)[:, None]
    tl.store(log_sum + line, tl.where(none, 0.0, highest + tl.log(sums)).to(ACCUMULATE), mask=row_inside)
    column = tl.arange(0, VALUE_WIDTH)
    out += batch * out_strides[0] + head * out_strides[1]
    tl.store(
        out + row[:, None] * out_strides[2] + column[None, :] * out_strides[3], result.to(out.dtype.element_ty),
        mask=row_inside[:, None] & (column < value_width)[None, :],
    )  # fmt: skip


def widths_of(query, value):
    """The powers of two that a query's and a value's elements are padded to."""
    return {
        "WIDTH": max(16, next_power_of_2(query.shape[-1])),
        "VALUE_WIDTH": max(16, next_power_of_2(value.shape[-1])),
    }


def settings_of(query, key, value, mask, dropout_p, is_causal, wide):
    """Constants of all kernels of attention; and the sizes and facts that decide their configs."""
    dots, sizes = dot_settings(query.dtype)
    widths = widths_of(query, value)
    constants = {
        "CAUSAL": is_causal, "BOOLEAN": mask is not None and mask.dtype == np.bool_, "DROPOUT": dropout_p > 0,
        "WIDE": wide, "ACCUMULATE": dots["ACCUMULATE"], "PRECISION": dots["PRECISION"], **widths,
    }  # fmt: skip
    arrays = (query, key, value)
    aligned = all(step == a.itemsize or step % (16 * a.itemsize) == 0 for a in arrays for step in a.strides[-2:])
    sizes = {
        "length": query.shape[2], "keys": key.shape[2], "width": widths["WIDTH"], "value_width": widths["VALUE_WIDTH"],
        "itemsize": query.itemsize, "tensor_cores": sizes["tensor_cores"], "aligned": aligned,
        "plain": mask is None and not dropout_p, "heads": query.shape[0] * query.shape[1],
        **{name: constants[name] for name in ("CAUSAL", "BOOLEAN", "DROPOUT", "WIDE", "PRECISION")},
    }  # fmt: skip
    return constants, sizes


def tiles_of(array, block):
    """How many programs cover the rows of all heads of (batch, heads, rows, ...)."""
    return cdiv(array.shape[2], block) * array.shape[0] * array.shape[1]
