"""Losses of an input against a target, element by element: one kernel forward and one for each gradient."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32
from tritorch.ops.formula import absolute, exp, formula, log, log1p, maximum, sigmoid
from tritorch.ops.pointwise.family import Binary


class SquaredDifference(Binary):
    """(input - other)^2."""

    @staticmethod
    def reference(x, y):
        difference = np.subtract(x, y)
        return difference * difference

    @formula
    def value(x, y):
        return (x - y) * (x - y)

    @formula
    def slope_input(input, other):
        return (input - other) * 2

    @formula
    def slope_other(input, other):
        return (other - input) * 2


class BinaryCrossEntropy(Binary):
    """-(other log input + (1 - other) log(1 - input)), where a logarithm counts as -100 at least."""

    @staticmethod
    def reference(x, y):
        return (y - 1) * np.maximum(np.log1p(-x), -100) - y * np.maximum(np.log(x), -100)

    @formula
    def value(x, y):
        return (y - 1) * maximum(log1p(-x), x * 0 - 100) - y * maximum(log(x), x * 0 - 100)

    @formula
    def slope_input(input, other):
        spread = (1 - input) * input
        return (input - other) / maximum(spread, spread * 0 + 1e-12)

    @formula
    def slope_other(input):
        return log1p(-input) - log(input)

    @staticmethod
    def samples(draw):
        for shape in ((), (1,), (0, 3), (5, 7), (1025,)):
            yield draw.uniform(0.1, 0.9, *shape), draw.uniform(0, 1, *shape)
        yield draw.uniform(0.1, 0.9, 4, 6).T, draw.uniform(0, 1, 6, 4)[::-1]


class BinaryCrossEntropyWithLogits(Binary):
    """max(input, 0) - input other + log(1 + exp(-|input|)): of sigmoid(input), without overflow."""

    autocast = FLOAT32

    @staticmethod
    def reference(x, y):
        return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))

    @formula
    def value(x, y):
        return maximum(x, x * 0) - x * y + log1p(exp(-absolute(x)))

    @formula
    def slope_input(input, other):
        return sigmoid(input) - other

    @formula
    def slope_other(input):
        return -input
