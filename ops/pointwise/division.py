"""Quotients rounded to whole numbers, and what they leave: floor_divide, remainder, fmod."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import enter, operator_of
from tritorch.ops.formula import formula
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.family import Binary
from tritorch.ops.promotion import without_bool
from tritorch.runtime import tl
from tritorch.runtime.language import libdevice


def checked(divide):
    """`divide` of two arguments, with PyTorch's error where integers are divided by zero."""

    def reference(x, y):
        if np.result_type(x, y).kind in "iu" and not np.all(y):
            raise RuntimeError("ZeroDivisionError")
        return divide(x, y)

    return reference


@formula(host=np.fmod)
def fmod(x, y):
    if x.dtype.is_floating():
        return libdevice.fmod(x, y)
    else:  # noqa: RET505, of these two branches Triton compiles one
        zero = y == 0
        return tl.where(zero, 0, x % tl.where(zero, 1, y))


@formula(host=np.floor_divide)
def floor_divide(x, y):
    if x.dtype.is_floating():
        # The exact remainder first: rounding x / y could reach the next whole number.
        rest = libdevice.fmod(x, y)
        quotient = (x - rest) / y
        quotient = tl.where((rest != 0) & ((y < 0) != (rest < 0)), quotient - 1, quotient)
        whole = tl.floor(quotient)
        whole = tl.where(quotient - whole > 0.5, whole + 1, whole)
        whole = tl.where(quotient == 0, libdevice.copysign(quotient * 0, x / y), whole)
        return tl.where(y == 0, x / y, whole)
    else:  # noqa: RET505, of these two branches Triton compiles one
        zero = y == 0
        y = tl.where(zero, 1, y)
        quotient = x // y  # towards zero, as C has it
        rest = x - quotient * y
        return tl.where(zero, 0, tl.where((rest != 0) & ((y < 0) != (rest < 0)), quotient - 1, quotient))


@formula(host=np.remainder)
def remainder(x, y):
    rest = fmod(x, y)
    return tl.where((rest != 0) & ((y < 0) != (rest < 0)), rest + y, rest)


class RoundedDivision(Binary, abstract=True):
    """Division whose result has a step where the quotient is whole."""

    @staticmethod
    def differentiable_at(x, y):
        """Away from the steps."""
        quotient = np.divide(x, y, dtype=np.float64)
        return bool(np.all(np.abs(quotient - np.rint(quotient)) > 1e-4))

    @staticmethod
    def samples(draw):
        yield draw.uniform(-9, 9, 5, 7), draw.uniform(0.5, 3, 5, 7)
        yield draw.uniform(-9, 9, 1025), draw.uniform(-3, -0.5, 1025)
        yield draw.uniform(-9, 9, 5, 1), draw.uniform(0.5, 3, 4)
        yield draw.uniform(-9, 9, 0, 3), draw.uniform(0.5, 3, 3)
        yield draw.uniform(-9, 9, 7), 2.5
        yield draw.integers(-9, 9, 5, 7), draw.integers(1, 4, 5, 7)
        yield draw.integers(-9, 9, 5, 7, dtype=np.int32), draw.integers(-4, 0, 5, 7, dtype=np.int32)


class DivideFloor(RoundedDivision):
    """The largest whole number not above input / other; the gradient is zero."""

    exports = ("floor_divide", "Tensor.floor_divide", "Tensor.__floordiv__")
    types = staticmethod(without_bool("div_floor_cpu"))
    reference = staticmethod(checked(np.floor_divide))
    value = floor_divide

    def backward(self, grad):
        """Zero for both."""
        zeros = grad.new_zeros(grad.shape)
        return zeros, zeros


def reverse_floor_divide(self, other):
    """other // self."""
    return DivideFloor.apply(other, self)


enter("Tensor.__rfloordiv__", operator_of(reverse_floor_divide))


class DivideTrunc(RoundedDivision):
    """input / other rounded towards zero; the gradient is zero."""

    types = staticmethod(without_bool("div_trunc_cpu"))

    @staticmethod
    @checked
    def reference(x, y):
        if np.result_type(x, y).kind == "f":
            return np.trunc(np.true_divide(x, y))
        quotient = np.floor_divide(x, y)
        return quotient + ((quotient < 0) & (quotient * y != x))

    @formula
    def value(x, y):
        if x.dtype.is_floating():
            return libdevice.trunc(tl.div_rn(x, y) if x.dtype == tl.float32 else x / y)
        else:  # noqa: RET505
            zero = y == 0
            return tl.where(zero, 0, x // tl.where(zero, 1, y))

    def backward(self, grad):
        """Zero for both."""
        zeros = grad.new_zeros(grad.shape)
        return zeros, zeros


class Remainder(RoundedDivision):
    """input - floor(input / other) * other: what is left, with the sign of other."""

    exports = ("remainder", "Tensor.remainder", "Tensor.__mod__")
    saves = ("input", "other")
    types = staticmethod(without_bool("remainder_cpu"))
    reference = staticmethod(checked(np.remainder))
    value = remainder

    def backward(self, grad):
        """The gradient for the first, -floor(input / other) of it for the second."""
        x, y = self.inputs
        return grad, -grad * DivideFloor.apply(x, y) if self.edges[1] is not None else None


def reverse_remainder(self, other):
    """other % self."""
    return Remainder.apply(other, self)


enter("Tensor.__rmod__", operator_of(reverse_remainder))


class Fmod(RoundedDivision):
    """input - trunc(input / other) * other: what is left, with the sign of input."""

    exports = ("fmod", "Tensor.fmod")
    saves = ("input", "other")
    types = staticmethod(without_bool("fmod_cpu"))
    reference = staticmethod(checked(np.fmod))
    value = fmod

    @classmethod
    def call(cls, input, other):
        """Refuse a number that comes first, as PyTorch does."""
        need_tensors("fmod", input=input)
        return cls.apply(input, other)

    def backward(self, grad):
        """The gradient for the first, -trunc(input / other) of it for the second."""
        x, y = self.inputs
        return grad, -grad * DivideTrunc.apply(x, y) if self.edges[1] is not None else None
