"""Modified Bessel functions of order 0 and 1, plain and scaled.

I and K as polynomials of x below a bound, and of 1 / x above it, where they are sqrt(x) exp(+-x) times something smooth
[DLMF 10.25, 10.40]. The polynomials are Chebyshev interpolants in 45 digits, rewritten in powers and cut below 2e-17.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import absolute, divide, exp, formula, log, polynomial, rsqrt, where
from tritorch.ops.pointwise.family import Floating, Unary, straddling
from tritorch.ops.promotion import without_halves


@formula
def _i0e_below(t):
    """exp(-x) I0(x) for x up to 8, of t = x / 4 - 1."""
    return polynomial(t, (
        0.2070019212239867, -0.11300432688620536, 0.09451562853995103, -0.08904344136077755, 0.08734341617552313,
        -0.08496338091541732, 0.07927522590716347, -0.06954119563168235, 0.05677703201991695, -0.0429859492954222,
        0.030177912022978357, -0.019682655791721182, 0.011960077907026221, -0.006792394790940051,
        0.003617126448897043, -0.0018119030567637056, 0.0008563152748272306, -0.00038286526498299526,
        0.00016240542162878106, -6.556805964401791e-05, 2.520232727107692e-05, -9.183742586936203e-06,
        3.2293390826404927e-06, -1.142045323881917e-06, 3.675842926555429e-07, -8.591406444264668e-08,
        2.6265363151970112e-08, -1.6316042856792757e-08, 4.470516727511741e-09,
    ))  # fmt: skip


@formula
def _i0e_above(t):
    """sqrt(x) exp(-x) I0(x) for x from 8, of t = 16 / x - 1."""
    return polynomial(t, (
        0.4021765094450081, 0.0033605519836677504, 0.00013621607438984735, 1.1143033800708978e-05,
        1.4838476651250266e-06, 2.973596046562712e-07, 8.872034383314144e-08, 3.932889375114634e-08,
        2.1566251453104354e-08, 7.534355843803342e-09, -6.8493381882867694e-09, -1.3326094405766387e-08,
        -5.0381064879032845e-09, 7.3359687108161536e-09, 6.560138746917057e-09, -3.1346276429240787e-09,
        -4.575553424534973e-09, 1.1050558794424347e-09, 2.1968921378829006e-09, -2.8033819978869995e-10,
        -6.633287112547084e-10, 3.629355229718733e-11, 9.36508689281819e-11,
    ))  # fmt: skip


@formula
def _i1e_below(t):
    """exp(-x) I1(x) / x for x up to 8, of t = x / 4 - 1."""
    return polynomial(t, (
        0.04468770987560883, -0.061124338029666284, 0.06805759990951268, -0.06848260620582691, 0.06376740371333643,
        -0.055280039226991644, 0.04467457262306667, -0.03367135552108536, 0.02368601693352639, -0.015571309243980052,
        0.009583962344356725, -0.005534567847563678, 0.003005761416447221, -0.00153887456203039,
        0.0007445158727006065, -0.0003411760289073331, 0.00014841259927108295, -6.142360299099794e-05,
        2.42486684188831e-05, -9.136543922789093e-06, 3.2758438130588964e-06, -1.1327072698408053e-06,
        3.9094375480236725e-07, -1.2424759932738304e-07, 2.987385645901576e-08, -8.984420960424589e-09,
        5.2131237878886215e-09, -1.41695079121077e-09,
    ))  # fmt: skip


@formula
def _i1e_above(t):
    """sqrt(x) exp(-x) I1(x) for x from 8, of t = 16 / x - 1."""
    return polynomial(t, (
        0.38939845902587233, -0.009749577193235635, -0.0002192357638317243, -1.5038547209501858e-05,
        -1.8349102358955385e-06, -3.4838534380376333e-07, -1.000109565963654e-07, -4.313196489977733e-08,
        -2.339250374801858e-08, -8.409182040442918e-09, 6.8401389977069586e-09, 1.3958551001385955e-08,
        5.59337010179061e-09, -7.44444147719727e-09, -6.983839624895866e-09, 3.086886736722725e-09,
        4.810597405089944e-09, -1.0594544160443166e-09, -2.297004161885201e-09, 2.6340771095136483e-10,
        6.917089294193807e-10, -3.365431853180176e-11, -9.752397204138194e-11,
    ))  # fmt: skip


@formula
def _k0_below(t):
    """K0(x) + log(x / 2) I0(x) for x up to 2, of t = x * x / 2 - 1."""
    return polynomial(t, (
        -0.30362077291575545, 0.3404973210133806, 0.07177701034240509, 0.005053392643196092, 0.0001828055582791554,
        4.054506619949891e-06, 6.093361894172114e-08, 6.623013272794453e-10, 5.452564662772586e-12,
        3.518631515854722e-14,
    ))  # fmt: skip


@formula
def _k0e_above(t):
    """sqrt(x) exp(x) K0(x) for x from 2, of t = 4 / x - 1."""
    return polynomial(t, (
        1.2185953385133905, -0.031071461824889898, 0.0030328918102753206, -0.0004797690567328844,
        9.95605474202942e-05, -2.473520542848972e-05, 7.002245645755651e-06, -2.1911673837417864e-06,
        7.427801232190096e-07, -2.689759865539584e-07, 1.02954317593912e-07, -4.1056738724915364e-08,
        1.7047535884249698e-08, -8.025205604904476e-09, 3.808399859919043e-09, -6.643878631843235e-10,
        4.757544705776374e-11, -1.2366923277096287e-09, 8.133913205464114e-10, 4.3927260002107633e-10,
        -3.119936129682105e-10, -1.7597528809195706e-10, 1.0926983537268735e-10,
    ))  # fmt: skip


@formula
def _k1_below(t):
    """x (K1(x) - log(x / 2) I1(x)) for x up to 2, of t = x * x / 2 - 1."""
    return polynomial(t, (
        0.8850882877295894, -0.3322409552403131, -0.2438385288677433, -0.02785423521977184, -0.001383168846618116,
        -3.891869064371633e-05, -7.081133691517408e-07, -9.032127501740678e-09, -8.533634168575142e-11,
        -6.214271617329577e-13,
    ))  # fmt: skip


@formula
def _k1e_above(t):
    """sqrt(x) exp(x) K1(x) for x from 2, of t = 4 / x - 1."""
    return polynomial(t, (
        1.363151890371342, 0.10334973775386565, -0.005566729880074588, 0.0007357241548718385,
        -0.00013959021956272223, 3.2843866502355955e-05, -8.961207387750025e-06, 2.7300301043527215e-06,
        -9.067087633371393e-07, 3.230567198853934e-07, -1.2203186351938403e-07, 4.815434679085478e-08,
        -1.9817577141591116e-08, 9.213894020289533e-09, -4.331939985658629e-09, 7.966242798504094e-10,
        -8.336227195991456e-11, 1.3615859404460648e-09, -8.908596710923906e-10, -4.77441121785095e-10,
        3.3867804167808003e-10, 1.9273808087540517e-10, -1.1931668393112158e-10,
    ))  # fmt: skip


@formula
def i0e(x):
    """exp(-|x|) I0(x)."""
    size = absolute(x)
    large = where(size > 8, size, 8)
    return where(size > 8, _i0e_above(16 / large - 1) * rsqrt(large), _i0e_below(where(size > 8, 8, size) * 0.25 - 1))


@formula
def i1e(x):
    """exp(-|x|) I1(x)."""
    size = absolute(x)
    large = where(size > 8, size, 8)
    above = _i1e_above(16 / large - 1) * rsqrt(large)
    return where(size > 8, where(x < 0, -above, above), x * _i1e_below(where(size > 8, 8, size) * 0.25 - 1))


@formula
def k0e(x):
    """exp(x) K0(x)."""
    small, large = where(x > 2, 2, x), where(x > 2, x, 2)
    below = _k0_below(0.5 * small * small - 1) - log(0.5 * small) * exp(small) * i0e(small)
    return where(x > 2, _k0e_above(4 / large - 1) * rsqrt(large), exp(small) * below)


@formula
def k1e(x):
    """exp(x) K1(x)."""
    small, large = where(x > 2, 2, x), where(x > 2, x, 2)
    below = divide(_k1_below(0.5 * small * small - 1), small) + log(0.5 * small) * exp(small) * i1e(small)
    below = where(x == 0, float("inf"), below)
    return where(x > 2, _k1e_above(4 / large - 1) * rsqrt(large), exp(small) * below)


class Ranged(Floating, abstract=True):
    """A function whose samples lie on both sides of the bound between its two forms."""

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(-9.5, 9.5, *shape),)
        yield (draw.uniform(-3, 3, 6, 4).T,)


class I0(Ranged):
    """The modified Bessel function of the first kind, of order 0."""

    op_name = "i0"
    exports = ("i0", "Tensor.i0", "special.i0")

    @formula
    def value(x):
        return exp(absolute(x)) * i0e(x)

    reference = staticmethod(value.fn)

    @formula
    def slope(input):
        return exp(absolute(input)) * i1e(input)


class I0e(Ranged):
    """exp(-|input|) times the modified Bessel function of the first kind, of order 0."""

    op_name = "i0e"
    exports = ("special.i0e",)
    value = i0e
    reference = staticmethod(i0e.fn)

    @formula
    def slope(input, output):
        return i1e(input) - where(input < 0, -output, where(input > 0, output, 0))


class I1(Ranged):
    """The modified Bessel function of the first kind, of order 1."""

    op_name = "i1"
    exports = ("special.i1",)

    @formula
    def value(x):
        return exp(absolute(x)) * i1e(x)

    reference = staticmethod(value.fn)

    @formula
    def slope(input, output):
        apart = where(input == 0, 1, input)
        return where(input == 0, 0.5, exp(absolute(input)) * i0e(input) - divide(output, apart))


class I1e(Ranged):
    """exp(-|input|) times the modified Bessel function of the first kind, of order 1."""

    op_name = "i1e"
    exports = ("special.i1e",)
    value = i1e
    reference = staticmethod(i1e.fn)

    @formula
    def slope(input, output):
        apart = where(input == 0, 1, input)
        signed = where(input < 0, -output, output)
        return where(input == 0, 0.5, i0e(input) - signed - divide(output, apart))


class ModifiedBessel(Ranged, abstract=True):
    """One of torch.special's names of these functions, which has no gradient and is not there for half types."""

    backward = Op.backward

    @staticmethod
    def samples(draw):
        for (sample,) in Ranged.samples(draw):
            yield (sample.astype(np.promote_types(draw.dtype, np.float32)),)


