"""Floating-point numbers taken apart and put together: sign, neighbour, mantissa and exponent, NaN replaced."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import absolute, divide, formula, where
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.activation import Parametrised
from tritorch.ops.pointwise.family import Binary, Unary, straddling
from tritorch.ops.pointwise.selection import Extreme
from tritorch.ops.promotion import floating, floating_only, like_tensors
from tritorch.runtime import tl
from tritorch.runtime.language import libdevice


class Copysign(Binary):
    """|input| with the sign of other, in floating point."""

    exports = ("copysign", "Tensor.copysign")
    types = staticmethod(floating)
    saves = ("input", "output")
    reference = staticmethod(np.copysign)

    @formula
    def value(x, y):
        return libdevice.copysign(x, y)

    @classmethod
    def call(cls, input, other):
        """Refuse a number that comes first, as PyTorch does."""
        need_tensors("copysign", input=input)
        return cls.apply(input, other)

    @formula
    def gradient_input(grad, input, output):
        return where(input == 0, 0, grad * divide(output, input))

    def backward(self, grad):
        """The sign of the quotient for the first, zero for the second."""
        return super().backward(grad)[0], None if self.edges[1] is None else grad.new_zeros(grad.shape)


class Heaviside(Extreme):
    """0 below zero, values at zero, 1 above."""

    exports = ("heaviside", "Tensor.heaviside")
    arguments = ("input", "values")
    backward = Op.backward

    @staticmethod
    def reference(x, values):
        return np.where(x == 0, values, (x > 0).astype(values.dtype))

    @formula
    def value(x, values):
        return where(x == 0, values, x > 0)

    @classmethod
    def call(cls, input, values):
        """Refuse numbers and different dtypes, as PyTorch does."""
        need_tensors("heaviside", input=input, values=values)
        if input.array.dtype != values.array.dtype:
            raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
        return cls.apply(input, values)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.integers(-2, 3, *shape).astype(draw.dtype), draw(*shape)
        yield draw.integers(-2, 3, 5, 1), draw.integers(-9, 9, 3)
        yield draw.booleans(5), draw.booleans(5)


class NanToNum(Parametrised):
    """input with numbers in the place of NaN and the infinities."""

    arguments = ("input", "nan", "posinf", "neginf")
    parameters = (0.5, 7.5, -6.5)
    types = staticmethod(like_tensors)

    @staticmethod
    def reference(x, nan, posinf, neginf):
        return np.where(np.isnan(x), nan, np.where(x == np.inf, posinf, np.where(x == -np.inf, neginf, x)))

    @formula
    def value(x, nan, posinf, neginf):
        return where(x != x, nan, where(x == float("inf"), posinf, where(x == float("-inf"), neginf, x)))

    @formula
    def gradient(grad, input):
        return where(absolute(input) < float("inf"), grad, 0)

    @classmethod
    def samples(cls, draw):
        yield (np.asarray([0, -0.0, 1, -1, np.nan, np.inf, -np.inf]).astype(draw.dtype), *cls.parameters)
        yield (draw(5, 7), *cls.parameters)
        yield (draw(0, 3), *cls.parameters)


@formula
def neighbour(bits, sign, x, y):
    """The bits of the number next to x in the direction of y; `sign` has the sign's bit set, and no other."""
    outwards = tl.where((x < y) == (x > 0), 1, -1).to(bits.dtype)
    smallest = tl.where(y > 0, 1, sign | 1).to(bits.dtype)
    return tl.where(x == y, bits, tl.where(x == 0, smallest, bits + outwards))


def _own_floating(arrays):
    """The common dtype, also of half types: what comes next depends on it."""
    _, result = floating_only("nextafter_cpu")(arrays)
    return result, result


_own_floating.straight = {}  # type: ignore[attr-defined]


class Nextafter(Extreme):
    """The number next to input in the direction of other, in their dtype."""

    exports = ("nextafter", "Tensor.nextafter")
    types = staticmethod(_own_floating)
    reference = staticmethod(np.nextafter)
    differentiable_at = staticmethod(lambda *sample: False)  # what is next to a number moves with it

    @formula
    def value(x, y):
        nan = (x != x) | (y != y)
        if x.dtype == tl.float64:
            bits = x.to(tl.int64, bitcast=True)
            found = neighbour(bits, -9223372036854775808, x, y).to(tl.float64, bitcast=True)
        elif x.dtype == tl.float32:
            bits = x.to(tl.int32, bitcast=True)
            found = neighbour(bits, -2147483648, x, y).to(tl.float32, bitcast=True)
        else:
            bits = x.to(tl.int16, bitcast=True)
            found = neighbour(bits, -32768, x.to(tl.float32), y.to(tl.float32)).to(x.dtype, bitcast=True)
        # Where both are zero the result is the second, whose sign may be the other one.
        return tl.where(nan, float("nan"), tl.where(x == y, y, found)).to(x.dtype)

    @formula
    def gradient_input(grad, input, other):
        return where(input == other, 0, grad)

    def backward(self, grad):
        """The gradient for the first, where it moves; zero for the second."""
        return super().backward(grad)[0], None if self.edges[1] is None else grad.new_zeros(grad.shape)


@formula
def exponent_of(x):
    """The exponent of a number whose mantissa is between 1/2 and 1; 0 for zero, infinity and NaN."""
    if x.dtype == tl.float64:
        subnormal = tl.abs(x) < 2.2250738585072014e-308
        bits = tl.where(subnormal, x * 18014398509481984.0, x).to(tl.int64, bitcast=True)
        exponent = ((bits >> 52) & 2047).to(tl.int32) - 1022 - tl.where(subnormal, 54, 0)
    else:
        subnormal = tl.abs(x) < 1.1754943508222875e-38
        bits = tl.where(subnormal, x * 33554432.0, x).to(tl.int32, bitcast=True)
        exponent = ((bits >> 23) & 255) - 126 - tl.where(subnormal, 25, 0)
    return tl.where((x == 0) | (x - x != 0), 0, exponent)


def _exponent_type(arrays):
    compute, _ = _frexp_type(arrays)
    return compute, np.dtype(np.int32)


_frexp_type = floating_only("frexp_cpu")
_exponent_type.straight = {}  # type: ignore[attr-defined]


class Exponent(Unary):
    """The exponent of input, whose mantissa is between 1/2 and 1, as int32."""

    types = staticmethod(_exponent_type)
    reference = staticmethod(lambda x: np.frexp(x)[1])
    value = exponent_of
    backward = Op.backward


class Mantissa(Unary):
    """input / 2^exponent: between 1/2 and 1, with the sign of input."""

    types = staticmethod(_frexp_type)
    saves = ("input",)
    reference = staticmethod(lambda x: np.frexp(x)[0])

    @formula
    def value(x):
        exponent = exponent_of(x)
        half = exponent // 2  # 2^-exponent itself may be out of range
        return libdevice.ldexp(libdevice.ldexp(x, -half), half - exponent)

    def backward(self, grad):
        """The gradient divided by the power of two."""
        return (grad / Exponent.apply(self.inputs[0]).to(grad.dtype).exp2(),)
