"""Bessel functions of order 0 and 1: polynomials below a bound, phase and amplitude above it.

Above, J and Y are sqrt(2 / (pi x)) times (P cos - Q sin) and (P sin + Q cos) of x - (2 order + 1) pi / 4 [DLMF 10.17].
The polynomials are Chebyshev interpolants in 45 digits, rewritten in powers and cut below 2e-17. All is computed in
float64: the phase of a large argument needs the digits.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import absolute, cos, formula, log, polynomial, rsqrt, sin, where
from tritorch.ops.pointwise.family import Unary, straddling
from tritorch.ops.promotion import doubled, without_halves


@formula
def _j0_below(t):
    """J0(x) for x up to 5, of t = 2 x^2 / 25 - 1."""
    return polynomial(t, (
        -0.3847445098140454, -0.21650541389819178, 0.7094160035335417, -0.36018076595038634, 0.08539182354259674,
        -0.012035214154329392, 0.0011343635095863093, -7.683433602057727e-05, 3.9285088877689495e-06,
        -1.5718428565139043e-07, 5.059294185929358e-09, -1.3389957576813873e-10, 2.969447332958378e-12,
        -5.5870798364785105e-14,
    ))  # fmt: skip


@formula
def _j1_below(t):
    """J1(x) / x for x up to 5, of t = 2 x^2 / 25 - 1."""
    return polynomial(t, (
        0.03464086622371068, -0.22701312113073338, 0.17288676765618544, -0.05465076706726198, 0.009628171323463516,
        -0.0010889889692024138, 8.605445634303652e-05, -5.02849137748372e-06, 2.263453713594777e-07,
        -8.094869431415498e-09, 2.356632323536745e-10, -5.7018453078703506e-12, 1.1621889632590412e-13,
    ))  # fmt: skip


@formula
def _y0_below(t):
    """Y0(x) - 2 / pi log(x) J0(x) for x up to 5, of t = 2 x^2 / 25 - 1."""
    return polynomial(t, (
        0.4837248578102995, -0.4326558222855125, -0.47057636552972876, 0.38851639956570944, -0.11151682184328655,
        0.01763534538933876, -0.0018028096665503853, 0.0001299462909208217, -6.985504374077061e-06,
        2.9142206889637085e-07, -9.7209552080454e-09, 2.6539975248625817e-10, -6.04993694723965e-12,
        1.166603953074689e-13,
    ))  # fmt: skip


@formula
def _y1_below(t):
    """(Y1(x) - 2 / pi (log(x) J1(x) - 1 / x)) / x for x up to 5, of t = 2 x^2 / 25 - 1."""
    return polynomial(t, (
        0.13974939033568806, 0.09108650838448443, -0.16312020358118715, 0.06634695354779145, -0.013433433740818165,
        0.0016688031328605528, -0.00014141835794484212, 8.733098315276175e-06, -4.1137780795312436e-07,
        1.528888444673751e-08, -4.6013010745475043e-10, 1.1462847037754036e-11, -2.397782341669183e-13,
    ))  # fmt: skip


@formula
def _p0(t):
    """P of order 0 for x from 5, of t = 50 / x^2 - 1."""
    return polynomial(t, (
        0.9986347659091991, -0.0013274931272004003, 3.491730581077085e-05, -2.459963321484891e-06,
        2.9759010201737064e-07, -5.08643230838394e-08, 1.1058301818592053e-08, -2.8705436149232575e-09,
        8.562292591841693e-10, -2.851794579729694e-10, 9.7250551457765e-11, -3.538662922896775e-11,
        2.4823644443773408e-11, -1.3637307914439566e-11, -3.743592980512026e-12, 3.415311542572876e-12,
        3.6143863492486003e-12, -2.235391154912044e-12,
    ))  # fmt: skip


@formula
def _q0(t):
    """x Q of order 0 for x from 5, of t = 50 / x^2 - 1."""
    return polynomial(t, (
        -0.12361496352611864, 0.0013142139729102479, -6.338715442509227e-05, 6.23911316965569e-06,
        -9.409875326303781e-07, 1.8870297801035574e-07, -4.639780222830044e-08, 1.3296573119800334e-08,
        -4.2956720406289e-09, 1.5282843631161895e-09, -5.807076541759016e-10, 2.340473361283212e-10,
        -1.2217552880455313e-10, 6.52587672974458e-11, 6.9845644408032085e-12, -1.605647555780834e-11,
        -3.7236674347799015e-11, 2.976103922945406e-11, 1.7652067282348902e-11, -1.435739819325575e-11,
        -6.032028747865082e-12, 4.3654360757736204e-12,
    ))  # fmt: skip


@formula
def _p1(t):
    """P of order 1 for x from 5, of t = 50 / x^2 - 1."""
    return polynomial(t, (
        1.0022906462560661, 0.002241463213917191, -4.5782806529390985e-05, 2.9786211051441743e-06,
        -3.466719151341159e-07, 5.7916678422140156e-08, -1.2402701962004368e-08, 3.1849577586739448e-09,
        -9.422147494996673e-10, 3.117737074105936e-10, -1.0595089749231098e-10, 3.8451893184433864e-11,
        -2.6622329676450118e-11, 1.4551592853265448e-11, 3.919356832784674e-12, -3.5906738400843512e-12,
        -3.837516448159508e-12, 2.368522528186767e-12,
    ))  # fmt: skip


@formula
def _q1(t):
    """x Q of order 1 for x from 5, of t = 50 / x^2 - 1."""
    return polynomial(t, (
        0.3730474331740802, -0.001864849621841221, 7.898094177943239e-05, -7.369927954545263e-06,
        1.0798853942089243e-06, -2.1266726345215035e-07, 5.1641422798019427e-08, -1.4665671158924864e-08,
        4.704141826870427e-09, -1.6563207992528956e-09, 6.296749654365242e-10, -2.7862990677601125e-10,
        1.3104614308463733e-10, -1.6919085465641948e-11, -6.892050473631465e-12, -5.161592743085568e-11,
        3.9223397372601566e-11, 2.2920253872927307e-11, -1.8540816446843627e-11, -9.024649722544323e-12,
        6.349391905539588e-12,
    ))  # fmt: skip


@formula
def j0(x):
    """J of order 0, which is even."""
    size = absolute(x)
    small, large = where(size > 5, 5, size), where(size > 5, size, 5)
    t, sine, cosine = 50 / (large * large) - 1, sin(large), cos(large)
    above = _p0(t) * (cosine + sine) - _q0(t) / large * (sine - cosine)
    return where(size > 5, above * rsqrt(3.141592653589793 * large), _j0_below(0.08 * small * small - 1))


@formula
def j1(x):
    """J of order 1, which is odd."""
    size = absolute(x)
    small, large = where(size > 5, 5, size), where(size > 5, size, 5)
    t, sine, cosine = 50 / (large * large) - 1, sin(large), cos(large)
    above = (_p1(t) * (sine - cosine) + _q1(t) / large * (sine + cosine)) * rsqrt(3.141592653589793 * large)
    return where(size > 5, where(x < 0, -above, above), x * _j1_below(0.08 * small * small - 1))


@formula
def y0(x):
    """Y of order 0: -inf at 0, NaN below."""
    small, large = where(x > 5, 5, x), where(x > 5, x, 5)
    t, sine, cosine = 50 / (large * large) - 1, sin(large), cos(large)
    above = _p0(t) * (sine - cosine) + _q0(t) / large * (cosine + sine)
    below = _y0_below(0.08 * small * small - 1) + 0.6366197723675814 * log(small) * j0(small)
    return where(x > 5, above * rsqrt(3.141592653589793 * large), below)


@formula
def y1(x):
    """Y of order 1: -inf at 0, NaN below."""
    zero = x == 0
    small, large = where(x > 5, 5, where(zero, 1, x)), where(x > 5, x, 5)
    t, sine, cosine = 50 / (large * large) - 1, sin(large), cos(large)
    above = (_q1(t) / large * (sine - cosine) - _p1(t) * (sine + cosine)) * rsqrt(3.141592653589793 * large)
    singular = 0.6366197723675814 * (log(small) * j1(small) - 1 / small)
    below = singular + small * _y1_below(0.08 * small * small - 1)
    return where(x > 5, above, where(zero, float("-inf"), below))


class Bessel(Unary, abstract=True):
    """A function without a gradient, as in PyTorch; samples lie on both sides of the bound."""

    backward = Op.backward

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield (draw.uniform(-20, 20, *shape).astype(kind),)
        yield (np.asarray([[0, 1e-30, 5, 5.0001], [-4, np.nan, -100, 100]], kind).T,)


class BesselJ0(Bessel):
    """The Bessel function of the first kind, of order 0."""

    op_name = "special_bessel_j0"
    exports = ("special.bessel_j0",)
    types = staticmethod(doubled(without_halves("bessel_j0_cpu")))
    value = j0
    reference = staticmethod(j0.fn)


class BesselJ1(Bessel):
    """The Bessel function of the first kind, of order 1."""

    op_name = "special_bessel_j1"
    exports = ("special.bessel_j1",)
    types = staticmethod(doubled(without_halves("bessel_j1_cpu")))
    value = j1
    reference = staticmethod(j1.fn)


class BesselY0(Bessel):
    """The Bessel function of the second kind, of order 0: -inf at 0, NaN below."""

    op_name = "special_bessel_y0"
    exports = ("special.bessel_y0",)
    types = staticmethod(doubled(without_halves("bessel_y0_cpu")))
    value = y0
    reference = staticmethod(y0.fn)


class BesselY1(Bessel):
    """The Bessel function of the second kind, of order 1: -inf at 0, NaN below."""

    op_name = "special_bessel_y1"
    exports = ("special.bessel_y1",)
    types = staticmethod(doubled(without_halves("bessel_y1_cpu")))
    value = y1
    reference = staticmethod(y1.fn)


class SphericalBesselJ0(Bessel):
    """sin(input) / input, 1 at 0 and 0 at infinity: the spherical Bessel function of order 0."""

    op_name = "special_spherical_bessel_j0"
    exports = ("special.spherical_bessel_j0",)
    types = staticmethod(doubled(without_halves("spherical_bessel_j0_cpu")))

    @formula
    def value(x):
        infinite = absolute(x) == float("inf")
        apart = where(infinite | (x == 0), 1, x)
        return where(infinite, 0, where(x == 0, 1, sin(apart) / apart))

    reference = staticmethod(value.fn)
