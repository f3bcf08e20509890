"""Sums, products and quotients, element by element."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import formula
from tritorch.ops.pointwise import Binary, Unary, floating


class Add(Binary):
    """input + alpha * other."""

    exports = ("add", "Tensor.add", "Tensor.__add__", "Tensor.__radd__")
    reference = staticmethod(np.add)

    @formula
    def value(x, y):
        return x + y

    @classmethod
    def call(cls, input, other, *, alpha=1):
        return cls.apply(input, other if alpha == 1 else other * alpha)

    def backward(self, grad):
        """The gradient itself, for both."""
        return grad, grad


class Sub(Binary):
    """input - alpha * other."""

    exports = ("sub", "subtract", "Tensor.sub", "Tensor.subtract", "Tensor.__sub__")

    @staticmethod
    def reference(x, y):
        if getattr(x, "dtype", None) == np.bool_ and getattr(y, "dtype", None) == np.bool_:
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. "
                "Use the `^` or `logical_xor()` operator instead."
            )
        return np.subtract(x, y)

    @formula
    def value(x, y):
        return x - y

    @classmethod
    def call(cls, input, other, *, alpha=1):
        return cls.apply(input, other if alpha == 1 else other * alpha)

    def backward(self, grad):
        """The gradient for the first, its negative for the second."""
        return grad, -grad if self.edges[1] is not None else None


class Mul(Binary):
    """input * other."""

    exports = ("mul", "multiply", "Tensor.mul", "Tensor.multiply", "Tensor.__mul__", "Tensor.__rmul__")
    reference = staticmethod(np.multiply)

    @formula
    def value(x, y):
        return x * y

    @formula
    def slope_input(other):
        return other

    @formula
    def slope_other(input):
        return input


class TrueDivide(Binary):
    """input / other, in floating point."""

    reference = staticmethod(np.true_divide)
    types = staticmethod(floating)

    @formula
    def value(x, y):
        return x / y

    @formula
    def slope_input(other):
        return 1 / other

    @formula
    def slope_other(other, output):
        return -output / other


class Neg(Unary):
    """-input."""

    exports = ("neg", "negative", "Tensor.neg", "Tensor.negative", "Tensor.__neg__")

    @staticmethod
    def reference(x):
        if x.dtype == np.bool_:
            raise RuntimeError(
                "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
                "the `~` or `logical_not()` operator instead."
            )
        return np.negative(x)

    @formula
    def value(x):
        return -x

    def backward(self, grad):
        """The negated gradient."""
        return (-grad,)
