"""softmax(scale query key^T + mask) value for all heads of a batch, and its gradient, in linear memory."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.attention import decode, flash_launch, host
from tritorch.ops.attention.backward_kernels import key_gradient_kernel, query_gradient_kernel
from tritorch.ops.attention.composed import composed_gradient
from tritorch.ops.attention.kernels import attention_kernel, settings_of, tiles_of
from tritorch.ops.autocast import LOWER
from tritorch.ops.base import Op
from tritorch.ops.batching import folded
from tritorch.ops.layout import as_contiguous, element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.random.dropout import threshold_and_scale
from tritorch.runtime import dtypes


def _scores(query, key, attn_mask, is_causal, scale):
    """scale query key^T with what may not be attended at -inf; keys with as many heads as queries."""
    scores = np.matmul(query, key.swapaxes(-1, -2)) * query.dtype.type(scale)
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == np.bool_ else scores + attn_mask
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    return scores


def _repeated(array, query):
    """Keys or values with each head as often as queries share it."""
    return np.repeat(array, query.shape[1] // max(array.shape[1], 1), 1)


def _like(array, last):
    """Memory for (*array.shape[:3], last), with the heads inside of rows where `array` has them so."""
    batch, heads, rows, _ = array.shape
    if array.strides[1] < array.strides[2]:
        return empty_like(array, (batch, rows, heads, last)).transpose(0, 2, 1, 3)
    return empty_like(array, (batch, heads, rows, last))


def _shared_arguments(query, key, value, mask, dropout_p, scale, seed, offset):
    """The numbers that every kernel takes, before and after the strides of its own results."""
    heads = query.shape[1]
    threshold, kept_scale = threshold_and_scale(dropout_p)
    sizes = (heads, heads // key.shape[1], query.shape[2], key.shape[2], query.shape[3], value.shape[3])
    strides = [element_strides(each) for each in (query, key, value)]
    return sizes, (*strides, (0, 0, 0, 0) if mask is None else element_strides(mask)), (
        scale, seed, offset, threshold, kept_scale,
    )  # fmt: skip


def _near(array):
    """The array, or a copy where the offset of an element in its row needs 64 bits: kernels spend 32 on it."""
    return as_contiguous(array) if needs_64_bits(array.shape[3:], [element_strides(array)[3:]]) else array


def _is_wide(*arrays):
    return any(a is not None and needs_64_bits(a.shape[2:], [element_strides(a)[2:]]) for a in arrays)


class _Dropping(Op, abstract=True):
    """What may drop weights, by numbers that change from call to call."""

    passed = ("seed", "offset")

    @classmethod
    def numbers(cls, *values):
        """Seed and offset, where anything is dropped."""
        return super().numbers(*values) if values[cls.names.index("dropout_p")] else ()


class Attention(_Dropping):
    """softmax(scale query key^T + mask) value; and the logarithms of the rows' sums of exponentials, 0 for empty ones.

    query (batch, heads, length, width), key (batch, heads / group, keys, width), value (batch, heads / group, keys,
    value width). `attn_mask` (batch, heads, length, keys) is True where a key may be attended, or a number to add, or
    None. A row that may attend nothing is zero. Dropout takes weights by the Philox words of (seed, offset); each row
    of weights starts at a block of its own.
    """

    batch = folded
    called_by = ("scaled_dot_product_attention",)
    autocast = LOWER
    saves = ("query", "key", "value", "attn_mask", "output")

    @staticmethod
    def reference(query, key, value, attn_mask, dropout_p, is_causal, scale, seed, offset):
        scores = _scores(query, _repeated(key, query), attn_mask, is_causal, scale)
        highest = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
        base = np.where(highest == -np.inf, 0, highest)
        weights = np.exp(scores - base)
        sums = np.sum(weights, axis=-1, keepdims=True)
        weights = weights / np.where(sums == 0, 1, sums)
        if dropout_p:
            weights = weights * host.kept_weights(weights.shape, dropout_p, seed, offset, query.dtype)
        log_sum = np.where(sums == 0, 0, base + np.log(sums))
        return np.matmul(weights, _repeated(value, query)).astype(query.dtype), log_sum[..., 0].astype(query.dtype)

    @classmethod
    def host(cls, query, key, value, attn_mask, *rest):
        """By tiles, in float32 at least; the logarithms stay in what was computed in."""
        kind = query.dtype
        wide = dtypes.COMPUTE[kind]
        if attn_mask is not None and attn_mask.dtype != np.bool_:
            attn_mask = attn_mask.astype(wide, copy=False)
        arrays = (each.astype(wide, copy=False) for each in (query, key, value))
        output, log_sum = host.forward(*arrays, attn_mask, *rest)
        return output.astype(kind, copy=False), log_sum

    def forward(self, query, key, value, attn_mask, dropout_p, is_causal, scale, seed, offset):
        """One launch."""
        out = _like(query, value.shape[3])
        log_sum = empty_like(query, query.shape[:3], accumulator(query.dtype))
        if out.size == 0 and log_sum.size == 0:
            return out, log_sum
        query, key, value = map(_near, (query, key, value))
        wide = _is_wide(query, key, value, attn_mask, out)
        if decode.is_decoding(query, key, dropout_p, is_causal):
            decode.attend(query, key, value, attn_mask, out, log_sum, scale, wide)
            return out, log_sum
        if flash_launch.takes(query, key, value, attn_mask, dropout_p, scale):
            flash_launch.forward(query, key, value, is_causal, scale, out, log_sum)
            return out, log_sum
        constants, sizes = settings_of(query, key, value, attn_mask, dropout_p, is_causal, wide)
        config = attention_kernel.config((query, key, value, attn_mask, out, log_sum), **sizes)
        counts, strides, numbers = _shared_arguments(
            query, key, value, attn_mask, dropout_p, scale, seed, offset
        )  # fmt: skip
        attention_kernel[(tiles_of(query, config["ROWS"]),)](
            query, key, value, attn_mask, out, log_sum, *counts, *strides, element_strides(out), *numbers,
            **constants, **config,
        )  # fmt: skip
        return out, log_sum

    def backward(self, grad, grad_log_sum=None):
        """Two fused kernels; ops on whole matrices of weights while recording or for the gradient of a mask."""
        query, key, value, attn_mask, dropout_p, is_causal, scale, seed, offset = self.inputs
        output, log_sum = self.outputs
        if grad is None:
            grad = output.detach() * 0
        if self.recording or self.edges[3] is not None:
            return composed_gradient(grad, grad_log_sum, self.inputs, output, log_sum)
        return AttentionBackward.apply(
            grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, dropout_p, is_causal, scale, seed, offset
        )  # fmt: skip

    @staticmethod
    def multiplications(output, query, key, value, *settings):
        return math.prod(query.shape[:3]) * key.shape[2] * (query.shape[3] + value.shape[3])

    @staticmethod
    def samples(draw):
        plain = (0.0, False, 0.5, 1, 0)
        yield draw(2, 2, 5, 7), draw(2, 2, 9, 7), draw(2, 2, 9, 3), None, *plain
        yield draw(1, 2, 17, 8), draw(1, 2, 17, 8), draw(1, 2, 17, 8), None, 0.0, True, 0.35, 1, 0
        yield draw(1, 2, 33, 16), draw(1, 2, 19, 16), draw(1, 2, 19, 16), None, 0.0, True, 0.25, 1, 0
        yield draw(1, 4, 6, 8), draw(1, 2, 7, 8), draw(1, 2, 7, 8), None, 0.0, True, 0.35, 1, 0  # shared keys
        yield draw(1, 2, 5, 4), draw(1, 2, 6, 4), draw(1, 2, 6, 4), draw.booleans(1, 2, 5, 6), *plain
        yield draw(2, 1, 5, 4), draw(2, 1, 6, 4), draw(2, 1, 6, 4), np.broadcast_to(draw(5, 6), (2, 1, 5, 6)), *plain
        yield draw(1, 2, 7, 8), draw(1, 2, 10, 8), draw(1, 2, 10, 8), None, 0.3, False, 0.35, 3, 2**32 - 2
        yield draw(1, 4, 6, 8), draw(1, 2, 7, 8), draw(1, 2, 7, 5), draw.booleans(1, 4, 6, 7), 0.5, True, 0.35, 3, 17
        yield *(draw(2, 6, 2, 5).transpose(0, 2, 1, 3) for _ in range(3)), None, *plain
        mask = np.broadcast_to(draw(1, 1, 1, 2), (1, 1, 4, 2))
        yield draw(1, 1, 4, 6)[..., ::-1], draw(1, 1, 6, 2).swapaxes(2, 3)[:, :, ::-1], draw(1, 1, 2, 3), mask, *plain
        yield draw(1, 1, 3, 200), draw(1, 1, 5, 200), draw(1, 1, 5, 130), None, 0.0, False, 0.07, 1, 0
        yield draw(1, 1, 3, 4), draw(1, 1, 0, 4), draw(1, 1, 0, 4), None, *plain
        yield draw(1, 2, 0, 4), draw(1, 2, 3, 4), draw(1, 2, 3, 4), None, *plain
        yield from decode.samples(draw)
        # Several tiles of every kernel, at multiples of 16 bytes
        yield draw(1, 4, 150, 64), *(draw(1, 2, 200, 64) for _ in range(2)), None, 0.0, True, 0.125, 1, 0
        yield *(draw(2, 136, 2, 24).transpose(0, 2, 1, 3) for _ in range(3)), None, 0.0, False, 0.2, 1, 0
        yield *(draw(1, 1, 512, 64) for _ in range(3)), None, 0.0, True, 0.125, 1, 0  # as long as slopes are stored

    @staticmethod
    def sized(draw, B=8, H=16, L=1024, S=1024, D=64, causal=1, group=1):
        query, key, value = draw(B, H, L, D), draw(B, H // group, S, D), draw(B, H // group, S, D)
        return query, key, value, None, 0.0, bool(causal), D**-0.5, 0, 0


class AttentionBackward(_Dropping):
    """The gradients of attention by query, key and value, from those of its two results."""

    batch = folded

    @staticmethod
    def reference(
        grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, dropout_p, is_causal, scale, seed, offset
    ):  # fmt: skip
        keys, values = _repeated(key, query), _repeated(value, query)
        weights = np.exp(_scores(query, keys, attn_mask, is_causal, scale) - log_sum[..., None])
        slope, dropped = np.matmul(grad, values.swapaxes(-1, -2)), weights
        if dropout_p:
            kept = host.kept_weights(weights.shape, dropout_p, seed, offset, query.dtype)
            slope, dropped = slope * kept, weights * kept
        delta = np.sum(grad * output, axis=-1) - (0 if grad_log_sum is None else grad_log_sum)
        slope = weights * (slope - delta[..., None]) * query.dtype.type(scale)
        batch, heads, rows, _ = key.shape
        split = (batch, heads, query.shape[1] // max(heads, 1), rows, -1)
        by_key = np.matmul(slope.swapaxes(-1, -2), query).reshape(*split[:-1], query.shape[3]).sum(2)
        by_value = np.matmul(dropped.swapaxes(-1, -2), grad).reshape(*split[:-1], value.shape[3]).sum(2)
        return tuple(each.astype(query.dtype) for each in (np.matmul(slope, keys), by_key, by_value))

    @classmethod
    def host(cls, grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, *rest):
        """By tiles, in float32 at least, narrowed once."""
        kind = query.dtype
        wide = dtypes.COMPUTE[kind]
        if attn_mask is not None and attn_mask.dtype != np.bool_:
            attn_mask = attn_mask.astype(wide, copy=False)
        grad, query, key, value, output = (
            each.astype(wide, copy=False) for each in (grad, query, key, value, output)
        )  # fmt: skip
        found = host.backward(grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, *rest)
        return tuple(each.astype(kind, copy=False) for each in found)

    def forward(
        self, grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, dropout_p, is_causal, scale, seed,
        offset,
    ):  # fmt: skip
        """Two launches, the first of which leaves grad . output for the second."""
        by_query, by_key, by_value = results = tuple(_like(each, each.shape[3]) for each in (query, key, value))
        if flash_launch.takes(query, key, value, attn_mask, dropout_p, scale):
            grad_log_sum = None if grad_log_sum is None else as_contiguous(grad_log_sum)
            flash_launch.backward(
                grad, grad_log_sum, query, key, value, is_causal, scale, output, as_contiguous(log_sum), results
            )  # fmt: skip
            return results
        grad, query, key, value, output = map(_near, (grad, query, key, value, output))
        wide = _is_wide(query, key, value, attn_mask, grad, output)
        constants, sizes = settings_of(query, key, value, attn_mask, dropout_p, is_causal, wide)
        counts, strides, numbers = _shared_arguments(query, key, value, attn_mask, dropout_p, scale, seed, offset)
        log_sum, delta = as_contiguous(log_sum), empty_like(log_sum)
        if log_sum.size:
            grad_log_sum = None if grad_log_sum is None else as_contiguous(grad_log_sum)
            arrays = (grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, delta, by_query)
            config = query_gradient_kernel.config(arrays, **sizes)
            query_gradient_kernel[(tiles_of(query, config["ROWS"]),)](
                *arrays, *counts, element_strides(grad), *strides, element_strides(output),
                element_strides(by_query), *numbers, **constants, **config,
            )  # fmt: skip
        if key.shape[2]:
            arrays = (grad, query, key, value, attn_mask, log_sum, delta, by_key, by_value)
            config = key_gradient_kernel.config(arrays, **sizes)
            key_gradient_kernel[(tiles_of(key, config["COLUMNS"]),)](
                *arrays, *counts, element_strides(grad),
                *strides, element_strides(by_key), element_strides(by_value), *numbers, **constants, **config,
            )  # fmt: skip
        return by_query, by_key, by_value

    @staticmethod
    def fitted(grad, grad_log_sum, query, key, value, attn_mask, output, log_sum, *rest):
        """The output and the sums that the queries, keys and values give."""
        output, sums = Attention.host(query, key, value, attn_mask, *rest)
        return grad, grad_log_sum, query, key, value, attn_mask, output, sums.astype(log_sum.dtype, copy=False), *rest

    @staticmethod
    def multiplications(output, grad, grad_log_sum, query, key, value, *settings):
        return math.prod(query.shape[:3]) * key.shape[2] * (3 * query.shape[3] + 2 * value.shape[3])

    @staticmethod
    def samples(draw):
        for number, sample in enumerate(Attention.samples(draw)):
            output, log_sum = Attention.host(*sample)
            grad_log_sum = draw(*log_sum.shape).astype(log_sum.dtype) if number % 3 == 1 else None
            yield (draw(*output.shape), grad_log_sum, *sample[:4], output, log_sum, *sample[4:])

    @staticmethod
    def sized(draw, B=8, H=16, L=1024, S=1024, D=64, causal=1, group=1):
        sample = Attention.sized(draw, B, H, L, S, D, causal, group)
        log_sum = draw(B, H, L).astype(accumulator(draw.dtype))
        return draw(B, H, L, D), None, *sample[:4], draw(B, H, L, D), log_sum, *sample[4:]
