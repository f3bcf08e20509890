"""The logarithm of the gamma function, its derivatives, and the zeta function of Hurwitz that gives the higher ones."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import by_element, floor, formula, log, polynomial, some, tan, where
from tritorch.ops.pointwise.family import Binary, Floating, Pointwise, straddling
from tritorch.ops.pointwise.power import power
from tritorch.ops.promotion import doubled, floating, without_halves
from tritorch.runtime.language import libdevice

# B_2, B_4, ... over 2 * 1, 4 * 3, ...: Stirling's series of the logarithm of gamma [DLMF 5.11.1].
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def lgamma_on_host(x):
    """log |gamma|: Stirling's series from 8 on, below it by the recurrence, below 1/2 by the reflection."""
    wide = x.astype(np.float64)
    mirrored = wide < 0.5
    size = np.where(mirrored, 1 - wide, wide)
    product, low = np.ones_like(size), size < 8
    shifted = np.where(low, size + 8, size)
    for k in range(8):
        product *= np.where(low, size + k, 1)
    found = (shifted - 0.5) * np.log(shifted) - shifted + 0.9189385332046728 - np.log(product)
    found += polynomial(1 / (shifted * shifted), STIRLING) / shifted
    found = np.where(size == np.inf, size, found)
    part = np.where(mirrored, wide - np.rint(wide), 0.5)
    reflected = np.log(np.pi / np.abs(np.sin(np.pi * part))) - found
    found = np.where(mirrored, np.where(np.isinf(wide), np.inf, reflected), found)
    return found.astype(x.dtype)


def _lgamma(x):
    if (x <= 0 and x % 1 == 0) or x > 2.5e305:  # where math.lgamma raises
        return math.inf
    return math.lgamma(x)


@formula(host=lgamma_on_host)
def lgamma(x):
    return libdevice.lgamma(x)


@formula
def digamma(x):
    """The recurrence up to 10, then the asymptotic series [DLMF 5.5.2, 5.11.2]; below 0 the reflection [DLMF 5.5.4]."""
    whole = x == floor(x)
    negative = x < 0
    size = where(negative, 1 - x, where(x == 0, 1, x))
    low = size < 10
    steps = where(low, size, 1e15)
    # Ten terms, two by two: 1 / s + 1 / (s + 9), ...
    ends = steps * (steps + 9)
    terms = 1 / ends + 1 / (ends + 8) + 1 / (ends + 14) + 1 / (ends + 18) + 1 / (ends + 20)
    below = where(low, (steps + steps + 9) * terms, 0)
    high = where(low, size + 10, size)
    squared = 1 / (high * high)
    series = squared * polynomial(squared, (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12))
    found = log(high) - 0.5 / high - series - below
    part = where(negative & (whole == 0), x - floor(x + 0.5), 0.25)
    reflected = found - 3.141592653589793 / tan(3.141592653589793 * part)
    return where(x == 0, -1 / x, where(negative, where(whole, float("nan"), reflected), found))


class Lgamma(Floating):
    """log |gamma(input)|."""

    exports = ("lgamma", "Tensor.lgamma", "special.gammaln")
    reference = staticmethod(lambda x: by_element(_lgamma, x))
    quick = staticmethod(lgamma_on_host)
    value = lgamma

    @formula
    def slope(input):
        return digamma(input)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(0.1, 12, *shape),)
        yield (draw.uniform(-3.8, -3.2, 6, 4).T,)


class Digamma(Floating):
    """The derivative of log gamma; -inf at 0, NaN at negative integers."""

    exports = ("digamma", "Tensor.digamma", "special.digamma", "special.psi")
    saves = ("input",)
    value = digamma
    reference = staticmethod(digamma.fn)
    samples = staticmethod(Lgamma.samples)

    def backward(self, grad):
        """The gradient times the second derivative of log gamma."""
        return (grad * Polygamma.apply(1, 1.0, self.inputs[0]),)