class ModifiedBesselI0(ModifiedBessel):
    """The modified Bessel function of the first kind, of order 0."""

    op_name = "special_modified_bessel_i0"
    exports = ("special.modified_bessel_i0",)
    types = staticmethod(without_halves("modified_bessel_i0_cpu"))
    value = I0.value
    reference = staticmethod(I0.reference)


class ModifiedBesselI1(ModifiedBessel):
    """The modified Bessel function of the first kind, of order 1."""

    op_name = "special_modified_bessel_i1"
    exports = ("special.modified_bessel_i1",)
    types = staticmethod(without_halves("modified_bessel_i1_cpu"))
    value = I1.value
    reference = staticmethod(I1.reference)


class SecondKind(Unary, abstract=True):
    """A function of positive numbers: infinite at 0, NaN below."""

    backward = Op.backward

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(0.01, 20, *shape).astype(np.promote_types(draw.dtype, np.float32)),)
        yield (np.asarray([[0, 1e-30, 2, 2.0001], [np.inf, np.nan, -1, 700]], np.float32).T,)


class ModifiedBesselK0(SecondKind):
    """The modified Bessel function of the second kind, of order 0."""

    op_name = "special_modified_bessel_k0"
    exports = ("special.modified_bessel_k0",)
    types = staticmethod(without_halves("modified_bessel_k0_cpu"))

    @formula
    def value(x):
        return exp(-x) * k0e(x)

    reference = staticmethod(value.fn)


class ModifiedBesselK1(SecondKind):
    """The modified Bessel function of the second kind, of order 1."""

    op_name = "special_modified_bessel_k1"
    exports = ("special.modified_bessel_k1",)
    types = staticmethod(without_halves("modified_bessel_k1_cpu"))

    @formula
    def value(x):
        return exp(-x) * k1e(x)

    reference = staticmethod(value.fn)


class ScaledModifiedBesselK0(SecondKind):
    """exp(input) times the modified Bessel function of the second kind, of order 0."""

    op_name = "special_scaled_modified_bessel_k0"
    exports = ("special.scaled_modified_bessel_k0",)
    types = staticmethod(without_halves("scaled_modified_bessel_k0_cpu"))
    value = k0e
    reference = staticmethod(k0e.fn)


class ScaledModifiedBesselK1(SecondKind):
    """exp(input) times the modified Bessel function of the second kind, of order 1."""

    op_name = "special_scaled_modified_bessel_k1"
    exports = ("special.scaled_modified_bessel_k1",)
    types = staticmethod(without_halves("scaled_modified_bessel_k1_cpu"))
    value = k1e
    reference = staticmethod(k1e.fn)
