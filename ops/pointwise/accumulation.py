"""What moving averages and optimizers written by hand add up, in one launch each: lerp, addcmul, addcdiv."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import WIDEST_ON_GPUS
from tritorch.ops.formula import divide, formula
from tritorch.ops.pointwise.family import Pointwise


def _over(function, a, b, made):
    """`function(a, b)`, written over `made`, one of them that nobody else has, where it has that shape and dtype."""
    other = b if made is a else a
    if made.ndim and np.shape(other) in ((), made.shape) and getattr(other, "dtype", made.dtype) == made.dtype:
        return function(a, b, out=made)
    return function(a, b)


class Lerp(Pointwise):
    """input + weight * (end - input)."""

    arguments = ("input", "end", "weight")
    reference = staticmethod(lambda input, end, weight: input + (end - input) * weight)

    @staticmethod
    def quick(input, end, weight):
        """The reference, in one array."""
        made = np.subtract(end, input)
        made = _over(np.multiply, made, weight, made)
        return _over(np.add, input, made, made)

    @formula
    def value(x, end, weight):
        return x + (end - x) * weight

    @formula
    def slope_input(weight):
        return 1 - weight

    @formula
    def slope_end(weight):
        return weight

    @formula
    def slope_weight(input, end):
        return end - input

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7), 0.25
        yield draw(1025), draw(1025), draw(1025)
        yield draw(6, 4).T, draw(6), draw()


class AddProduct(Pointwise):
    """input + value * tensor1 * tensor2."""

    arguments = ("input", "tensor1", "tensor2", "value")
    shown_as = "Addcmul"
    autocast = WIDEST_ON_GPUS
    saves = ("tensor1", "tensor2")
    reference = staticmethod(lambda input, tensor1, tensor2, value: input + tensor1 * tensor2 * value)

    @staticmethod
    def quick(input, tensor1, tensor2, value):
        """The reference, in one array."""
        made = np.multiply(tensor1, tensor2)
        if value != 1:
            made = _over(np.multiply, made, value, made)
        return _over(np.add, input, made, made)

    @formula
    def value(x, a, b, by):
        return x + a * b * by

    def backward(self, grad):
        """The gradient for the sum, and for each factor that times the others."""
        _, a, b, by = self.inputs
        return (
            grad,
            None if self.edges[1] is None else AddProduct.scaled(grad, b, by),
            None if self.edges[2] is None else AddProduct.scaled(grad, a, by),
            None,
        )

    @staticmethod
    def scaled(grad, other, by):
        """grad * other * by."""
        return grad * other if by == 1 else grad * other * by

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7), draw(5, 7), 0.25
        yield draw(1025), draw(1025), draw(1025), -2
        yield draw(6, 4).T, draw(6), draw(4, 1), 1


class AddQuotient(Pointwise):
    """input + value * tensor1 / tensor2."""

    arguments = ("input", "tensor1", "tensor2", "value")
    shown_as = "Addcdiv"
    autocast = WIDEST_ON_GPUS
    saves = ("tensor1", "tensor2")
    reference = staticmethod(lambda input, tensor1, tensor2, value: input + tensor1 * value / tensor2)

    @staticmethod
    def quick(input, tensor1, tensor2, value):
        """The reference, in one array."""
        made = np.multiply(tensor1, value)
        made = _over(np.divide, made, tensor2, made)
        return _over(np.add, input, made, made)

    @formula
    def value(x, a, b, by):
        return x + divide(a * by, b)

    def backward(self, grad):
        """The gradient for the sum, and by the rule for a quotient for its parts."""
        _, a, b, by = self.inputs
        part = None if self.edges[1] is None and self.edges[2] is None else grad * by / b
        return (
            grad,
            part if self.edges[1] is not None else None,
            None if self.edges[2] is None else -part * a / b,
            None,
        )

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7), draw.uniform(0.4, 3, 5, 7), 0.25
        yield draw(1025), draw(1025), draw.uniform(-3, -0.4, 1025), -2
        yield draw(6, 4).T, draw(6), draw.uniform(0.4, 3, 4, 1), 1
