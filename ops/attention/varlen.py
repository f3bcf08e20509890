"""Attention over sequences of unlike lengths that are packed one after another, and its gradient."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, next_power_of_2
from tritorch.ops.attention import varlen_host
from tritorch.ops.attention.composed import composed_packed_gradient
from tritorch.ops.attention.kernels import widths_of
from tritorch.ops.attention.varlen_backward_kernels import varlen_key_gradient_kernel, varlen_query_gradient_kernel
from tritorch.ops.attention.varlen_kernels import varlen_kernel
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator, dot_settings
from tritorch.runtime import dtypes


def _zeros(array, shape=None, dtype=None):
    """Zeros beside an array: tokens that are in no sequence keep them."""
    result = empty_like(array, shape, dtype)
    result.fill(0)
    return result


def _near(array):
    """The array, or a copy where the offset of an element in its row needs 64 bits: kernels spend 32 on it."""
    return as_contiguous(array) if needs_64_bits(array.shape[-1:], [element_strides(array)[-1:]]) else array


def _settings(query, value, sequences, max_q, max_k, left, right, *others):
    """Constants of all kernels; and the sizes and facts that decide their configs, by powers of two as lengths vary."""
    dots, sizes = dot_settings(query.dtype)
    widths = widths_of(query, value)
    wide = any(needs_64_bits(each.shape, [element_strides(each)]) for each in (query, value, *others))
    constants = {
        "LEFT": left >= 0, "RIGHT": right >= 0, "WIDE": wide, "ACCUMULATE": dots["ACCUMULATE"],
        "PRECISION": dots["PRECISION"], **widths,
    }  # fmt: skip
    known = {
        "length": next_power_of_2(max_q), "keys": next_power_of_2(max_k), "width": widths["WIDTH"],
        "value_width": widths["VALUE_WIDTH"], "itemsize": query.itemsize, "tensor_cores": sizes["tensor_cores"],
        "heads": next_power_of_2(sequences * query.shape[1]),
        **{name: constants[name] for name in ("LEFT", "RIGHT", "WIDE", "PRECISION")},
    }  # fmt: skip
    return constants, known


def _window(left, right):
    """The sides of a window as kernels take them; a side without a limit is not looked at."""
    return max(left, 0), max(right, 0)


def written_out(query, key, value, cu_seq_q, cu_seq_k, left, right, scale, seqused_k, block_table):
    """The results of one sequence after another, with all of its weights."""
    out = np.zeros((*query.shape[:2], value.shape[-1]), query.dtype)
    log_sum = np.zeros((query.shape[1], len(query)), query.dtype)
    packed = (query, key, value, cu_seq_q, cu_seq_k, seqused_k, block_table)
    for rows, _, q, k, v in varlen_host.sequences(*packed):
        k, v = (np.repeat(each, q.shape[1] // each.shape[1], 1) for each in (k, v))
        scores = np.einsum("ihe,jhe->hij", q, k) * query.dtype.type(scale)
        allowed = varlen_host.window(len(q), len(k), left, right)
        if allowed is not None:
            scores = np.where(allowed, scores, -np.inf)
        highest = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
        base = np.where(highest == -np.inf, 0, highest)
        weights = np.exp(scores - base)
        sums = np.sum(weights, axis=-1, keepdims=True)
        some = np.where(sums == 0, 1, sums)
        out[rows] = np.einsum("hij,jhe->ihe", weights / some, v)
        log_sum[:, rows] = np.where(sums == 0, np.inf, base + np.log(some))[..., 0]
    return out, log_sum


def shared_out(tokens, most, starts):
    """Where sequences begin, as many as `starts` has, that share out the tokens and have `most` of them at most."""
    return np.minimum(np.linspace(0, tokens, len(starts)), most * np.arange(len(starts))).astype(starts.dtype)


def attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale, seqused_k=None, block_table=None):
    """The result and the logarithms of the rows' sums, by one launch."""
    tokens, heads, width = query.shape
    out = _zeros(query, (tokens, heads, value.shape[-1]))
    log_sum = _zeros(query, (heads, tokens), accumulator(query.dtype))
    sequences = len(cu_seq_q) - 1
    if not (log_sum.size and max_q and sequences):
        return out, log_sum
    query, key, value = map(_near, (query, key, value))
    cu_seq_q, cu_seq_k, seqused_k, block_table = (
        None if each is None else as_contiguous(each) for each in (cu_seq_q, cu_seq_k, seqused_k, block_table)
    )
    paged = block_table is not None
    page, pages = (key.shape[1], block_table.shape[1]) if paged else (1, 0)
    steps = [element_strides(each) if paged else (0, *element_strides(each)) for each in (key, value)]
    constants, known = _settings(query, value, sequences, max_q, max_k, left, right, key)
    arrays = (query, key, value, cu_seq_q, None if paged else cu_seq_k, seqused_k, block_table, out, log_sum)
    config = varlen_kernel.config(arrays, **known)
    varlen_kernel[(cdiv(max_q, config["ROWS"]) * sequences * heads,)](
        *arrays, heads, heads // key.shape[-2], tokens, page * pages if paged else key.shape[0], max_q,
        key.shape[0] if paged else 1, page, pages, width, value.shape[-1],
        element_strides(query), *steps, element_strides(out), *_window(left, right), scale, **constants, **config,
    )  # fmt: skip
    return out, log_sum


