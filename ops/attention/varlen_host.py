"""Attention over packed sequences on the CPU: one sequence after another, each as one without a batch."""

from __future__ import annotations

import numpy as np

from tritorch.ops.attention import host
from tritorch.runtime import dtypes


def gathered(pool, table, count):
    """The first `count` tokens of a sequence whose pages a row of a table names."""
    page = pool.shape[1]
    return pool[table[: -(-count // page)]].reshape(-1, *pool.shape[2:])[:count]


def sequences(query, key, value, cu_seq_q, cu_seq_k, seqused_k, block_table):
    """(where its queries are, where its keys are or None, queries, keys, values) of each sequence that has queries."""
    for number in range(len(cu_seq_q) - 1):
        rows = slice(int(cu_seq_q[number]), int(cu_seq_q[number + 1]))
        if block_table is not None:
            count = int(seqused_k[number])
            columns, found = None, (gathered(each, block_table[number], count) for each in (key, value))
        else:
            first, stop = int(cu_seq_k[number]), int(cu_seq_k[number + 1])
            columns = slice(first, stop if seqused_k is None else min(stop, first + int(seqused_k[number])))
            found = (each[columns] for each in (key, value))
        if rows.stop > rows.start:
            yield rows, columns, query[rows], *found


def window(length, keys, left, right):
    """What each query may attend, (length, keys), or None for everything; the last query meets the last key."""
    if left < 0 and right < 0:
        return None
    distance = np.arange(keys) - (np.arange(length)[:, None] + keys - length)
    allowed = np.ones((length, keys), bool) if left < 0 else distance >= -left
    return allowed if right < 0 else allowed & (distance <= right)


def _turned(*arrays):
    """(tokens, heads, width) as (1, heads, tokens, width)."""
    return [each.swapaxes(0, 1)[None] for each in arrays]


def _settings(length, keys, left, right):
    """The mask of a sequence, and whether it is the one that `host` knows as causal."""
    if length == keys and left < 0 and right == 0:
        return None, True
    allowed = window(length, keys, left, right)
    return None if allowed is None else np.broadcast_to(allowed, (1, 1, length, keys)), False


def forward(query, key, value, cu_seq_q, cu_seq_k, left, right, scale, seqused_k, block_table):
    """The weighted values of each query, and the logarithm of the sum of its exponentials, inf where it has none."""
    heads = query.shape[1]
    out = np.zeros((*query.shape[:2], value.shape[-1]), query.dtype)
    log_sum = np.zeros((heads, len(query)), query.dtype)
    for rows, _, q, k, v in sequences(query, key, value, cu_seq_q, cu_seq_k, seqused_k, block_table):
        mask, causal = _settings(len(q), len(k), left, right)
        found, sums = host.forward(*_turned(q, k, v), mask, 0.0, causal, scale, 0, 0)
        out[rows], log_sum[:, rows] = found[0].swapaxes(0, 1), sums[0]
        allowed = np.ones((1, len(k)), bool) if mask is None else mask[0, 0]
        log_sum[:, rows] += np.where(allowed.any(-1), 0, np.inf).astype(query.dtype)
    return out, log_sum


def narrowed(query, key, value, *rest):
    """`forward` in float32 at least, the result in the dtype of the queries and the logarithms as computed."""
    kind = query.dtype
    wide = (each.astype(dtypes.COMPUTE[kind], copy=False) for each in (query, key, value))
    output, log_sum = forward(*wide, *rest)
    return output.astype(kind, copy=False), log_sum


def backward(grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, left, right, scale):
    """The gradients by queries, keys and values."""
    results = tuple(np.zeros_like(each) for each in (query, key, value))
    finite = np.where(np.isinf(log_sum), 0, log_sum)
    for rows, columns, q, k, v in sequences(query, key, value, cu_seq_q, cu_seq_k, None, None):
        mask, causal = _settings(len(q), len(k), left, right)
        by_sums = None if grad_log_sum is None else grad_log_sum[None, :, rows]
        found = host.backward(
            *_turned(grad[rows]), by_sums, *_turned(q, k, v), mask,
            *_turned(output[rows]), finite[None, :, rows], 0.0, causal, scale, 0, 0,
        )  # fmt: skip
        for result, place, each in zip(results, (rows, columns, columns), found, strict=True):
            result[place] = each[0].swapaxes(0, 1)
    return results
