"""Attention on the CPU: tiles of queries that fit the cache, each a few matrix products of all heads at once.

Where no score can be large (by the norms of queries and keys) no maximum is subtracted. What is subtracted from a row
in the backward pass is one more column of the product. Under a causal mask a tile only meets the keys it may attend.
"""

from __future__ import annotations

import functools

import numpy as np

from tritorch.ops.random.dropout import threshold_and_scale
from tritorch.ops.random.philox import words

_TILE = 1 << 18  # scores made at a time
_FEWEST_ROWS = 32
_SAFE = 60.0  # exp() of a number this large, and many of them added, are well inside float32


def kept_weights(shape, dropout_p, seed, offset, dtype):
    """0 where dropout takes a weight, else its scale: each row starts at a Philox block of its own."""
    threshold, scale = threshold_and_scale(dropout_p)
    *outer, keys = shape
    padded = -(-keys // 4) * 4
    count = int(np.prod(outer)) * padded
    kept = words(seed, offset, count).reshape(*outer, padded)[..., :keys] >= threshold
    return kept * dtype.type(scale)


@functools.lru_cache(maxsize=16)
def _above_diagonal(rows, columns, first, dtype):
    """-inf where a query of a tile, the first of which has number `first` in it, may not attend: (rows, columns)."""
    later = np.arange(columns) > first + np.arange(rows)[:, None]
    return np.where(later, -np.inf, 0).astype(dtype)


def _tiles(length, keys, heads, is_causal):
    """(rows, how many keys they may attend) for tiles of rows."""
    most = max(_FEWEST_ROWS, _TILE // max(1, heads * keys))
    if is_causal:
        most = min(most, max(_FEWEST_ROWS, length // 4))
    for start in range(0, length, most):
        stop = min(start + most, length)
        yield slice(start, stop), min(keys, stop) if is_causal else keys


def _hide_later(scores, rows, seen):
    """-inf to what lies above the diagonal of a tile, which is in its last columns."""
    first = min(rows.start, seen)
    if first < seen:
        count = rows.stop - rows.start
        scores[..., first:] += _above_diagonal(count, seen - first, rows.start - first, scores.dtype)


def _apply_mask(scores, mask):
    if mask.dtype == np.bool_:
        np.copyto(scores, scores.dtype.type(-np.inf), where=~mask)
    else:
        scores += mask


def _bound(query, key):
    """No score of a query and a key is larger than this: the product of their largest norms."""
    longest = [np.einsum("...i,...i->...", a, a).max(initial=0) for a in (query, key)]
    return float(longest[0] * longest[1]) ** 0.5


def _grouped(array, group):
    """Queries of heads that share a key, one after another: (batch, heads, l, e) to (batch, heads / group, ..., e)."""
    if group == 1:
        return array
    batch, heads, rows, width = array.shape
    return array.reshape(batch, heads // group, group * rows, width)


def _by_head(array, group):
    if group == 1:
        return array
    batch, shared, rows, width = array.shape
    return array.reshape(batch, shared * group, rows // group, width)


def _with_column(array, column):
    """An array with one more element at the end of each row."""
    result = np.empty((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
    result[..., :-1] = array
    result[..., -1] = column
    return result


def _softmax_in_place(scores, shifted):
    """Scores to exponentials; gives the sums of the rows and what was subtracted from them."""
    base = 0.0
    if shifted:
        base = scores.max(-1, keepdims=True, initial=-np.inf)
        base[base == -np.inf] = 0
        scores -= base
        base = base[..., 0]
    np.exp(scores, out=scores)
    return np.add.reduce(scores, -1), base


def forward(query, key, value, mask, dropout_p, is_causal, scale, seed, offset):
    """The weighted values of each query, and the logarithm of the sum of its exponentials."""
    batch, heads, length, _ = query.shape
    keys, group = key.shape[2], heads // max(key.shape[1], 1)
    kind = query.dtype
    out = np.empty((*query.shape[:3], value.shape[3]), kind)
    log_sum = np.empty(query.shape[:3], kind)
    scaled = query * kind.type(scale)
    shifted = (mask is not None and mask.dtype != np.bool_) or not _bound(scaled, key) <= _SAFE
    kept = kept_weights((*query.shape[:3], keys), dropout_p, seed, offset, kind) if dropout_p else None
    turned = key.swapaxes(-1, -2)
    for rows, seen in _tiles(length, keys, batch * heads, is_causal):
        scores = _by_head(np.matmul(_grouped(scaled[:, :, rows], group), turned[..., :seen]), group)
        if is_causal:
            _hide_later(scores, rows, seen)
        if mask is not None:
            _apply_mask(scores, mask[:, :, rows, :seen])
        sums, base = _softmax_in_place(scores, shifted)
        none = sums == 0
        if none.any():
            sums[none] = 1
        if kept is not None:
            scores *= kept[:, :, rows, :seen]
        result = _by_head(np.matmul(_grouped(scores, group), value[:, :, :seen]), group)
        np.divide(result, sums[..., None], out=out[:, :, rows])
        log_sum[:, :, rows] = np.where(none, 0, np.log(sums) + base)
    return out, log_sum


def backward(
    grad, grad_log_sum, query, key, value, mask, output, log_sum, dropout_p, is_causal, scale, seed, offset
):  # fmt: skip
    """The gradients by queries, keys and values."""
    batch, heads, length, _ = query.shape
    keys, group = key.shape[2], heads // max(key.shape[1], 1)
    kind = query.dtype
    delta = np.einsum("...i,...i->...", grad, output)
    if grad_log_sum is not None:
        delta -= grad_log_sum
    scaled = query * kind.type(scale)
    left, right = _with_column(scaled, -log_sum), _with_column(key, 1).swapaxes(-1, -2)
    grads, turned = _with_column(grad, -delta), _with_column(value, 1).swapaxes(-1, -2)
    kept = kept_weights((*query.shape[:3], keys), dropout_p, seed, offset, kind) if dropout_p else None
    by_query, by_key, by_value = np.empty_like(scaled), np.zeros(key.shape, kind), np.zeros(value.shape, kind)
    for rows, seen in _tiles(length, keys, batch * heads, is_causal):
        weights = _by_head(np.matmul(_grouped(left[:, :, rows], group), right[..., :seen]), group)
        if is_causal:
            _hide_later(weights, rows, seen)
        if mask is not None:
            _apply_mask(weights, mask[:, :, rows, :seen])
        np.exp(weights, out=weights)
        own = _grouped(np.ascontiguousarray(grads[:, :, rows, :-1]), group)
        if kept is None:
            slope = _by_head(np.matmul(_grouped(grads[:, :, rows], group), turned[..., :seen]), group)
            by_value[:, :, :seen] += np.matmul(_grouped(weights, group).swapaxes(-1, -2), own)
        else:
            factor = kept[:, :, rows, :seen]
            slope = _by_head(np.matmul(own, turned[..., :-1, :seen]), group) * factor - delta[:, :, rows, None]
            by_value[:, :, :seen] += np.matmul(_grouped(weights * factor, group).swapaxes(-1, -2), own)
        slope *= weights
        slope = _grouped(slope, group)
        by_key[:, :, :seen] += np.matmul(slope.swapaxes(-1, -2), _grouped(scaled[:, :, rows], group))
        by_query[:, :, rows] = _by_head(np.matmul(slope, key[:, :, :seen]), group)
    by_query *= kind.type(scale)
    return by_query, by_key, by_value