class VarlenAttention(Op):
    """softmax(scale query key^T) value within each of several sequences; and the logarithms of the rows' sums.

    query (tokens, heads, width), key (key tokens, heads / group, width), value likewise. Sequence i has the queries
    cu_seq_q[i] to cu_seq_q[i + 1], at most `max_q`, and keys likewise. Query i of n attends key j of m where
    -left <= j - (i + m - n) <= right; a negative side has no limit. A query that may attend nothing is zero, and its
    logarithm inf.
    """

    called_by = ("varlen_attn",)
    saves = ("query", "key", "value", "cu_seq_q", "cu_seq_k", "output")

    @staticmethod
    def reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale):
        return written_out(query, key, value, cu_seq_q, cu_seq_k, left, right, scale, None, None)

    @classmethod
    def host(cls, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, left, right, scale):
        """By tiles of each sequence, in float32 at least; the logarithms stay in what was computed in."""
        return varlen_host.narrowed(query, key, value, cu_seq_q, cu_seq_k, left, right, scale, None, None)

    def forward(self, *arguments):
        """One launch."""
        return attend(*arguments)

    def backward(self, grad, grad_log_sum=None):
        """Two fused kernels; ops on whole matrices of weights while recording."""
        query, key, value, cu_seq_q, cu_seq_k, *rest = self.inputs
        output, log_sum = self.outputs
        if grad is None:
            grad = output.detach() * 0
        if self.recording:
            return *composed_packed_gradient(grad, grad_log_sum, self.inputs, output, log_sum), *(None,) * 7
        found = VarlenAttentionBackward.apply(
            grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, *rest
        )
        return *found, *(None,) * 7

    @staticmethod
    def multiplications(output, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *rest):
        return (len(cu_seq_q) - 1) * query.shape[1] * max_q * max_k * (query.shape[2] + value.shape[2])

    @classmethod
    def differentiable_at(cls, *sample):
        """Where each query may attend something."""
        return bool(np.isfinite(cls.reference(*sample)[1]).all())

    @classmethod
    def fitted(cls, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *rest):
        """Sequences that share out the tokens."""
        starts = shared_out(query.shape[0], max_q, cu_seq_q), shared_out(key.shape[0], max_k, cu_seq_k)
        return query, key, value, *starts, max_q, max_k, *rest

    @staticmethod
    def samples(draw):
        """Lengths that straddle tiles, windows, shared heads, empty sequences, tokens in none."""
        for lengths, others, window, heads, widths, tail in _CASES:
            starts_q, starts_k = (np.cumsum([0, *each]).astype(np.int32) for each in (lengths, others))
            query = draw(starts_q[-1] + tail, heads[0], widths[0])
            key = draw(starts_k[-1] + tail, heads[1], widths[0])
            value = draw(starts_k[-1] + tail, heads[1], widths[1])
            yield query, key, value, starts_q, starts_k, max(lengths), max(others), *window, 0.4
        joined = draw(12, 3, 2, 8)  # views of one projection
        starts = np.array([0, 7, 12], np.int64)
        yield joined[:, 0], joined[:, 1], joined[:, 2], starts, starts, 9, 9, -1, 0, 0.3

    @staticmethod
    def sized(draw, B=8, H=16, L=1024, D=64, causal=1):
        starts = np.arange(B + 1, dtype=np.int32) * L
        return *(draw(B * L, H, D) for _ in range(3)), starts, starts, L, L, -1, 0 if causal else -1, D**-0.5


_CASES = (  # lengths of queries, of keys, window, heads of both, widths, tokens after the last
    ((5, 1, 9), (7, 2, 3), (-1, -1), (2, 2), (8, 5), 0),
    ((65, 0, 17), (65, 4, 17), (-1, 0), (2, 1), (16, 16), 0),
    ((3, 70, 5), (80, 66, 0), (-1, 0), (1, 1), (4, 4), 3),
    ((40, 9), (150, 3), (20, 0), (4, 2), (8, 8), 0),
    ((70, 30), (70, 90), (6, 3), (1, 1), (8, 8), 0),
    ((20, 130), (33, 130), (-1, 7), (1, 1), (8, 8), 0),
    ((1, 1, 1), (100, 33, 64), (50, -1), (2, 2), (130, 20), 0),
    ((0,), (3,), (-1, 0), (1, 1), (4, 4), 0),
)


