"""The regularised incomplete gamma functions: a series below, a continued fraction above, normal where a is large."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import absolute, exp, formula, log, log1p, polynomial, some, sqrt, where
from tritorch.ops.pointwise.family import straddling
from tritorch.ops.pointwise.selection import Extreme
from tritorch.ops.promotion import doubled, floating_only
from tritorch.ops.special.error_functions import erfc
from tritorch.ops.special.gamma import lgamma


@formula
def _stirling_density(a, x):
    """x^a exp(-x) / gamma(a + 1) for large a by Stirling's series, where large logarithms need not cancel."""
    step = (x - a) / a
    series = polynomial(1 / (a * a), (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156))
    return exp(a * (log1p(step) - step) - series / a) / sqrt(6.283185307179586 * a)


@formula
def _density(a, x):
    """x^a exp(-x) / gamma(a + 1): what the series and the fraction are multiplied by."""
    large = a > 10
    low = where(large, 1, a)
    below = exp(low * log(where(large, 1, x)) - where(large, 1, x) - lgamma(low + 1))
    return where(large, _stirling_density(where(large, a, 10), where(large, x, 10)), below)


@formula
def _rate(a, x):
    """x^(a - 1) exp(-x) / gamma(a): the derivative of the lower function by x."""
    large = a > 11
    low = where(large, 1, a)
    below = exp((low - 1) * log(where(large, 1, x)) - where(large, 1, x) - lgamma(low))
    return where(large, _stirling_density(where(large, a - 1, 10), where(large, x, 10)), below)


@formula
def _series(a, x):
    """1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...: the lower function over the density [DLMF 8.11.4]."""
    term = a * 0 + 1
    total, at = term, a
    going = some(term > total * 1e-17)
    while going:
        at = at + 1
        term = term * x / at
        total = total + term
        going = some(term > total * 1e-17)
    return total


@formula
def _fraction(a, x):
    """The continued fraction [DLMF 8.9.2] by the recurrence of Lentz: the upper function over a times the density."""
    b = x + 1 - a
    c = a * 0 + 1e300
    d = 1 / b
    found = d
    k = a * 0
    going = some(k == 0)
    while going:
        k = k + 1
        numerator = k * (a - k)
        b = b + 2
        d = numerator * d + b
        d = 1 / where(absolute(d) < 1e-300, 1e-300, d)
        c = b + numerator / c
        c = where(absolute(c) < 1e-300, 1e-300, c)
        change = c * d
        found = found * change
        going = some((absolute(change - 1) > 1e-14) & (k < 9999))
    return found


@formula
def _normal(a, x):
    """The upper function for large a, uniformly in x [DLMF 8.12.4], with one term of the correction."""
    step = (x - a) / a
    bound = where(step > 1, 1, where(step < -0.5, -0.5, step))  # beyond, the function is 0 or 1
    size = sqrt(2 * (bound - log1p(bound)))
    eta = where(bound < 0, -size, size)
    correction = polynomial(eta, (-1 / 3, 1 / 12, -2 / 135, 1 / 864, 1 / 2835, -139 / 777600, 1 / 25515))
    return 0.5 * erfc(eta * sqrt(0.5 * a)) + exp(-0.5 * a * eta * eta) * correction / sqrt(6.283185307179586 * a)


@formula
def incomplete_gamma(a, x, upper):
    """The lower function, or with `upper` the upper one; their sum is 1."""
    usual = (a > 0) & (x > 0) & (a < float("inf")) & (x < float("inf"))
    large = usual & (a > 1e5)
    above = usual & (x >= a + 1) & (large == 0)
    below = usual & (x < a + 1) & (large == 0)
    density = _density(where(usual, a, 1), where(usual, x, 1))
    lower = density * _series(where(below, a, 1), where(below, x, 0))
    tail = density * a * _fraction(where(above, a, 1), where(above, x, 10))
    normal = _normal(where(large, a, 1e6), where(large, x, 1e6))
    from_tail = above | large
    tail = where(large, normal, tail)
    # At the edges: 0 or 1 where one of them outgrows the other, NaN where neither does.
    nan = a != a
    zero = ((x == 0) & ((a > 0) | nan)) | ((a == float("inf")) & (x < float("inf")) & (x >= 0))
    one = ((x > 0) & (a == 0)) | ((x == float("inf")) & (((a < float("inf")) & (a >= 0)) | nan))
    if upper:
        found = where(from_tail, tail, 1 - lower)
        edge = where(zero, 1.0, 0.0)
    else:
        found = where(from_tail, 1 - tail, lower)
        edge = where(one, 1.0, 0.0)
    return where(usual, found, where(zero | one, edge, float("nan")))


class IncompleteGamma(Extreme, abstract=True):
    """A function of two tensors, with a gradient by the second only, as in PyTorch."""

    def backward(self, grad):
        """By the second only."""
        return None, super().backward(grad)[1]

    @staticmethod
    def differentiable_at(a, x):
        """Away from the edges."""
        return bool(np.all((a > 0) & (x > 0) & np.isfinite(a + x)))

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.uniform(0.2, 30, *shape), draw.uniform(0.2, 30, *shape)
        yield draw.uniform(0.2, 9, 5, 1), draw.uniform(0.2, 9, 3)
        yield draw.uniform(80, 120, 6, 4).T, draw.uniform(80, 120, 4, 6)
        kind = np.promote_types(draw.dtype, np.float32)
        edges = [0, 1, 0, np.inf, 1, -1, 2e5, np.inf], [1, 0, 0, 1, np.inf, 1, 2.001e5, np.inf]
        yield tuple(np.asarray(each, kind) for each in edges)


class Igamma(IncompleteGamma):
    """The lower incomplete gamma function over gamma: the integral from 0 to other of t^(input - 1) exp(-t)."""

    types = staticmethod(doubled(floating_only("igamma_cpu")))

    @formula
    def value(a, x):
        return incomplete_gamma(a, x, False)

    reference = staticmethod(value.fn)

    @formula
    def gradient_other(grad, input, other):
        return grad * _rate(input, other)


class Igammac(IncompleteGamma):
    """The upper incomplete gamma function over gamma: the integral from other on of t^(input - 1) exp(-t)."""

    types = staticmethod(doubled(floating_only("igammac_cpu")))

    @formula
    def value(a, x):
        return incomplete_gamma(a, x, True)

    reference = staticmethod(value.fn)

    @formula
    def gradient_other(grad, input, other):
        return -grad * _rate(input, other)
