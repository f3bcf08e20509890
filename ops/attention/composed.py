"""The gradient of attention by ops on whole matrices of weights: what is recorded, for gradients of gradients."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE


def composed_gradient(grad, grad_log_sum, inputs, output, log_sum):
    """The gradients by query, key, value and an additive mask, from ops on all weights."""
    query, key, value, attn_mask, dropout_p, is_causal, scale, seed, offset = inputs
    grad, query, key, value, output = (each.to(log_sum.dtype) for each in (grad, query, key, value, output))
    heads, shape = key.shape[1], (*query.shape[:3], key.shape[2])
    queries, grads = _by_key_head(query, heads), _by_key_head(grad, heads)
    scores = (queries @ key.transpose(-1, -2)).reshape(shape) * scale
    if attn_mask is not None:
        boolean = attn_mask.array.dtype == np.bool_
        scores = TABLE["where"].apply(attn_mask, scores, -np.inf) if boolean else scores + attn_mask
    if is_causal:
        row, column = (_counted(size, query.device) for size in scores.shape[-2:])
        scores = TABLE["where"].apply(row.unsqueeze(-1) >= column, scores, -np.inf)
    weights = (scores - log_sum.unsqueeze(-1)).exp()
    slope, dropped = (grads @ value.transpose(-1, -2)).reshape(shape), weights
    if dropout_p:
        padded = grad.detach().new_ones((*scores.shape[:3], -(-scores.shape[3] // 4) * 4))
        kept = TABLE["dropout"].apply(padded, dropout_p, seed, offset)[..., : scores.shape[3]]
        dropped, slope = weights * kept, slope * kept
    delta = (grad * output).sum(-1)
    if grad_log_sum is not None:
        delta = delta - grad_log_sum
    slope = weights * (slope - delta.unsqueeze(-1))
    slopes, dropped = _by_key_head(slope, heads), _by_key_head(dropped, heads)
    by_query = (slopes @ key).reshape(query.shape) * scale
    return by_query, slopes.transpose(-1, -2) @ queries * scale, dropped.transpose(-1, -2) @ grads, slope


def _counted(size, device):
    return TABLE["arange"].apply(0, 1, size, np.dtype(np.int64), device)


def _by_key_head(each, heads):
    """The rows of all heads that share a key, one after another."""
    batch, own, rows, width = each.shape
    return each if own == heads else each.reshape(batch, heads, own // heads * rows, width)


def composed_packed_gradient(grad, grad_log_sum, inputs, output, log_sum):
    """The gradients by query, key and value of packed sequences, one after another; reads where they start."""
    query, key, value, starts_q, starts_k, _, _, left, right, scale = inputs
    found: tuple = [], [], []
    starts_q, starts_k = starts_q.tolist(), starts_k.tolist()
    ends = ([0, *starts_q], [*starts_q, query.shape[0]]), ([0, *starts_k], [*starts_k, key.shape[0]])
    pairs = zip(*(zip(*each, strict=True) for each in ends), strict=True)
    for number, ((first, stop), (first_key, stop_key)) in enumerate(pairs):
        rows, columns = slice(first, stop), slice(first_key, stop_key)
        parts = query[rows], key[columns], value[columns]
        if number in (0, len(starts_q)) or stop == first:  # tokens in no sequence, or keys that none of it reads
            pieces = [each.detach().new_zeros(each.shape) for each in parts]
        else:
            mask = _window(stop - first, stop_key - first_key, left, right, query.device)
            by_log_sum = None if grad_log_sum is None else grad_log_sum[:, rows].unsqueeze(0)
            pieces = composed_gradient(
                _turned(grad[rows]), by_log_sum, (*map(_turned, parts), mask, 0.0, False, scale, 0, 0),
                _turned(output[rows]), log_sum[:, rows].unsqueeze(0),
            )[:3]  # fmt: skip
            pieces = [each.squeeze(0).transpose(0, 1) for each in pieces]
        for each, piece in zip(found, pieces, strict=True):
            each.append(piece.to(log_sum.dtype))
    return tuple(TABLE["cat"].call(each) for each in found)


def _turned(packed):
    """(tokens, heads, width) as (1, heads, tokens, width)."""
    return packed.transpose(0, 1).unsqueeze(0)


def _window(length, keys, left, right, device):
    """What each query may attend, (length, keys), or None for everything; the last query meets the last key."""
    if left < 0 and right < 0:
        return None
    row, column = (_counted(size, device) for size in (length, keys))
    distance = column - (row.unsqueeze(-1) + (keys - length))
    if right < 0:
        return distance >= -left
    return distance <= right if left < 0 else (distance >= -left) & (distance <= right)
