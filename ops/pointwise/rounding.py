"""To whole numbers, and questions about a single number: floor, round, isnan, ..."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import export
from tritorch.ops.formula import floor, formula, nearest
from tritorch.ops.pointwise.family import Step, Unary
from tritorch.ops.promotion import floating_only, predicate, without_bool
from tritorch.runtime import tl
from tritorch.runtime.language import libdevice


def whole_already(ufunc):
    """`ufunc` for floating point; integers are copied."""

    def reference(x):
        return x.copy() if x.dtype.kind in "iu" else ufunc(x)

    return staticmethod(reference)


class Floor(Step):
    """The largest whole number not above input."""

    exports = ("floor", "Tensor.floor")
    types = staticmethod(without_bool("floor_vml_cpu"))
    reference = whole_already(np.floor)
    value = floor


class Ceil(Step):
    """The smallest whole number not below input."""

    exports = ("ceil", "Tensor.ceil")
    types = staticmethod(without_bool("ceil_vml_cpu"))
    reference = whole_already(np.ceil)

    @formula
    def value(x):
        return tl.ceil(x) if x.dtype.is_floating() else x


class Trunc(Step):
    """The whole part of input: rounded towards zero."""

    exports = ("trunc", "fix", "Tensor.trunc", "Tensor.fix")
    types = staticmethod(without_bool("trunc_vml_cpu"))
    reference = whole_already(np.trunc)

    @formula
    def value(x):
        return libdevice.trunc(x) if x.dtype.is_floating() else x


class Round(Step):
    """The nearest whole number, the even one of two that are equally near."""

    types = staticmethod(without_bool("round_vml_cpu"))
    reference = whole_already(np.rint)
    value = nearest


@export("round", "Tensor.round", out=True)
def round_(input, *, decimals=0):
    """input rounded to `decimals` places; halves go to the even neighbour."""
    if decimals == 0:
        return Round.apply(input)
    scale = 10.0 ** abs(decimals)
    return Round.apply(input * scale) / scale if decimals > 0 else Round.apply(input / scale) * scale


class Frac(Unary):
    """input - trunc(input)."""

    exports = ("frac", "Tensor.frac")
    types = staticmethod(floating_only("frac_cpu"))
    samples = staticmethod(Step.samples)
    reference = staticmethod(lambda x: x - np.trunc(x))

    @formula
    def value(x):
        return x - libdevice.trunc(x)

    def backward(self, grad):
        """The gradient itself."""
        return (grad,)


class Question(Unary, abstract=True):
    """A question about each number; the answers are bools."""

    types = staticmethod(predicate)

    @staticmethod
    def samples(draw):
        odd = np.asarray([0, -0.0, 1, -1, np.nan, np.inf, -np.inf]).astype(draw.dtype)
        yield (odd,)
        yield (draw(5, 7),)
        yield (draw(0, 3),)
        yield (np.asarray(np.nan, draw.dtype),)
        yield (draw.integers(-5, 5, 4),)
        yield (draw.booleans(4),)


class Isnan(Question):
    """Whether input is not a number."""

    exports = ("isnan", "Tensor.isnan")
    reference = staticmethod(np.isnan)

    @formula
    def value(x):
        return x != x


class Isfinite(Question):
    """Whether input is neither infinite nor NaN."""

    exports = ("isfinite", "Tensor.isfinite")
    reference = staticmethod(np.isfinite)

    @formula
    def value(x):
        return x - x == 0


class Isinf(Question):
    """Whether input is infinite."""

    exports = ("isinf", "Tensor.isinf")
    reference = staticmethod(np.isinf)

    @formula
    def value(x):
        return (x == x) & (x - x != 0)


class Isposinf(Question):
    """Whether input is infinity."""

    exports = ("isposinf", "Tensor.isposinf")
    reference = staticmethod(lambda x: x == np.inf)

    @formula
    def value(x):
        return x == float("inf")


class Isneginf(Question):
    """Whether input is minus infinity."""

    exports = ("isneginf", "Tensor.isneginf")
    reference = staticmethod(lambda x: x == -np.inf)

    @formula
    def value(x):
        return x == float("-inf")


class Signbit(Question):
    """Whether the sign is set, which it is of -0.0 too."""

    exports = ("signbit", "Tensor.signbit")
    reference = staticmethod(lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0)

    @formula
    def value(x):
        if x.dtype.is_floating():
            return libdevice.signbit(x) != 0
        else:  # noqa: RET505, of these two branches Triton compiles one
            return x < 0
