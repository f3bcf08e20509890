"""The error function's relatives and the normal distribution: erfc, erfcx, erfinv, ndtr, ndtri, log_ndtr."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.formula import absolute, by_element, exp, formula, log, log1p, minimum, polynomial, sqrt, where
from tritorch.ops.pointwise.exponential import Inner
from tritorch.ops.pointwise.family import Floating, straddling
from tritorch.ops.promotion import without_halves
from tritorch.runtime.language import libdevice


@formula
def _erfcx_above(t):
    """(1 + 2 x) erfcx(x) for x from 0, of t = (x - 3.75) / (x + 3.75) [Shepherd, Laframboise 1981]; interpolated."""
    return polynomial(t, (
        1.2375126308378275, -0.14024059858554697, 0.00358541548546443, 0.0822767384901452, -0.1088039301417489,
        0.09230432116037758, -0.058693398589636056, 0.028362277418955112, -0.009746579558036527,
        0.001755625852903947, 0.00029371366563407176, -0.00029015408057581017, 5.164909873430308e-05,
        2.238423924489521e-05, -1.1444145853984275e-05, -9.73560046415278e-07, 1.7516370327390368e-06,
        -5.7218069534303634e-08, -2.586678576369894e-07, 2.3263400872385844e-08, 3.8674902302877246e-08,
        -3.744169285377933e-09, -5.173825975259158e-09, 3.111366836804549e-10, 4.251199337536752e-10,
    ))  # fmt: skip


@formula
def erfcx(x):
    """exp(x^2) erfc(x), which does not vanish where erfc does."""
    size = absolute(x)
    above = _erfcx_above(1 - 7.5 / (size + 3.75)) / (2 * size + 1)
    return where(x < 0, 2 * exp(where(x < 0, x * x, 0)) - above, above)


def _erfc_on_host(x):
    wide = x.astype(np.float64)
    size = np.abs(wide)
    tail = np.exp(-size * size) * erfcx.fn(size)
    return np.where(wide < 0, 2 - tail, tail).astype(x.dtype)


@formula(host=_erfc_on_host)
def erfc(x):
    return libdevice.erfc(x)


class Erfc(Floating):
    """1 - erf(input), precise where that is small."""

    exports = ("erfc", "Tensor.erfc", "special.erfc")
    reference = staticmethod(lambda x: by_element(math.erfc, x))
    quick = staticmethod(_erfc_on_host)
    value = erfc

    @formula
    def slope(input):
        return -1.1283791670955126 * exp(-input * input)


class Erfcx(Floating):
    """exp(input^2) erfc(input), which does not vanish where erfc does."""

    exports = ("special.erfcx",)
    types = staticmethod(without_halves("erfcx_cpu"))
    value = erfcx
    reference = staticmethod(erfcx.fn)

    @formula
    def slope(input, output):
        return 2 * input * output - 1.1283791670955126

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield (draw.uniform(-3, 9, *shape).astype(kind),)


@formula
def normal_quantile(distance, tail):
    """The quantile of the normal distribution, of p - 1/2 and min(p, 1 - p): Wichura's AS 241 [1988]."""
    central = absolute(distance) <= 0.425
    r = 0.180625 - where(central, distance * distance, 0)
    inner = where(central, distance, 0) * polynomial(r, (
        3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
        45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727,
    )) / polynomial(r, (
        1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077, 21213.794301586595867,
        39307.895800092710610, 28729.085735721942674, 5226.4952788528545610,
    ))  # fmt: skip
    r = sqrt(-log(where(central, 0.25, tail)))
    s = where(r > 5, 0, r - 1.6)
    near = polynomial(s, (
        1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
        1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833, 0.000774545014278341407640,
    )) / polynomial(s, (
        1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550, 0.148103976427480074590,
        0.0151986665636164571966, 0.000547593808499534494600, 1.05075007164441684324e-9,
    ))  # fmt: skip
    s = where(r > 5, where(r < 40, r - 5, 0), 0)
    far = polynomial(s, (
        6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 0.296560571828504891230,
        0.0265321895265761230930, 0.00124266094738807843860, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
    )) / polynomial(s, (
        1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525, 7.86869131145613259100e-4,
        1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
    ))  # fmt: skip
    outer = where(r > 5, where(r < 40, far, float("inf")), near)
    # NaN, and what lies outside of 0 and 1, has made r NaN.
    outer = where(r == r, outer, r)
    return where(central, inner, where(distance < 0, -outer, outer))


class Erfinv(Inner):
    """The number whose error function is input; NaN outside -1 and 1."""

    exports = ("erfinv", "Tensor.erfinv", "special.erfinv")
    autocast = FLOAT32_ON_GPUS

    @formula
    def value(x):
        return normal_quantile(x * 0.5, 0.5 - 0.5 * absolute(x)) * 0.7071067811865476

    reference = staticmethod(value.fn)

    @formula
    def slope(output):
        return 0.886226925452758 * exp(output * output)


class Ndtr(Floating):
    """The normal distribution function."""

    exports = ("special.ndtr",)
    reference = staticmethod(lambda x: 0.5 * by_element(math.erfc, x * -0.7071067811865476))

    @formula
    def value(x):
        return 0.5 * erfc(x * -0.7071067811865476)

    quick = staticmethod(value.fn)

    @formula
    def slope(input):
        return 0.3989422804014327 * exp(-0.5 * input * input)


class Ndtri(Floating):
    """The quantile of the normal distribution; infinite at 0 and 1, NaN outside."""

    exports = ("special.ndtri",)
    types = staticmethod(without_halves("ndtri_cpu"))

    @formula
    def value(x):
        return normal_quantile(x - 0.5, minimum(x, 1 - x))

    reference = staticmethod(value.fn)

    @formula
    def slope(output):
        return 2.5066282746310002 * exp(0.5 * output * output)

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield (draw.uniform(0.02, 0.98, *shape).astype(kind),)
        yield (draw.uniform(0.001, 0.02, 6, 4).astype(kind).T,)


class LogNdtr(Floating):
    """The logarithm of the normal distribution function, precise where that vanishes."""

    exports = ("special.log_ndtr",)
    types = staticmethod(without_halves("log_ndtr_cpu"))

    @formula
    def value(x):
        tail = log(0.5 * erfcx(where(x < -1, -x, 1) * 0.7071067811865476)) - 0.5 * x * x
        return where(x < -1, tail, log1p(-0.5 * erfc(where(x < -1, 0, x) * 0.7071067811865476)))

    reference = staticmethod(value.fn)

    @formula
    def slope(input):
        return 0.7978845608028654 / erfcx(input * -0.7071067811865476)

    @staticmethod
    def samples(draw):
        kind = np.promote_types(draw.dtype, np.float32)
        for shape in straddling():
            yield (draw.uniform(-9, 4, *shape).astype(kind),)
