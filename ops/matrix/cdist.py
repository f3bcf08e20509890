"""Distances between all rows of two matrices, by the p-norm."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import Op
from tritorch.ops.batching import broadcast, broadcast_whole
from tritorch.ops.formula import absolute, formula, maximum, sign, sqrt, where
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.matrix.distance import launch_distance, launch_distance_gradient
from tritorch.ops.pointwise.power import power

_MANY = 1 << 20  # differences that are better not all held at once


@formula
def plus(x, y):
    return x + y


@formula
def unchanged(distance, p):
    return distance


@formula
def apart(distance, p):
    return where(distance > 0, 1, distance)


@formula
def squared(distance, p):
    return distance * distance


@formula
def root(total, p):
    return sqrt(total)


@formula
def to_the_power(distance, p):
    return power(distance, p)


@formula
def to_the_root(total, p):
    return power(total, 1 / p)


# The slopes of a distance by a difference along one feature; zero where rows coincide, as in PyTorch.


@formula
def no_slope(difference, distance, p):
    return difference * 0


@formula
def sign_slope(difference, distance, p):
    return sign(difference)


@formula
def share_slope(difference, distance, p):
    return where(distance == 0, 0, difference / where(distance == 0, 1, distance))


@formula
def largest_slope(difference, distance, p):
    return where(absolute(difference) == distance, sign(difference), 0)


@formula
def power_slope(difference, distance, p):
    share = where(difference == 0, 1, absolute(difference)) / where(distance == 0, 1, distance)
    return where(distance == 0, 0, sign(difference) * power(share, p - 1))


# For each p: what is combined along the features, how, what is made of the sum, and the slope.
_KINDS = {
    0.0: (apart, plus, unchanged, no_slope),
    1.0: (unchanged, plus, unchanged, sign_slope),
    2.0: (squared, plus, root, share_slope),
    math.inf: (unchanged, maximum, unchanged, largest_slope),
}
_GENERAL = (to_the_power, plus, to_the_root, power_slope)


def kind_of_distance(p):
    """The four formulas of the p-norm."""
    return _KINDS.get(p, _GENERAL)


class Cdist(Op):
    """(sum |x1[i] - x2[j]|^p)^(1/p) for all rows i and j; the largest for p = inf, how many differ for 0."""

    batch = broadcast
    autocast = FLOAT32
    saves = ("x1", "x2", "output")
    widens = True

    @staticmethod
    def reference(x1, x2, p):
        distance = np.abs(x1[..., :, None, :] - x2[..., None, :, :])
        if p == 0:
            return np.sum(np.where(distance > 0, 1, distance), -1)
        if math.isinf(p):
            return np.max(distance, -1, initial=0)
        return np.sum(distance**p, -1) ** (1 / p)

    @staticmethod
    def fast(x1, x2, p):
        shape = distance_shape(x1, x2)
        if math.prod(shape) * x1.shape[-1] <= _MANY:
            return Cdist.reference(x1, x2, p)
        term, combine, finish, _ = kind_of_distance(p)
        total = np.zeros(shape, x1.dtype)
        for at in range(x1.shape[-1]):
            total = combine(total, term(np.abs(x1[..., at, None] - x2[..., None, :, at]), p))
        return finish(total, p)

    def forward(self, x1, x2, p):
        """One launch."""
        term, combine, finish, _ = kind_of_distance(p)
        return launch_distance(x1, x2, distance_shape(x1, x2), p, term, combine, finish)

    def backward(self, grad):
        """For each row the sum over all others of grad times the slope, in one launch for each argument."""
        x1, x2, p = self.inputs
        output = self.output
        if self.recording:
            slope = kind_of_distance(p)[3].fn(x1.unsqueeze(-2) - x2.unsqueeze(-3), output.unsqueeze(-1), p)
            shares = grad.unsqueeze(-1) * slope
            return shares.sum(-2), -shares.sum(-3)
        first = second = None
        if self.edges[0] is not None:
            first = CdistBackward.apply(grad, x1, x2, output, p)
        if self.edges[1] is not None:
            second = CdistBackward.apply(grad.transpose(-2, -1), x2, x1, output.transpose(-2, -1), p)
        return first, second

    @staticmethod
    def samples(draw):
        for p in (0.0, 0.5, 1.0, 2.0, 3.0):
            yield draw(5, 3), draw(4, 3), p
        if draw.dtype.itemsize >= 4:  # a distance rounded to half precision does not say which feature it is of
            yield draw(5, 3), draw(4, 3), math.inf
        yield draw(2, 1, 3, 2), draw(4, 5, 2), 2.0
        yield draw(2, 7).T, draw(5, 4)[::-1, ::2], 2.0
        yield draw(65, 2), draw(9, 2), 1.5
        yield draw(0, 3), draw(4, 3), 2.0
        yield draw(3, 0), draw(4, 0), 1.0
        yield np.broadcast_to(draw(3), (4, 3)), draw(1, 3), 2.0

    @staticmethod
    def sized(draw, M=2048, N=2048, K=64):
        return draw(M, K), draw(N, K), 2.0


def distance_shape(x1, x2):
    """The shape of all distances between rows."""
    return (*broadcast_shape("cdist", x1.shape[:-2], x2.shape[:-2]), x1.shape[-2], x2.shape[-2])


class CdistBackward(Op):
    """The gradient of cdist by x1, from the gradient and value of its result."""

    batch = broadcast_whole
    widens = True

    @staticmethod
    def reference(grad, x1, x2, distance, p):
        slope = kind_of_distance(p)[3](x1[..., :, None, :] - x2[..., None, :, :], distance[..., None], p)
        return np.sum(grad[..., None] * slope, -2)

    @staticmethod
    def fast(grad, x1, x2, distance, p):
        if distance.size * x1.shape[-1] <= _MANY:
            return CdistBackward.reference(grad, x1, x2, distance, p)
        slope = kind_of_distance(p)[3]
        out = np.empty((*distance.shape[:-1], x1.shape[-1]), x1.dtype)
        for at in range(x1.shape[-1]):
            out[..., at] = np.sum(grad * slope(x1[..., at, None] - x2[..., None, :, at], distance, p), -1)
        return out

    def forward(self, grad, x1, x2, distance, p):
        """One launch."""
        return launch_distance_gradient(grad, x1, x2, distance, p, kind_of_distance(p)[3])

    @staticmethod
    def samples(draw):
        for x1, x2, p in Cdist.samples(draw):
            if math.isinf(p):  # which feature is the largest shows in differences that no dtype rounds
                x1, x2 = (np.round(each.astype(np.float64) * 8) / 8 for each in (x1, x2))
                x1, x2 = x1.astype(draw.dtype), x2.astype(draw.dtype)
            distance = Cdist.fast(x1.astype(np.float64), x2.astype(np.float64), p).astype(x1.dtype)
            yield draw(*distance.shape), x1, x2, distance, p

    @staticmethod
    def sized(draw, M=2048, N=2048, K=64):
        x1, x2, p = Cdist.sized(draw, M, N, K)
        distance = Cdist.fast(x1.astype(np.float32), x2.astype(np.float32), p)
        return draw(M, N), x1, x2, distance.astype(x1.dtype), p
