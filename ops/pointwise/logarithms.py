"""Products with logarithms, odds, and sums of powers of two."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import divide, formula, log, log1p, sigmoid, where
from tritorch.ops.pointwise.exponential import Positive
from tritorch.ops.pointwise.family import Binary, Floating, straddling
from tritorch.ops.pointwise.selection import Extreme
from tritorch.ops.promotion import floating, floating_only
from tritorch.runtime import tl
from tritorch.runtime.language import libdevice


class Logaddexp2(Extreme):
    """log2(2^input + 2^other), without overflow."""

    exports = ("logaddexp2", "Tensor.logaddexp2")
    reference = staticmethod(np.logaddexp2)
    types = staticmethod(floating_only("logaddexp2_cpu"))

    @formula
    def value(x, y):
        larger = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
        # Where both are the same infinity their difference is NaN, and the larger is the result.
        distance = tl.where(x == y, 0, tl.abs(x - y))
        return larger + libdevice.log1p(tl.exp2(-distance)) * 1.4426950408889634

    @formula
    def slope_input(input, other):
        return sigmoid((input - other) * 0.6931471805599453)

    @formula
    def slope_other(input, other):
        return sigmoid((other - input) * 0.6931471805599453)


class TimesLogarithm(Binary, abstract=True):
    """A number times a logarithm, in floating point; 0 where the number is 0."""

    types = staticmethod(floating)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), draw.uniform(0.2, 3, *shape)
        yield draw(5, 1, 4), draw.uniform(0.2, 3, 3, 1)
        yield draw(4, 6).T, draw.uniform(0.2, 3, 6, 4)[::-1]
        yield draw(7), 2.5
        yield 2.5, draw.uniform(0.2, 3, 7)
        yield draw.integers(-5, 5, 7), draw.integers(1, 5, 7)


class Xlogy(TimesLogarithm):
    """input * log(other); 0 where input is 0, unless other is NaN."""

    exports = ("xlogy", "Tensor.xlogy", "special.xlogy")
    reference = staticmethod(lambda x, y: np.where((x == 0) & (y == y), 0, x * np.log(y)))

    @formula
    def value(x, y):
        return where((x == 0) & (y == y), 0, x * log(y))

    @formula
    def gradient_input(grad, input, other):
        return where(((input == 0) & (other <= 0)) | (grad == 0), 0, grad * log(other))

    @formula
    def gradient_other(grad, input, other):
        return divide(grad * input, other)


class Xlog1py(TimesLogarithm):
    """input * log(1 + other); 0 where input is 0, unless other is NaN."""

    op_name = "xlog1py"
    exports = ("special.xlog1py",)
    reference = staticmethod(lambda x, y: np.where((x == 0) & (y == y), 0, x * np.log1p(y)))

    @formula
    def value(x, y):
        return where((x == 0) & (y == y), 0, x * log1p(y))

    @formula
    def gradient_input(grad, input, other):
        return where(((input == 0) & (other <= -1)) | (grad == 0), 0, grad * log1p(other))

    @formula
    def gradient_other(grad, input, other):
        return divide(grad * input, other + 1)


class Entr(Positive):
    """-input * log(input), 0 at 0 and -inf below: what a probability adds to an entropy."""

    exports = ("special.entr",)

    @staticmethod
    def reference(x):
        return np.where(x > 0, -x * np.log(x), np.where(x == 0, 0, np.where(x < 0, -np.inf, x)))

    @formula
    def value(x):
        return where(x > 0, -x * log(x), where(x == 0, 0, where(x < 0, float("-inf"), x)))

    @formula
    def slope(input):
        return -(log(input) + 1)


class Logit(Floating):
    """log(input / (1 - input)), the odds of a probability; NaN outside 0 and 1."""

    reference = staticmethod(lambda x: np.log(x / (1 - x)))

    @formula
    def value(x):
        return log(divide(x, 1 - x))

    @formula
    def gradient(grad, input):
        return where((input >= 0) & (input <= 1), divide(grad, input * (1 - input)), float("nan"))

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.uniform(0.1, 0.9, *shape),)
        yield (draw.uniform(0.1, 0.9, 6, 4).T,)
