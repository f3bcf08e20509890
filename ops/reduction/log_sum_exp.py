"""log sum exp along dimensions in one read: each place of a tile keeps its largest element and a sum relative to it."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.formula import exp, formula
from tritorch.ops.pointwise.family import Pointwise
from tritorch.ops.reduction.family import reduction_samples, total_of
from tritorch.ops.reduction.kernel import as_dims, reduced_shape
from tritorch.ops.reduction.states import State, launch_states
from tritorch.runtime import tl


@kernel
def _take(high, total, value, inside, taken):
    value = tl.where(inside, value, -float("inf"))
    top, low = tl.maximum(high, value), tl.minimum(high, value)
    # Infinities of one sign have no difference. A NaN comes through the sum, whatever becomes of it in the maximum.
    less = tl.where(low == top, 1.0, tl.exp(low - top))
    less = tl.where(value != value, value, less)
    return top, tl.where(value > high, total * less + 1, total + less)


@kernel
def _join(high, total, counts):
    top = tl.max(high, 1)
    scale = tl.where(high == top[:, None], 1.0, tl.exp(high - top[:, None]))
    return top, tl.sum(total * scale, 1)


@kernel
def _finish(high, total, number):
    return tl.log(total) + high, high


EXPONENTIALS = State(_take, _join, _finish, -math.inf)


class ExponentialShare(Pointwise):
    """exp(input - whole) * scale."""

    arguments = ("input", "whole", "scale")
    reference = staticmethod(lambda input, whole, scale: np.exp(input - whole) * scale)

    @formula
    def value(x, whole, scale):
        return exp(x - whole) * scale

    @formula
    def slope_input(input, whole, scale):
        return exp(input - whole) * scale

    @formula
    def slope_whole(input, whole, scale):
        return -exp(input - whole) * scale

    @formula
    def slope_scale(input, whole):
        return exp(input - whole)

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7), draw(5, 7)
        yield draw(5, 7), draw(5, 1), draw(5, 1)


class LogSumExp(Op):
    """log sum exp(input) along `dim`, without overflow."""

    batch = shifted("dim", scalars=True)
    saves = ("input", "output")
    widens = True

    @staticmethod
    def reference(input, dim, keepdim):
        high = np.max(input, axis=dim, keepdims=True, initial=-np.inf)
        high = np.where(np.isinf(high), 0, high).astype(input.dtype)
        found = np.log(np.sum(np.exp(input - high), axis=dim, keepdims=True)) + high
        return np.asarray(found, input.dtype).reshape(reduced_shape(input.shape, dim, keepdim))

    @staticmethod
    def fast(input, dim, keepdim):
        """The same in one array beside the input."""
        high = np.maximum.reduce(input, dim, None, None, True, -np.inf)
        high = np.where(np.isinf(high), 0, high).astype(input.dtype)
        share = np.asarray(np.subtract(input, high))
        np.exp(share, out=share)
        found = np.log(total_of(share, dim, True)) + high
        return np.asarray(found).reshape(reduced_shape(input.shape, dim, keepdim))

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        found, _ = launch_states(input, dim, EXPONENTIALS, want_second=False)
        return found.reshape(reduced_shape(input.shape, dim, keepdim))

    def backward(self, grad):
        """grad exp(input - result): zero where all elements are -inf."""
        input, dim, keepdim = self.inputs
        output = self.output
        if not keepdim:
            for each in as_dims(dim, input.array.ndim):
                grad, output = grad.unsqueeze(each), output.unsqueeze(each)
        whole = output.masked_fill(output == -math.inf, 0.0)
        return ExponentialShare.apply(input, whole, grad), None, None

    @staticmethod
    def samples(draw):
        yield from reduction_samples(draw)
        yield draw(5, 7) * 50, 1, False

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, False
