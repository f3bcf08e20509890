"""Integers: shifts, the greatest common divisor and the least common multiple."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import export
from tritorch.ops.formula import formula, some
from tritorch.ops.pointwise.family import Binary
from tritorch.ops.pointwise.selection import Extreme
from tritorch.ops.promotion import integers_only
from tritorch.runtime import tl


class Shift(Binary, abstract=True):
    """Integers shifted by bits; nobody shifts by a negative number or by more bits than there are."""

    @staticmethod
    def samples(draw):
        yield draw.integers(-90, 90, 5, 7), draw.integers(-3, 70, 5, 7)
        yield draw.integers(-90, 90, 1025, dtype=np.int32), draw.integers(-3, 40, 1025, dtype=np.int32)
        yield draw.integers(0, 255, 4, 6, dtype=np.uint8).T, draw.integers(0, 11, 4, dtype=np.uint8)
        yield draw.integers(-90, 90, 9, dtype=np.int8)[::-2], 3
        yield draw.integers(-90, 90, 0, 3), 1
        yield 5, draw.integers(0, 9, 3, dtype=np.int16)


def _bits(x, y):
    """The common dtype, its number of bits, and where `y` is a number of bits to shift by."""
    kind = np.result_type(x, y)
    bits = 8 * kind.itemsize
    shift = np.asarray(y, kind)
    return np.asarray(x, kind), shift, (shift >= 0) & (shift < bits), bits


def left_shift_on_host(x, y):
    """x * 2^y, wrapped; 0 where y is negative or shifts everything out."""
    x, shift, valid, _ = _bits(x, y)
    return np.where(valid, np.left_shift(x, np.where(valid, shift, 0)), 0).astype(x.dtype)


def right_shift_on_host(x, y):
    """x / 2^y rounded down; only the sign is left where y is negative or shifts everything out."""
    x, shift, valid, bits = _bits(x, y)
    if x.dtype.kind == "u":
        return np.where(valid, np.right_shift(x, np.where(valid, shift, 0)), 0).astype(x.dtype)
    return np.right_shift(x, np.where(valid, shift, bits - 1).astype(x.dtype))


class BitwiseLeftShift(Shift):
    """input shifted to the left by other bits: 0 where other is negative or shifts everything out."""

    exports = ("bitwise_left_shift", "Tensor.bitwise_left_shift", "Tensor.__lshift__")
    types = staticmethod(integers_only("lshift_cpu"))
    reference = staticmethod(left_shift_on_host)

    @formula
    def value(x, y):
        valid = (y >= 0) & (y < x.dtype.primitive_bitwidth)
        return tl.where(valid, x << tl.where(valid, y, 0).to(x.dtype), 0)


class BitwiseRightShift(Shift):
    """input shifted to the right by other bits, the sign kept: only it is left where other is out of range."""

    exports = ("bitwise_right_shift", "Tensor.bitwise_right_shift", "Tensor.__rshift__")
    types = staticmethod(integers_only("rshift_cpu"))
    reference = staticmethod(right_shift_on_host)

    @formula
    def value(x, y):
        valid = (y >= 0) & (y < x.dtype.primitive_bitwidth)
        shifted = x >> tl.where(valid, y, 0).to(x.dtype)
        return tl.where(valid, shifted, tl.where(x < 0, -1, 0).to(x.dtype))


@export("Tensor.__rlshift__")
def reverse_left_shift(self, other):
    """other << self."""
    return BitwiseLeftShift.apply(other, self)


@export("Tensor.__rrshift__")
def reverse_right_shift(self, other):
    """other >> self."""
    return BitwiseRightShift.apply(other, self)


@formula(host=np.gcd)
def gcd(x, y):
    """Euclid's algorithm, as long as one element of the block needs it."""
    larger, smaller = tl.abs(x), tl.abs(y)
    going = some(smaller != 0)
    while going:
        zero = smaller == 0
        rest = larger % tl.where(zero, 1, smaller).to(x.dtype)
        larger, smaller = tl.where(zero, larger, smaller), tl.where(zero, smaller, rest)
        going = some(smaller != 0)
    return larger


class Divisors(Extreme, abstract=True):
    """What two integers have in common; numbers are refused, as PyTorch does."""

    @staticmethod
    def samples(draw):
        yield draw.integers(-90, 90, 5, 7), draw.integers(-90, 90, 5, 7)
        yield draw.integers(-90, 90, 1025, dtype=np.int32), draw.integers(-90, 90, 1025, dtype=np.int32)
        yield draw.integers(0, 13, 4, 6, dtype=np.uint8).T, draw.integers(0, 13, 4, dtype=np.uint8)
        yield draw.integers(0, 11, 9, dtype=np.int8)[::-2], draw.integers(0, 11, 5, dtype=np.int8)
        yield draw.integers(-90, 90, 0, 3), draw.integers(-90, 90, 3)
        yield np.asarray(0), np.asarray(0)


class Gcd(Divisors):
    """The greatest common divisor of |input| and |other|; gcd(0, 0) is 0."""

    exports = ("gcd", "Tensor.gcd")
    types = staticmethod(integers_only("gcd_cpu"))
    reference = staticmethod(np.gcd)
    value = gcd


class Lcm(Divisors):
    """The least common multiple of |input| and |other|; 0 where either is 0."""

    exports = ("lcm", "Tensor.lcm")
    types = staticmethod(integers_only("lcm_cpu"))
    reference = staticmethod(np.lcm)

    @formula
    def value(x, y):
        common = gcd(x, y)
        return tl.abs(x // tl.where(common == 0, 1, common).to(x.dtype)) * tl.abs(y)
