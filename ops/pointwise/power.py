"""Powers, of tensors and numbers."""

from __future__ import annotations

import numbers

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import enter, export, operator_of
from tritorch.ops.formula import formula, log, where
from tritorch.ops.pointwise.arithmetic import Square
from tritorch.ops.pointwise.exponential import Sqrt
from tritorch.ops.pointwise.family import Binary, straddling
from tritorch.runtime import dtypes, tl
from tritorch.runtime.language import libdevice


def power_on_host(x, y):
    """x to the power y; for integers, a negative power is the reciprocal rounded towards zero."""
    if np.result_type(x, y).kind == "f":
        return np.power(x, y)
    x, y = np.asarray(x), np.asarray(y)
    negative = y < 0
    if not negative.any():
        return np.power(x, y)
    odd = np.where(y % 2 != 0, x, 1)  # -1 to an odd power is -1
    return np.where(negative, np.where(np.abs(x) == 1, odd, 0), np.power(x, np.where(negative, 0, y)))


_FEW = {1: np.positive, 2: np.square, 3: lambda x: x * x * x, 0.5: np.sqrt, -1: np.reciprocal}


def quick_power(x, y):
    """As power_on_host; the powers that people write go without the general function, which is slow."""
    few = _FEW.get(y) if type(y) in (int, float) else None
    if few is None or not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return power_on_host(x, y)
    return few(x)


_HALVES = frozenset({dtypes.float16, dtypes.bfloat16})


@formula(host=quick_power)
def power(x, y):
    if x.dtype.is_floating():
        return libdevice.pow(x, y)
    else:  # noqa: RET505, of these two branches Triton compiles one
        result, base, rest = x * 0 + 1, x, y
        for _ in range(63):  # by squaring, over all bits: what overflows wraps
            result = tl.where((rest & 1) != 0, result * base, result)
            base, rest = base * base, rest >> 1
        one = (x == 1) | (x * x == 1)
        return tl.where(y < 0, tl.where(one, tl.where((y & 1) != 0, x, x * x), 0), result)


class Pow(Binary):
    """input to the power exponent; integers stay integers, exactly."""

    autocast = FLOAT32_ON_GPUS
    arguments = ("input", "exponent")
    reference = staticmethod(power_on_host)
    quick = staticmethod(quick_power)
    value = power

    @formula
    def gradient_input(grad, input, exponent):
        return where(exponent == 0, 0, grad * exponent * power(input, exponent - 1))

    @formula
    def gradient_exponent(grad, input, exponent, output):
        # Powers of 0 have no slope, though the logarithm is -inf there.
        return where((input == 0) & (exponent >= 0), 0, grad * output * log(input))

    @classmethod
    def saved_where(cls, edges):
        """As the formulas say, also in half precision."""
        return cls.needed_by(edges)

    def backward(self, grad):
        """As the family's; half types in PyTorch's steps, in each of which numbers may overflow."""
        if grad.dtype not in _HALVES:
            return super().backward(grad)
        x, exponent = self.inputs
        first = second = None
        if self.edges[0] is not None:
            first = grad * where(exponent == 0, 0, exponent * pow_(x, exponent - 1))
        if self.edges[1] is not None:
            x = grad.new_full((), x) if isinstance(x, numbers.Number) else x.to(grad.dtype)
            second = grad * where((x == 0) & (exponent >= 0), 0, self.output * x.log())
        return first, second

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw.uniform(0.3, 2, *shape), draw.uniform(-2, 3, *shape)
        yield draw.uniform(0.3, 2, 4, 6).T, draw.uniform(-2, 3, 4)
        yield draw(7), 3
        yield draw.uniform(0.3, 2, 7), -1.5
        yield 2, draw(7)
        yield draw.integers(-9, 9, 5, 7), draw.integers(0, 9, 5, 7)
        yield draw.integers(-3, 3, 9, dtype=np.int32), draw.integers(-3, 3, 9, dtype=np.int32)


@export("pow", "Tensor.pow", out=True)
def pow_(input, exponent):
    """input to the power exponent; either may be a number."""
    if isinstance(exponent, numbers.Number) and hasattr(input, "requires_grad"):
        kind = dtypes.of(input.array.dtype)
        if not kind.is_floating_point:
            if isinstance(exponent, int) and exponent < 0:
                raise RuntimeError("Integers to negative integer powers are not allowed.")
        elif exponent == 2:
            return Square.apply(input)
        elif exponent == 0.5 and not input.requires_grad:  # whose gradient reads the result, that of a power does not
            return Sqrt.apply(input)
    return Pow.apply(input, exponent)


enter("Tensor.__pow__", operator_of(pow_))


def reverse_power(self, other):
    """other to the power self."""
    return Pow.apply(other, self)


enter("Tensor.__rpow__", operator_of(reverse_power))
