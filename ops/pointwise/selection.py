"""One of two values, element by element: maximum, minimum, clamp, where."""

from __future__ import annotations

import numbers

import numpy as np

from tritorch.ops.base import export, one_call
from tritorch.ops.formula import formula, maximum, minimum, where
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.family import Binary, Pointwise, straddling
from tritorch.ops.promotion import C_TYPES, arithmetic, number_for
from tritorch.runtime import dtypes, tl


class Where(Pointwise):
    """input where condition is True, else other."""

    arguments = ("condition", "input", "other")
    condition = True
    reference = staticmethod(np.where)
    quick = staticmethod(where.host)
    value = where

    @formula
    def gradient_input(grad, condition):
        return where(condition != 0, grad, 0)

    @formula
    def gradient_other(grad, condition):
        return where(condition != 0, 0, grad)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.booleans(*shape), draw(*shape), draw(*shape)
        yield draw.booleans(5, 1), draw(3), draw(5, 3)
        yield draw.booleans(6, 4).T, draw(4, 6), 2.5
        yield draw.booleans(7), 1, draw(7)
        yield draw.booleans(7), draw.integers(0, 9, 7), draw(7)

    @staticmethod
    def errors(draw):
        values = draw(3), draw(3)
        yield (draw.integers(0, 2, 3), *values), {}, RuntimeError, "where expected condition to be a boolean tensor"


@export("where", out=True)
def choose(condition, input=None, other=None):
    """input where condition is True, else other; with the condition alone, the indices where it is True."""
    if not hasattr(condition, "requires_grad"):
        raise TypeError(f"where(): argument 'condition' (position 1) must be Tensor, not {type(condition).__name__}")
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes the condition alone, or both input and other")
    kind = dtypes.of(condition.array.dtype)
    if kind is not dtypes.bool_ and kind is not dtypes.uint8:
        names = {"int64": "Long", "int32": "Int", "float32": "Float", "float64": "Double"}
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{names.get(kind.name, kind.name)}"
        )
    return Where.apply(condition, input, other)


@export("Tensor.where")
def where_method(self, condition, other):
    """self where condition is True, else other."""
    return choose(condition, self, other)


def _filled(input, mask, value):
    if mask.array.dtype != np.bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{C_TYPES[dtypes.of(mask.array.dtype).name]}"
        )
    own = dtypes.of(input.array.dtype)
    if hasattr(value, "requires_grad"):
        if value.array.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        value = value.to(own)
    elif not isinstance(value, numbers.Number):
        raise TypeError(f"masked_fill(): argument 'value' (position 3) must be Number, not {type(value).__name__}")
    else:
        value = number_for(value, own)
    return Where, (mask, value, input)


@export("masked_fill", "Tensor.masked_fill")
@one_call(_filled)
def masked_fill(input, mask, value):
    """`value`, a number or a tensor without dimensions, where `mask` is True, else input."""
    op, arguments = _filled(input, mask, value)
    return op.apply(*arguments)


class Extreme(Binary, abstract=True):
    """The larger or smaller of two; NaN if either is. Where both are equal, each has half of the gradient."""

    @classmethod
    def call(cls, input, other):
        """Refuse numbers, as PyTorch does."""
        if not (hasattr(input, "array") and hasattr(other, "array")):
            need_tensors(cls.op_name, input=input, other=other)
        return cls.apply(input, other)


class Maximum(Extreme):
    """The larger of input and other; NaN if either is. Where both are equal, each has half of the gradient."""

    exports = ("maximum", "Tensor.maximum")
    reference = staticmethod(np.maximum)
    value = maximum

    @formula
    def gradient_input(grad, input, other):
        return where(input < other, 0, where(input == other, grad * 0.5, grad))

    @formula
    def gradient_other(grad, input, other):
        return where(input > other, 0, where(input == other, grad * 0.5, grad))


class Minimum(Extreme):
    """The smaller of input and other; NaN if either is. Where both are equal, each has half of the gradient."""

    exports = ("minimum", "Tensor.minimum")
    reference = staticmethod(np.minimum)
    value = minimum

    @formula
    def gradient_input(grad, input, other):
        return where(input > other, 0, where(input == other, grad * 0.5, grad))

    @formula
    def gradient_other(grad, input, other):
        return where(input < other, 0, where(input == other, grad * 0.5, grad))


