"""Angles and lengths: degrees, the inverse hyperbolic functions, sinc, hypot."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import cos, divide, formula, rsqrt, sin, where
from tritorch.ops.pointwise.exponential import Inner
from tritorch.ops.pointwise.family import Floating, Step, straddling
from tritorch.ops.pointwise.selection import Extreme
from tritorch.ops.promotion import floating, floating_only
from tritorch.runtime.language import libdevice


class Deg2Rad(Floating):
    """input, in degrees, in radians."""

    op_name = "deg2rad"
    exports = ("deg2rad", "Tensor.deg2rad")
    reference = staticmethod(lambda x: x * (np.pi / 180))

    @formula
    def value(x):
        return x * 0.017453292519943295

    @formula
    def gradient(grad):
        return grad * 0.017453292519943295


class Rad2Deg(Floating):
    """input, in radians, in degrees."""

    op_name = "rad2deg"
    exports = ("rad2deg", "Tensor.rad2deg")
    reference = staticmethod(lambda x: x * (180 / np.pi))

    @formula
    def value(x):
        return x * 57.29577951308232

    @formula
    def gradient(grad):
        return grad * 57.29577951308232


class Asinh(Floating):
    """The number whose hyperbolic sine is input."""

    exports = ("asinh", "arcsinh", "Tensor.asinh", "Tensor.arcsinh")
    reference = staticmethod(np.arcsinh)

    @formula
    def value(x):
        return libdevice.asinh(x)

    @formula
    def slope(input):
        return rsqrt(input * input + 1)


class Acosh(Floating):
    """The number, not negative, whose hyperbolic cosine is input."""

    exports = ("acosh", "arccosh", "Tensor.acosh", "Tensor.arccosh")
    reference = staticmethod(np.arccosh)

    @formula
    def value(x):
        return libdevice.acosh(x)

    @formula
    def slope(input):
        return rsqrt(input * input - 1)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(1.2, 5, *shape),)
        yield (draw.uniform(1.2, 5, 6, 4).T,)


class Atanh(Inner):
    """The number whose hyperbolic tangent is input."""

    exports = ("atanh", "arctanh", "Tensor.atanh", "Tensor.arctanh")
    reference = staticmethod(np.arctanh)

    @formula
    def value(x):
        return libdevice.atanh(x)

    @formula
    def gradient(grad, input):
        return divide(grad, 1 - input * input)


class Sinc(Floating):
    """sin(pi input) / (pi input), 1 at 0."""

    exports = ("sinc", "Tensor.sinc", "special.sinc")
    reference = staticmethod(lambda x: np.where(x == 0, 1, np.sin(np.pi * x) / (np.pi * x)))

    @formula
    def value(x):
        angle = x * 3.141592653589793
        return where(x == 0, 1, divide(sin(angle), angle))

    @formula
    def slope(input):
        angle = input * 3.141592653589793
        square = angle * angle
        # Near 0 the difference of the closed form cancels; the series of the derivative of sin(a) / a does not.
        tail = (1 / 45360 + square * (-1 / 3991680 + square * (1 / 518918400))) * square
        series = input * (((tail - 1 / 840) * square + 1 / 30) * square - 1 / 3) * 9.869604401089358
        small = square < 0.25
        apart = where(small, 1, input * angle)
        return where(small, series, divide(angle * cos(angle) - sin(angle), apart))


class Hypot(Extreme):
    """sqrt(input^2 + other^2), without overflow."""

    exports = ("hypot", "Tensor.hypot")
    types = staticmethod(floating_only("hypot_cpu"))
    reference = staticmethod(np.hypot)

    @formula
    def value(x, y):
        return libdevice.hypot(x, y)

    @formula
    def slope_input(input, output):
        return divide(input, output)

    @formula
    def slope_other(other, output):
        return divide(other, output)


class Angle(Step):
    """pi below zero, 0 elsewhere: the angle of a real number."""

    exports = ("angle", "Tensor.angle")
    types = staticmethod(floating)
    reference = staticmethod(lambda x: np.where(x != x, x, np.pi * (x < 0).astype(x.dtype)))

    @formula
    def value(x):
        return where(x != x, x, libdevice.acos(where(x < 0, -1, 1).to(x.dtype)))
