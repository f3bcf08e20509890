"""Orthogonal polynomials by their recurrences in three terms [DLMF 18.9], in float64.

A family is its polynomial of degree 1 and the step from two neighbours to the next: two formulas. The degree is a
number or a tensor, whose fraction is dropped; a polynomial of negative degree is 0, and one of a degree above 65536, to
which the recurrence would take too long, NaN.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import floor, formula, some, where
from tritorch.ops.pointwise.family import Binary, straddling
from tritorch.ops.promotion import doubled, without_halves


def polynomial_by(first, step):
    """The formula of a family whose degree 1 is first(x) and degree k step(k, x, degree k - 1, degree k - 2)."""

    @formula
    def value(x, n):
        degree = floor(where((n > 0) & (n <= 65536), n, 0))
        before, found = x * 0 + 1, first(x) + degree * 0
        found = where(degree == 0, 1, found)
        k = degree * 0 + 2
        going = some(k <= degree)
        while going:
            following = step(k, x, found, before)
            before, found = found, where(k <= degree, following, found)
            k = k + 1
            going = some(k <= degree)
        return where(n <= -1, 0, where(n > 65536, float("nan"), found))

    return value


class Orthogonal(Binary, abstract=True):
    """A family of polynomials of `x`, of degree `n`; no gradient, as in PyTorch."""

    arguments = ("x", "n")
    backward = Op.backward

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield draw.uniform(-1.2, 1.2, *shape).astype(kind), draw.integers(-1, 9, *shape).astype(kind)
        yield draw.uniform(-1, 1, 6, 4).astype(kind).T, 12
        yield 0.5, draw.integers(0, 9, 5)


@formula
def _twice(x):
    return 2 * x


@formula
def _same(x):
    return x


@formula
def _twice_less_one(x):
    return 2 * x - 1


@formula
def _twice_and_one(x):
    return 2 * x + 1


@formula
def _chebyshev(k, x, found, before):
    return 2 * x * found - before


@formula
def _four_less_two(x):
    return 4 * x - 2


@formula
def _four_less_three(x):
    return 4 * x - 3


@formula
def _four_less_one(x):
    return 4 * x - 1


@formula
def _shifted(k, x, found, before):
    return (4 * x - 2) * found - before


@formula
def _hermite(k, x, found, before):
    return 2 * (x * found - (k - 1) * before)


@formula
def _hermite_e(k, x, found, before):
    return x * found - (k - 1) * before


@formula
def _one_less(x):
    return 1 - x


@formula
def _laguerre(k, x, found, before):
    return ((2 * k - 1 - x) * found - (k - 1) * before) / k


@formula
def _legendre(k, x, found, before):
    return ((2 * k - 1) * x * found - (k - 1) * before) / k


class ChebyshevPolynomialT(Orthogonal):
    """The Chebyshev polynomial of the first kind: cos(n arccos(x))."""

    op_name = "special_chebyshev_polynomial_t"
    exports = ("special.chebyshev_polynomial_t",)
    types = staticmethod(doubled(without_halves("chebyshev_polynomial_t_cpu")))
    value = polynomial_by(_same, _chebyshev)
    reference = staticmethod(value.fn)


class ChebyshevPolynomialU(Orthogonal):
    """The Chebyshev polynomial of the second kind."""

    op_name = "special_chebyshev_polynomial_u"
    exports = ("special.chebyshev_polynomial_u",)
    types = staticmethod(doubled(without_halves("chebyshev_polynomial_u_cpu")))
    value = polynomial_by(_twice, _chebyshev)
    reference = staticmethod(value.fn)


class ChebyshevPolynomialV(Orthogonal):
    """The Chebyshev polynomial of the third kind."""

    op_name = "special_chebyshev_polynomial_v"
    exports = ("special.chebyshev_polynomial_v",)
    types = staticmethod(doubled(without_halves("chebyshev_polynomial_v_cpu")))
    value = polynomial_by(_twice_less_one, _chebyshev)
    reference = staticmethod(value.fn)


class ChebyshevPolynomialW(Orthogonal):
    """The Chebyshev polynomial of the fourth kind."""

    op_name = "special_chebyshev_polynomial_w"
    exports = ("special.chebyshev_polynomial_w",)
    types = staticmethod(doubled(without_halves("chebyshev_polynomial_w_cpu")))
    value = polynomial_by(_twice_and_one, _chebyshev)
    reference = staticmethod(value.fn)


class ShiftedChebyshevPolynomialT(Orthogonal):
    """The Chebyshev polynomial of the first kind, of 2 x - 1."""

    op_name = "special_shifted_chebyshev_polynomial_t"
    exports = ("special.shifted_chebyshev_polynomial_t",)
    types = staticmethod(doubled(without_halves("shifted_chebyshev_polynomial_t_cpu")))
    value = polynomial_by(_twice_less_one, _shifted)
    reference = staticmethod(value.fn)


class ShiftedChebyshevPolynomialU(Orthogonal):
    """The Chebyshev polynomial of the second kind, of 2 x - 1."""

    op_name = "special_shifted_chebyshev_polynomial_u"
    exports = ("special.shifted_chebyshev_polynomial_u",)
    types = staticmethod(doubled(without_halves("shifted_chebyshev_polynomial_u_cpu")))
    value = polynomial_by(_four_less_two, _shifted)
    reference = staticmethod(value.fn)


class ShiftedChebyshevPolynomialV(Orthogonal):
    """The Chebyshev polynomial of the third kind, of 2 x - 1."""

    op_name = "special_shifted_chebyshev_polynomial_v"
    exports = ("special.shifted_chebyshev_polynomial_v",)
    types = staticmethod(doubled(without_halves("shifted_chebyshev_polynomial_v_cpu")))
    value = polynomial_by(_four_less_three, _shifted)
    reference = staticmethod(value.fn)


class ShiftedChebyshevPolynomialW(Orthogonal):
    """The Chebyshev polynomial of the fourth kind, of 2 x - 1."""

    op_name = "special_shifted_chebyshev_polynomial_w"
    exports = ("special.shifted_chebyshev_polynomial_w",)
    types = staticmethod(doubled(without_halves("shifted_chebyshev_polynomial_w_cpu")))
    value = polynomial_by(_four_less_one, _shifted)
    reference = staticmethod(value.fn)


class HermitePolynomialH(Orthogonal):
    """The physicists' Hermite polynomial."""

    op_name = "special_hermite_polynomial_h"
    exports = ("special.hermite_polynomial_h",)
    types = staticmethod(doubled(without_halves("hermite_polynomial_h_cpu")))
    value = polynomial_by(_twice, _hermite)
    reference = staticmethod(value.fn)


class HermitePolynomialHe(Orthogonal):
    """The probabilists' Hermite polynomial."""

    op_name = "special_hermite_polynomial_he"
    exports = ("special.hermite_polynomial_he",)
    types = staticmethod(doubled(without_halves("hermite_polynomial_he_cpu")))
    value = polynomial_by(_same, _hermite_e)
    reference = staticmethod(value.fn)


class LaguerrePolynomialL(Orthogonal):
    """The Laguerre polynomial."""

    op_name = "special_laguerre_polynomial_l"
    exports = ("special.laguerre_polynomial_l",)
    types = staticmethod(doubled(without_halves("laguerre_polynomial_l_cpu")))
    value = polynomial_by(_one_less, _laguerre)
    reference = staticmethod(value.fn)


class LegendrePolynomialP(Orthogonal):
    """The Legendre polynomial."""

    op_name = "special_legendre_polynomial_p"
    exports = ("special.legendre_polynomial_p",)
    types = staticmethod(doubled(without_halves("legendre_polynomial_p_cpu")))
    value = polynomial_by(_same, _legendre)
    reference = staticmethod(value.fn)