class Fmax(Extreme):
    """The larger of input and other, of which one may be NaN; where both are equal, the first has the gradient."""

    exports = ("fmax", "Tensor.fmax")
    reference = staticmethod(np.fmax)

    @formula
    def value(x, y):
        return tl.maximum(x, y)

    @formula
    def gradient_input(grad, input, other):
        return where((input >= other) | (other != other), grad, 0)

    @formula
    def gradient_other(grad, input, other):
        return where((input >= other) | (other != other), 0, grad)


class Fmin(Extreme):
    """The smaller of input and other, of which one may be NaN; where both are equal, the first has the gradient."""

    exports = ("fmin", "Tensor.fmin")
    reference = staticmethod(np.fmin)

    @formula
    def value(x, y):
        return tl.minimum(x, y)

    @formula
    def gradient_input(grad, input, other):
        return where((input <= other) | (other != other), grad, 0)

    @formula
    def gradient_other(grad, input, other):
        return where((input <= other) | (other != other), 0, grad)


class Bounded(Pointwise, abstract=True):
    """A number kept within bounds, which are numbers or tensors; at a bound the gradient passes to the number."""

    types = staticmethod(arithmetic)


class ClampMin(Bounded):
    """The larger of input and min."""

    arguments = ("input", "min")
    reference = staticmethod(np.maximum)
    value = maximum

    @formula
    def gradient_input(grad, input, min):
        return where(input >= min, grad, 0)

    @formula
    def gradient_min(grad, input, min):
        return where(input < min, grad, 0)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), -0.51
        yield draw(6, 4).T, draw(4, 1)
        yield draw.integers(-9, 9, 7), 2


class ClampMax(Bounded):
    """The smaller of input and max."""

    arguments = ("input", "max")
    reference = staticmethod(np.minimum)
    value = minimum
    samples = staticmethod(ClampMin.samples)

    @formula
    def gradient_input(grad, input, max):
        return where(input <= max, grad, 0)

    @formula
    def gradient_max(grad, input, max):
        return where(input > max, grad, 0)


class ClampBoth(Bounded):
    """min(max(input, min), max): max where min is above it."""

    shown_as = "Clamp"
    arguments = ("input", "min", "max")

    @staticmethod
    def reference(x, low, high):
        return np.minimum(np.maximum(x, low), high)

    @formula
    def value(x, low, high):
        return tl.minimum(
            tl.maximum(x, low, propagate_nan=tl.PropagateNan.ALL), high, propagate_nan=tl.PropagateNan.ALL
        )

    @formula
    def gradient_input(grad, input, min, max):
        return where((input >= min) & (input <= max), grad, 0)

    @formula
    def gradient_min(grad, input, min, max):
        return where((input < min) & (min < max), grad, 0)

    @formula
    def gradient_max(grad, input, min, max):
        return where((input > max) | (max < min), grad, 0)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), -0.51, 0.72
        yield draw(6, 4).T, draw(4, 1), draw(6)
        yield draw.integers(-9, 9, 7), -2, 3


def _clamped(input, min=None, max=None):
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return ClampMin, (input, min)
    return (ClampMax, (input, max)) if min is None else (ClampBoth, (input, min, max))


@export("clamp", "clip", "Tensor.clamp", "Tensor.clip", out=True)
@one_call(_clamped)
def clamp(input, min=None, max=None):
    """input kept between min and max, numbers or tensors, of which one may be None."""
    op, arguments = _clamped(input, min, max)
    return op.apply(*arguments)


@export("clamp_min", "Tensor.clamp_min")
def clamp_min(input, min):
    """The larger of input and min."""
    need_tensors("clamp_min", input=input)
    return ClampMin.apply(input, min)


@export("clamp_max", "Tensor.clamp_max")
def clamp_max(input, max):
    """The smaller of input and max."""
    need_tensors("clamp_max", input=input)
    return ClampMax.apply(input, max)