@formula
def _nested(x, k, squared, coefficient, found):
    return coefficient + (x + k) * (x + k + 1) * squared * found


@formula
def _euler_maclaurin(x, at):
    """What follows a sum cut off before the term of `at`, over that: 1 / 2 + a series of B_2 / 2!, B_4 / 4!, ..."""
    squared = 1 / (at * at)
    found = _nested(x, 21, squared, 77683 / 14101100039391805440000, -236364091 / 1693824136731743669452800000)
    found = _nested(x, 19, squared, -174611 / 802857662698291200000, found)
    found = _nested(x, 17, squared, 43867 / 5109094217170944000, found)
    found = _nested(x, 15, squared, -3617 / 10670622842880000, found)
    found = _nested(x, 13, squared, 1 / 74724249600, found)
    found = _nested(x, 11, squared, -691 / 1307674368000, found)
    found = _nested(x, 9, squared, 1 / 47900160, found)
    found = _nested(x, 7, squared, -1 / 1209600, found)
    found = _nested(x, 5, squared, 1 / 30240, found)
    found = _nested(x, 3, squared, -1 / 720, found)
    return 0.5 + x / at * _nested(x, 1, squared, 1 / 12, found)


@formula
def zeta(x, q):
    """sum over k >= 0 of (q + k)^-x: nine terms or more, up to 9, then the Euler-Maclaurin formula [DLMF 25.11.28]."""
    pole = (q <= 0) & (q == floor(q))
    # Far below 0 the sum is too long to be taken.
    undefined = (x < 1) | ((q <= 0) & (x != floor(x))) | ((q < -8388608) & (pole == 0))
    at = where(pole | undefined, 10.0, q)
    total = at * 0
    for _ in range(9):
        total = total + power(at, -x)
        at = at + 1
    going = some(at <= 9)
    while going:
        low = at <= 9
        total = total + where(low, power(at, -x), 0)
        at = where(low, at + 1, at)
        going = some(at <= 9)
    term = power(at, -x)
    rest = where(term == 0, 0, term * _euler_maclaurin(where(term == 0, 2, x), at))
    total = total + power(at, 1 - x) / where(x == 1, 1, x - 1) + rest
    found = where(undefined, float("nan"), total)
    return where(x < 1, float("nan"), where(pole | (x == 1), float("inf"), found))


class Zeta(Binary):
    """The zeta function of Hurwitz: the sum over k >= 0 of (other + k)^-input."""

    op_name = "special_zeta"
    exports = ("special.zeta",)
    types = staticmethod(doubled(without_halves("zeta_cpu")))
    value = zeta
    reference = staticmethod(zeta.fn)
    backward = Op.backward

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield draw.uniform(1.1, 9, *shape).astype(kind), draw.uniform(0.1, 15, *shape).astype(kind)
        yield draw.uniform(1.1, 9, 5, 1).astype(kind), 2.5
        yield 3, np.asarray([-2.5, -2, 0, 0.5, 1e30, np.nan, np.inf, -np.inf], kind)
        yield np.asarray([1, 0.5, 2.5, 1e30, np.nan], kind), -0.5


class Polygamma(Pointwise):
    """The derivative of order `order` + 1 of log gamma, (-1)^(order + 1) order! zeta(order + 1, input)."""

    arguments = ("order", "factor", "input")
    types = staticmethod(doubled(floating))
    saves = ("order", "factor", "input")

    @formula
    def value(order, factor, x):
        return factor * zeta(order + 1, x)

    reference = staticmethod(value.fn)

    def backward(self, grad):
        """The gradient times the next derivative."""
        order, factor, x = self.inputs
        return None, None, grad * Polygamma.apply(order + 1, -factor * (order + 1), x)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield 1, 1.0, draw.uniform(0.3, 12, *shape)
        yield 2, -2.0, draw.uniform(-3.7, -3.3, 6, 4).T
        yield 4, -24.0, draw.uniform(0.3, 3, 9)[::-2]
