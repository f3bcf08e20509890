"""Comparisons and the logic of their results."""

from __future__ import annotations

import numbers

import numpy as np

from tritorch.ops.base import export
from tritorch.ops.formula import formula
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.family import Binary, Comparison, Step, straddling
from tritorch.ops.promotion import bitwise, predicate
from tritorch.runtime import dtypes


class Eq(Comparison):
    """input == other."""

    exports = ("eq", "Tensor.eq")
    reference = staticmethod(np.equal)

    @formula
    def value(x, y):
        return x == y


class Ne(Comparison):
    """input != other."""

    exports = ("ne", "not_equal", "Tensor.ne", "Tensor.not_equal")
    reference = staticmethod(np.not_equal)

    @formula
    def value(x, y):
        return x != y


class Lt(Comparison):
    """input < other."""

    exports = ("lt", "less", "Tensor.lt", "Tensor.less")
    reference = staticmethod(np.less)

    @formula
    def value(x, y):
        return x < y


class Le(Comparison):
    """input <= other."""

    exports = ("le", "less_equal", "Tensor.le", "Tensor.less_equal")
    reference = staticmethod(np.less_equal)

    @formula
    def value(x, y):
        return x <= y


class Gt(Comparison):
    """input > other."""

    exports = ("gt", "greater", "Tensor.gt", "Tensor.greater")
    reference = staticmethod(np.greater)

    @formula
    def value(x, y):
        return x > y


class Ge(Comparison):
    """input >= other."""

    exports = ("ge", "greater_equal", "Tensor.ge", "Tensor.greater_equal")
    reference = staticmethod(np.greater_equal)

    @formula
    def value(x, y):
        return x >= y


def _operator(op):
    """The operator of a comparison: what is neither a tensor nor a number is left to Python (== None is False)."""

    def compare(self, other):
        if hasattr(other, "requires_grad") or isinstance(other, (numbers.Number, np.ndarray, np.generic)):
            return op.apply(self, other)
        return NotImplemented

    name = f"__{op.op_name}__"
    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = op.__doc__
    export(f"Tensor.{name}")(compare)


for _op in (Eq, Ne, Lt, Le, Gt, Ge):
    _operator(_op)


class Logical(Binary, abstract=True):
    """Two arguments, of which each counts as whether it is not zero; the result is bool."""

    types = staticmethod(predicate)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.booleans(*shape), draw.booleans(*shape)
        yield draw.integers(-1, 2, 5, 1), draw(3)
        yield draw.integers(0, 2, 4, 6, dtype=np.uint8).T, draw.booleans(4)

    @classmethod
    def call(cls, input, other):
        """Refuse numbers, as PyTorch does."""
        if not (hasattr(input, "array") and hasattr(other, "array")):
            need_tensors(cls.op_name, input=input, other=other)
        return cls.apply(input, other)


class LogicalAnd(Logical):
    """Whether both are not zero."""

    exports = ("logical_and", "Tensor.logical_and")
    reference = staticmethod(np.logical_and)

    @formula
    def value(x, y):
        return (x != 0) & (y != 0)


class LogicalOr(Logical):
    """Whether either is not zero."""

    exports = ("logical_or", "Tensor.logical_or")
    reference = staticmethod(np.logical_or)

    @formula
    def value(x, y):
        return (x != 0) | (y != 0)


class LogicalXor(Logical):
    """Whether exactly one is not zero."""

    exports = ("logical_xor", "Tensor.logical_xor")
    reference = staticmethod(np.logical_xor)

    @formula
    def value(x, y):
        return (x != 0) != (y != 0)


class LogicalNot(Step):
    """Whether input is zero."""

    exports = ("logical_not", "Tensor.logical_not")
    types = staticmethod(predicate)
    reference = staticmethod(np.logical_not)

    @formula
    def value(x):
        return x == 0

    @staticmethod
    def samples(draw):
        yield (draw.booleans(5, 7),)
        yield (draw.integers(-1, 2, 1025),)
        yield (draw(0, 3),)
        yield (np.asarray([0, -0.0, np.nan, np.inf, 1]).astype(draw.dtype),)


class Bitwise(Binary, abstract=True):
    """Two arguments of integers or bools, bit by bit."""

    types = staticmethod(bitwise)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.booleans(*shape), draw.booleans(*shape)
        yield draw.integers(-90, 90, 5, 1), draw.integers(-90, 90, 3)
        yield draw.integers(0, 255, 4, 6, dtype=np.uint8).T, draw.booleans(4)
        yield draw.integers(-90, 90, 7, dtype=np.int32), 5


class BitwiseAnd(Bitwise):
    """The bits that are in both; for bools, whether both are True."""

    exports = ("bitwise_and", "Tensor.bitwise_and", "Tensor.__and__", "Tensor.__rand__")
    reference = staticmethod(np.bitwise_and)

    @formula
    def value(x, y):
        return x & y


class BitwiseOr(Bitwise):
    """The bits that are in either; for bools, whether either is True."""

    exports = ("bitwise_or", "Tensor.bitwise_or", "Tensor.__or__", "Tensor.__ror__")
    reference = staticmethod(np.bitwise_or)

    @formula
    def value(x, y):
        return x | y


class BitwiseXor(Bitwise):
    """The bits that are in exactly one; for bools, whether they differ."""

    exports = ("bitwise_xor", "Tensor.bitwise_xor", "Tensor.__xor__", "Tensor.__rxor__")
    reference = staticmethod(np.bitwise_xor)

    @formula
    def value(x, y):
        return x ^ y


class BitwiseNot(Step):
    """All bits the other way round; for bools, the opposite."""

    exports = ("bitwise_not", "Tensor.bitwise_not")
    types = staticmethod(bitwise)
    reference = staticmethod(np.invert)

    @formula
    def value(x):
        return ~x

    @staticmethod
    def samples(draw):
        yield (draw.integers(-90, 90, 5, 7),)
        yield (draw.integers(0, 255, 1025, dtype=np.uint8),)
        yield (draw.booleans(9),)
        yield (draw.booleans(0, 3),)


@export("Tensor.__invert__")
def invert(self):
    """~self, for integers and bools."""
    if dtypes.of(self.array.dtype).is_floating_point:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return BitwiseNot.apply(self)
