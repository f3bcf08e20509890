"""Attention of packed queries to caches of keys and values that are not full, or that lie in pages."""

from __future__ import annotations

import numpy as np

from tritorch.ops.attention import varlen_host
from tritorch.ops.attention.varlen import attend, shared_out, written_out
from tritorch.ops.base import Op


class CachedAttention(Op):
    """Attention over packed sequences, of whose keys the first `seqused_k` are there; without a gradient.

    Arguments are those of `varlen_attention`. With a `block_table` (sequences, pages), key and value are (all pages,
    tokens of a page, heads / group, ...), a row of it names the pages of a sequence, and `cu_seq_k` is not read.
    """

    @staticmethod
    def reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale, seqused_k, block_table):
        return written_out(query, key, value, cu_seq_q, cu_seq_k, left, right, scale, seqused_k, block_table)

    @classmethod
    def host(cls, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *rest):
        """By tiles of each sequence, in float32 at least; the logarithms stay in what was computed in."""
        return varlen_host.narrowed(query, key, value, cu_seq_q, cu_seq_k, *rest)

    def forward(self, *arguments):
        """One launch."""
        return attend(*arguments)

    @staticmethod
    def samples(draw):
        """Caches that are empty, half full and full; pages in any order, and windows over them."""
        used, starts = np.array([3, 0, 8], np.int32), np.arange(4, dtype=np.int32)
        rest = (1, 8, -1, -1, 0.3, used, None)
        yield draw(3, 2, 8), draw(24, 1, 8), draw(24, 1, 8), starts, starts * 8, *rest
        table = np.array([[4, 0, 0], [2, 1, 3], [0, 0, 0]], np.int32)
        used, starts = np.array([2, 11, 4], np.int32), np.array([0, 1, 4, 6], np.int32)
        for window in ((-1, -1), (-1, 0), (5, 0)):
            yield draw(6, 4, 8), draw(5, 4, 2, 8), draw(5, 4, 2, 8), starts, None, 3, 12, *window, 0.3, used, table

    @classmethod
    def fitted(cls, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale, seqused_k, block_table):
        """Sequences that share out the queries, caches that are full, and pages that exist."""
        cu_seq_q = shared_out(query.shape[0], max_q, cu_seq_q)
        if block_table is None:
            cu_seq_k = shared_out(key.shape[0], max_k, cu_seq_k)
            used = np.diff(cu_seq_k)
        else:
            block_table = block_table % max(key.shape[0], 1)
            used = np.full(len(seqused_k), block_table.shape[1] * key.shape[1])
        used = used.astype(seqused_k.dtype)
        return query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale, used, block_table
