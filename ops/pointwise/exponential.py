"""Powers of e, logarithms, roots, circular and hyperbolic functions, element by element."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS, WIDEST_ON_GPUS
from tritorch.ops.formula import (
    cos,
    cosh,
    divide,
    erf,
    erf_on_host,
    exp,
    expm1,
    formula,
    log,
    log1p,
    rsqrt,
    sigmoid,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
)
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.direct import in_tiles
from tritorch.ops.pointwise.family import Binary, Floating, straddling
from tritorch.ops.promotion import floating, floating_only
from tritorch.runtime import tl
from tritorch.runtime.language import libdevice


class Exp(Floating):
    """e to the power of input."""

    exports = ("exp", "Tensor.exp")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.exp)
    quick_gradient = staticmethod(np.multiply)
    value = exp

    @formula
    def slope(output):
        return output


class Exp2(Floating):
    """2 to the power of input."""

    exports = ("exp2", "Tensor.exp2", "special.exp2")
    reference = staticmethod(np.exp2)

    @formula
    def value(x):
        return tl.exp2(x)

    @formula
    def slope(output):
        return output * 0.6931471805599453


class Expm1(Floating):
    """e to the power of input, less 1: precise near zero."""

    exports = ("expm1", "Tensor.expm1", "special.expm1")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.expm1)
    value = expm1

    @formula
    def slope(output):
        return output + 1


class Positive(Floating, abstract=True):
    """A function of positive numbers."""

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(0.1, 3, *shape),)
        yield (draw.uniform(0.1, 3, 6, 4).T,)
        yield (draw.uniform(0.1, 3, 9)[::-2],)


class Log(Positive):
    """The natural logarithm of input."""

    exports = ("log", "Tensor.log")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.log)
    quick_gradient = staticmethod(np.true_divide)
    value = log

    @formula
    def gradient(grad, input):
        return divide(grad, input)


class Log2(Positive):
    """The logarithm of input to base 2."""

    exports = ("log2", "Tensor.log2")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.log2)

    @formula
    def value(x):
        return tl.log2(x)

    @formula
    def gradient(grad, input):
        return divide(grad, input * 0.6931471805599453)


class Log10(Positive):
    """The logarithm of input to base 10."""

    exports = ("log10", "Tensor.log10")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.log10)

    @formula
    def value(x):
        return libdevice.log10(x)

    @formula
    def gradient(grad, input):
        return divide(grad, input * 2.302585092994046)


class Log1p(Positive):
    """The natural logarithm of 1 + input: precise near zero."""

    exports = ("log1p", "Tensor.log1p", "special.log1p")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.log1p)
    value = log1p

    @formula
    def gradient(grad, input):
        return divide(grad, input + 1)


class Sqrt(Positive):
    """The square root of input."""

    exports = ("sqrt", "Tensor.sqrt")
    reference = staticmethod(np.sqrt)
    value = sqrt

    @formula
    def gradient(grad, output):
        return divide(grad, 2 * output)


class Rsqrt(Positive):
    """1 / sqrt(input)."""

    exports = ("rsqrt", "Tensor.rsqrt")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(rsqrt.host)
    value = rsqrt

    @formula
    def slope(output):
        return -0.5 * output * output * output


class Sin(Floating):
    """The sine of input, in radians."""

    exports = ("sin", "Tensor.sin")
    reference = staticmethod(np.sin)
    value = sin

    @formula
    def slope(input):
        return cos(input)


class Cos(Floating):
    """The cosine of input, in radians."""

    exports = ("cos", "Tensor.cos")
    reference = staticmethod(np.cos)
    value = cos

    @formula
    def slope(input):
        return -sin(input)


class Inner(Floating, abstract=True):
    """A function of numbers between -1 and 1."""

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(-0.9, 0.9, *shape),)
        yield (draw.uniform(-0.9, 0.9, 6, 4).T,)


class Tan(Inner):
    """The tangent of input, in radians."""

    exports = ("tan", "Tensor.tan")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.tan)
    value = tan

    @formula
    def slope(output):
        return 1 + output * output


class Asin(Inner):
    """The angle whose sine is input."""

    exports = ("asin", "arcsin", "Tensor.asin", "Tensor.arcsin")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.arcsin)

    @formula
    def value(x):
        return libdevice.asin(x)

    @formula
    def slope(input):
        return rsqrt(1 - input * input)


class Acos(Inner):
    """The angle whose cosine is input."""

    exports = ("acos", "arccos", "Tensor.acos", "Tensor.arccos")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.arccos)

    @formula
    def value(x):
        return libdevice.acos(x)

    @formula
    def slope(input):
        return -rsqrt(1 - input * input)


class Atan(Floating):
    """The angle whose tangent is input."""

    exports = ("atan", "arctan", "Tensor.atan", "Tensor.arctan")
    reference = staticmethod(np.arctan)

    @formula
    def value(x):
        return libdevice.atan(x)

    @formula
    def gradient(grad, input):
        return divide(grad, input * input + 1)


class Atan2(Binary):
    """The angle between the positive x axis and the point (x = other, y = input)."""

    exports = ("atan2", "arctan2", "Tensor.atan2", "Tensor.arctan2")
    autocast = WIDEST_ON_GPUS
    reference = staticmethod(np.arctan2)
    types = staticmethod(floating)

    @classmethod
    def call(cls, input, other):
        """Refuse numbers, as PyTorch does."""
        need_tensors("atan2", input=input, other=other)
        return cls.apply(input, other)

    @formula
    def value(x, y):
        return libdevice.atan2(x, y)

    @formula
    def gradient_input(grad, input, other):
        return divide(grad * other, input * input + other * other)

    @formula
    def gradient_other(grad, input, other):
        return divide(-grad * input, input * input + other * other)


class Sinh(Floating):
    """(exp(input) - exp(-input)) / 2."""

    exports = ("sinh", "Tensor.sinh")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.sinh)
    value = sinh

    @formula
    def slope(input):
        return cosh(input)


class Cosh(Floating):
    """(exp(input) + exp(-input)) / 2."""

    exports = ("cosh", "Tensor.cosh")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.cosh)
    value = cosh

    @formula
    def slope(input):
        return sinh(input)


def _tanh_gradient(grad, output):
    slope = np.multiply(output, output, out=np.empty_like(output))
    np.subtract(1, slope, out=slope)
    return np.multiply(grad, slope, out=slope)


class Tanh(Floating):
    """The hyperbolic tangent of input."""

    exports = ("tanh", "Tensor.tanh", "nn.functional.tanh")
    reference = staticmethod(np.tanh)
    quick_gradient = staticmethod(_tanh_gradient)
    value = tanh

    @formula
    def slope(output):
        return 1 - output * output


def _sigmoid_gradient(grad, output):
    slope = np.subtract(1, output, out=np.empty_like(output))
    slope *= output
    return np.multiply(grad, slope, out=slope)


class Sigmoid(Floating):
    """1 / (1 + exp(-input))."""

    exports = ("sigmoid", "Tensor.sigmoid", "nn.functional.sigmoid", "special.expit")
    reference = staticmethod(lambda x: 1 / (1 + np.exp(-x)))
    quick = staticmethod(in_tiles(sigmoid.host))
    quick_gradient = staticmethod(_sigmoid_gradient)
    value = sigmoid

    @formula
    def slope(output):
        return output * (1 - output)


class Erf(Floating):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to input."""

    exports = ("erf", "Tensor.erf", "special.erf")
    reference = staticmethod(erf_on_host)
    quick = staticmethod(in_tiles(erf.host))
    value = erf

    @formula
    def slope(input):
        return 1.1283791670955126 * exp(-input * input)


class Logaddexp(Binary):
    """log(exp(input) + exp(other)), without overflow."""

    exports = ("logaddexp", "Tensor.logaddexp")
    reference = staticmethod(np.logaddexp)
    types = staticmethod(floating_only("logaddexp_cpu"))

    @classmethod
    def call(cls, input, other):
        """Refuse numbers, as PyTorch does."""
        need_tensors("logaddexp", input=input, other=other)
        return cls.apply(input, other)

    @formula
    def value(x, y):
        larger = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
        # Where both are the same infinity their difference is NaN, and the larger is the result.
        same = x == y
        return larger + tl.where(same, 0.6931471805599453, libdevice.log1p(tl.exp(-tl.abs(x - y))))

    @formula
    def slope_input(input, other):
        return sigmoid(input - other)

    @formula
    def slope_other(input, other):
        return sigmoid(other - input)
