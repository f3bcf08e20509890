"""Mean and variance in one read: a running mean for each place of a tile, then of all places together.

Sources: Welford, "Note on a method for calculating corrected sums of squares and products", 1962; Chan, Golub, LeVeque,
"Updating formulae and a pairwise algorithm for computing sample variances", 1979.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.base import Op, device_of
from tritorch.ops.batching import shifted
from tritorch.ops.creation import Full
from tritorch.ops.formula import formula
from tritorch.ops.pointwise.family import Pointwise
from tritorch.ops.reduction.family import count_along, reduction_samples, total_of
from tritorch.ops.reduction.kernel import as_dims, reduced_shape
from tritorch.ops.reduction.states import State, launch_states
from tritorch.runtime import tl


@kernel
def _take(mean, squares, value, inside, taken):
    difference = tl.where(inside, value - mean, 0)
    part = 1 / (taken + 1)
    return mean + difference * part, squares + difference * difference * (taken * part)


@kernel
def _join(mean, squares, counts):
    number = tl.maximum(tl.sum(counts, 1), 1)  # a part may have no elements
    whole = tl.sum(mean * counts, 1) / number
    difference = mean - whole[:, None]
    return whole, tl.sum(squares + difference * difference * counts, 1)


@kernel
def _finish(mean, squares, freedom):
    return squares / freedom, mean


MOMENTS = State(_take, _join, _finish, 0.0)


class ScaledDifference(Pointwise):
    """(input - other) * scale."""

    arguments = ("input", "other", "scale")
    reference = staticmethod(lambda input, other, scale: (input - other) * scale)

    @formula
    def value(x, y, scale):
        return (x - y) * scale

    @formula
    def slope_input(scale):
        return scale

    @formula
    def slope_other(scale):
        return -scale

    @formula
    def slope_scale(input, other):
        return input - other

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7), draw(5, 7)
        yield draw(5, 7), draw(5, 1), draw(5, 1)
        yield draw(6, 4).T, draw(6), 2.5


class VarMean(Op):
    """The sum of squared distances from the mean over `freedom`, and the mean, along `dim`."""

    batch = shifted("dim", scalars=True)
    saves = ("input", "output")
    saved_results = (1,)
    widens = True

    @staticmethod
    def reference(input, dim, keepdim, freedom):
        mean = np.mean(input, axis=dim, keepdims=True)
        found = np.sum(np.square(input - mean), axis=dim, keepdims=keepdim) / np.asarray(freedom, input.dtype)
        return np.asarray(found, input.dtype), mean.reshape(reduced_shape(input.shape, dim, keepdim))

    @staticmethod
    def fast(input, dim, keepdim, freedom):
        """The same with sums that do not round as often."""
        mean = total_of(input, dim, True) / input.dtype.type(count_along(input.shape, dim))
        difference = np.asarray(input - mean)
        np.multiply(difference, difference, out=difference)
        found = total_of(difference, dim, keepdim) / input.dtype.type(freedom)
        return np.asarray(found), mean.reshape(reduced_shape(input.shape, dim, keepdim))

    def forward(self, input, dim, keepdim, freedom):
        """One launch, or two where rows are few and long."""
        shape = reduced_shape(input.shape, dim, keepdim)
        if count_along(input.shape, dim) == 0:
            return tuple([Full().forward(shape, math.nan, input.dtype, device_of(input)) for _ in range(2)])
        return tuple([each.reshape(shape) for each in launch_states(input, dim, MOMENTS, freedom)])

    def backward(self, grad, grad_mean=None):
        """2 grad (input - mean) / freedom, and the mean's gradient over how many there are."""
        input, dim, keepdim, freedom = self.inputs
        mean = self.outputs[0]
        if not keepdim:
            for each in as_dims(dim, input.array.ndim):
                mean = mean.unsqueeze(each)
                grad, grad_mean = [g if g is None else g.unsqueeze(each) for g in (grad, grad_mean)]
        found = (
            None if grad is None else ScaledDifference.apply(input, mean, grad * (2 / freedom if freedom else np.inf))
        )
        if grad_mean is None:
            return found, None, None, None
        shared = grad_mean / count_along(input.array.shape, dim)
        return (shared.expand(input.array.shape) if found is None else found + shared), None, None, None

    @staticmethod
    def samples(draw):
        for input, dim, keepdim in reduction_samples(draw):
            yield input, dim, keepdim, max(count_along(input.shape, dim) - 1.0, 1.0)
        yield draw(3, 40) + 1000, 1, False, 39.0
        yield draw(1, 40000), 1, False, 39999.0  # in parts on every GPU

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, False, N - 1.0
