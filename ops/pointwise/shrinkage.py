"""Activations that shrink, cut off or gate: softshrink, threshold, prelu and their relatives."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import LOWER
from tritorch.ops.formula import absolute, divide, formula, sigmoid, tanh, where
from tritorch.ops.pointwise.activation import Kinked, Parametrised
from tritorch.ops.pointwise.family import Binary, Floating, straddling
from tritorch.ops.promotion import floating_only, without_bool


class Softsign(Floating):
    """input / (1 + |input|)."""

    exports = ("nn.functional.softsign",)
    reference = staticmethod(lambda x: x / (1 + np.abs(x)))

    @formula
    def value(x):
        return divide(x, absolute(x) + 1)

    @formula
    def gradient(grad, input):
        scale = absolute(input) + 1
        return divide(grad, scale * scale)


class Tanhshrink(Floating):
    """input - tanh(input)."""

    exports = ("nn.functional.tanhshrink",)
    reference = staticmethod(lambda x: x - np.tanh(x))

    @formula
    def value(x):
        return x - tanh(x)

    @formula
    def slope(input):
        bent = tanh(input)
        return bent * bent


def _not_of_bools(arrays):
    """The dtype of the tensor, which is not of bools."""
    return without_bool("threshold_cpu")([each for each in arrays if hasattr(each, "dtype")])


class Threshold(Parametrised):
    """input above threshold, value elsewhere."""

    arguments = ("input", "threshold", "value_below")
    parameters = (-0.5, 1.5)
    types = staticmethod(_not_of_bools)
    reference = staticmethod(lambda x, threshold, value: np.where(x <= threshold, value, x))

    @formula
    def value(x, threshold, below):
        return where(x <= threshold, below, x)

    @formula
    def gradient(grad, input, threshold):
        return where(input <= threshold, 0, grad)


class Softshrink(Parametrised):
    """input moved towards 0 by lambd, 0 between -lambd and lambd."""

    arguments = ("input", "lambd")
    parameters = (0.5,)
    types = staticmethod(floating_only("softshrink_check"))

    @staticmethod
    def reference(x, lambd):
        return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, x * 0))

    @formula
    def value(x, lambd):
        return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * 0))

    @formula
    def gradient(grad, input, lambd):
        return where((input >= -lambd) & (input <= lambd), 0, grad)


class Hardshrink(Parametrised):
    """input, but 0 between -lambd and lambd."""

    arguments = ("input", "lambd")
    argument_defaults = (0.5,)
    parameters = (0.5,)
    exports = ("hardshrink", "Tensor.hardshrink", "nn.functional.hardshrink")
    types = staticmethod(floating_only("hardshrink_cpu"))
    reference = staticmethod(lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), 0, x))

    @formula
    def value(x, lambd):
        return where((x >= -lambd) & (x <= lambd), 0, x)

    @formula
    def gradient(grad, input, lambd):
        return where((input >= -lambd) & (input <= lambd), 0, grad)


class Prelu(Binary):
    """input above 0, weight * input elsewhere [He et al. 2015]; weight is broadcast, and its gradient summed."""

    autocast = LOWER
    arguments = ("input", "weight")
    types = staticmethod(floating_only("prelu_cpu"))
    reference = staticmethod(lambda x, weight: np.where(x > 0, x, x * weight))

    @formula
    def value(x, weight):
        return where(x > 0, x, x * weight)

    @formula
    def gradient_input(grad, input, weight):
        return where(input > 0, grad, grad * weight)

    @formula
    def gradient_weight(grad, input):
        return where(input > 0, 0, grad * input)

    @staticmethod
    def samples(draw):
        for (sample,), shape in zip(Kinked.samples(draw), straddling(), strict=False):
            yield sample, draw(*shape)
        yield draw.uniform(0.1, 2, 5, 3, 4), draw(3, 1)
        yield draw.uniform(-2, -0.1, 6, 4).T, draw(1)


class Gated(Binary):
    """input * sigmoid(gate), the two halves of glu [Dauphin et al. 2017]."""

    arguments = ("input", "gate")
    types = staticmethod(floating_only("glu_cpu"))
    reference = staticmethod(lambda x, gate: x / (1 + np.exp(-gate)))

    @formula
    def value(x, gate):
        return x * sigmoid(gate)

    @formula
    def slope_input(gate):
        return sigmoid(gate)

    @formula
    def slope_gate(input, gate):
        s = sigmoid(gate)
        return input * s * (1 - s)