class VarlenAttentionBackward(Op):
    """The gradients of attention over packed sequences by query, key and value, from those of its two results."""

    @staticmethod
    def reference(
        grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, max_q, max_k, left, right, scale
    ):  # fmt: skip
        results = tuple(np.zeros_like(each) for each in (query, key, value))
        for rows, columns, q, k, v in varlen_host.sequences(query, key, value, cu_seq_q, cu_seq_k, None, None):
            group = q.shape[1] // k.shape[1]
            k, v = (np.repeat(each, group, 1) for each in (k, v))
            scores = np.einsum("ihe,jhe->hij", q, k) * query.dtype.type(scale)
            allowed = varlen_host.window(len(q), len(k), left, right)
            if allowed is not None:
                scores = np.where(allowed, scores, -np.inf)
            weights = np.exp(scores - log_sum[:, rows, None])
            delta = np.sum(grad[rows] * output[rows], -1).T
            if grad_log_sum is not None:
                delta = delta - grad_log_sum[:, rows]
            slope = weights * (np.einsum("ihe,jhe->hij", grad[rows], v) - delta[..., None]) * query.dtype.type(scale)
            results[0][rows] = np.einsum("hij,jhe->ihe", slope, k)
            for result, found in ((results[1], np.einsum("hij,ihe->jhe", slope, q)),
                                  (results[2], np.einsum("hij,ihe->jhe", weights, grad[rows]))):  # fmt: skip
                result[columns] = found.reshape(len(found), result.shape[1], group, found.shape[2]).sum(2)
        return results

    @classmethod
    def host(cls, grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, max_q, max_k, *rest):
        """By tiles of each sequence, in float32 at least, narrowed once."""
        kind = query.dtype
        grad, query, key, value, output = (
            each.astype(dtypes.COMPUTE[kind], copy=False) for each in (grad, query, key, value, output)
        )
        found = varlen_host.backward(
            grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, *rest
        )  # fmt: skip
        return tuple(each.astype(kind, copy=False) for each in found)

    def forward(
        self, grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, max_q, max_k, left, right,
        scale,
    ):  # fmt: skip
        """Two launches, the first of which leaves grad . output for the second."""
        by_query, by_key, by_value = (_zeros(each) for each in (query, key, value))
        sequences, heads = len(cu_seq_q) - 1, query.shape[1]
        if not (sequences and heads and max_k):
            return by_query, by_key, by_value
        grad, query, key, value, output = map(_near, (grad, query, key, value, output))
        cu_seq_q, cu_seq_k, log_sum = map(as_contiguous, (cu_seq_q, cu_seq_k, log_sum))
        grad_log_sum = None if grad_log_sum is None else as_contiguous(grad_log_sum)
        delta = empty_like(log_sum)
        constants, known = _settings(query, value, sequences, max_q, max_k, left, right, key, grad, output)
        shared = key.shape[1]
        counts = (heads, heads // shared, query.shape[0], key.shape[0])
        widths, strides = (query.shape[2], value.shape[2]), [element_strides(each) for each in (query, key, value)]
        rest = (*_window(left, right), scale)
        arrays = (grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, delta, by_query)
        config = varlen_query_gradient_kernel.config(arrays, **known)
        varlen_query_gradient_kernel[(cdiv(max_q, config["ROWS"]) * sequences * heads,)](
            *arrays, *counts, max_q, *widths, element_strides(grad), *strides, element_strides(output),
            element_strides(by_query), *rest, **constants, **config,
        )  # fmt: skip
        arrays = (grad, query, key, value, cu_seq_q, cu_seq_k, log_sum, delta, by_key, by_value)
        config = varlen_key_gradient_kernel.config(arrays, **known)
        varlen_key_gradient_kernel[(cdiv(max_k, config["COLUMNS"]) * sequences * shared,)](
            *arrays, *counts, max_k, *widths, element_strides(grad), *strides, element_strides(by_key),
            element_strides(by_value), *rest, **constants, **config,
        )  # fmt: skip
        return by_query, by_key, by_value

    @staticmethod
    def multiplications(gradients, grad, grad_log_sum, query, key, value, cu_seq_q, *rest):
        max_q, max_k = rest[3:5]
        products = (len(cu_seq_q) - 1) * query.shape[1] * max_q * max_k
        return products * (3 * query.shape[2] + 2 * value.shape[2])

    @classmethod
    def fitted(cls, grad, grad_log_sum, query, key, value, cu_seq_q, cu_seq_k, output, log_sum, max_q, max_k, *rest):
        """The output and the sums that the queries, keys and values give."""
        found = VarlenAttention.fitted(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *rest)
        output, sums = VarlenAttention.host(*found)
        return grad, grad_log_sum, *found[:5], output, sums.astype(log_sum.dtype, copy=False), *found[5:]

    @staticmethod
    def samples(draw):
        for number, sample in enumerate(VarlenAttention.samples(draw)):
            output, log_sum = VarlenAttention.host(*sample)
            grad_log_sum = draw(*log_sum.shape).astype(log_sum.dtype) if number % 3 == 1 else None
            yield (draw(*output.shape), grad_log_sum, *sample[:5], output, log_sum, *sample[5:])

    @staticmethod
    def sized(draw, B=8, H=16, L=1024, D=64, causal=1):
        sample = VarlenAttention.sized(draw, B, H, L, D, causal)
        log_sum = draw(H, B * L).astype(accumulator(draw.dtype))
        return draw(B * L, H, D), None, *sample[:5], draw(B * L, H, D), log_sum, *sample[5:]
