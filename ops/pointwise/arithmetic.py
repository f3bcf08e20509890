"""Sums, products and quotients, element by element."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import TABLE, enter, export, one_call, operator_of
from tritorch.ops.formula import absolute, divide, formula, sign
from tritorch.ops.guard import need_tensors
from tritorch.ops.pointwise.division import DivideFloor, DivideTrunc
from tritorch.ops.pointwise.family import Binary, Pointwise, Step, Unary, straddling
from tritorch.ops.promotion import arithmetic, floating, refusing_bool, without_bool
from tritorch.runtime import dtypes

_NO_BOOL = (
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
    "`~` or `logical_not()` operator instead."
)


def scaled(op, input, other, alpha):
    """`other * alpha`, with PyTorch's errors for an `alpha` of a higher category."""
    common = dtypes.result_type(*(getattr(each, "array", each) for each in (input, other)))
    if isinstance(alpha, float) and not common.is_floating_point:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if alpha is True and common is not dtypes.bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    return other * alpha


def call_with(op, input, other, alpha, sign):
    """The op and the arguments that give input + sign * alpha * other."""
    if alpha == 1 and alpha is not True:
        return TABLE[op], (input, other)
    by = scaled(op, input, other, alpha) if not _is_one_call(input, other, alpha) else None
    return (AddScaled, (input, other, sign * alpha)) if by is None else (TABLE[op], (input, by))


def _is_one_call(input, other, alpha):
    """Whether a scaled sum is computed at once: of floating-point tensors and a number."""
    kinds = [getattr(getattr(each, "array", None), "dtype", None) for each in (input, other)]
    return type(alpha) in (int, float) and None not in kinds and all(kind.kind in "fV" for kind in kinds)


class AddScaled(Pointwise):
    """input + alpha * other, for floating point and a number alpha."""

    arguments = ("input", "other", "alpha")
    reference = staticmethod(lambda input, other, alpha: input + other * alpha)

    @formula
    def value(x, y, alpha):
        return x + y * alpha

    @staticmethod
    def quick(input, other, alpha):
        """The reference, in one array where the product fills the result."""
        product = np.multiply(other, alpha)
        if product.ndim and product.shape == np.broadcast(input, product).shape and product.dtype == input.dtype:
            return np.add(input, product, out=product)
        return input + product

    def backward(self, grad):
        """The gradient for the first, alpha times it for the second."""
        return grad, grad * self.inputs[2] if self.edges[1] is not None else None, None

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), draw(*shape), 0.5
        yield draw(5, 1, 4), draw(3, 1), -2
        yield draw(4, 6).T, draw(6, 4)[::-1], 3.0


class Add(Binary):
    """input + alpha * other."""

    exports = ("add", "Tensor.add", "Tensor.__add__", "Tensor.__radd__")
    reference = staticmethod(np.add)

    @formula
    def value(x, y):
        return x + y

    @classmethod
    def call(cls, input, other, *, alpha=1):
        op, arguments = call_with("add", input, other, alpha, 1)
        return op.apply(*arguments)

    @classmethod
    def one_call(cls, input, other, *, alpha=1):
        return call_with("add", input, other, alpha, 1)

    def backward(self, grad):
        """The gradient itself, for both."""
        return grad, grad


class Sub(Binary):
    """input - alpha * other."""

    exports = ("sub", "subtract", "Tensor.sub", "Tensor.subtract", "Tensor.__sub__")
    reference = staticmethod(np.subtract)

    @staticmethod
    def types(arrays):
        if all(getattr(each, "dtype", None) == np.bool_ for each in arrays):
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. "
                "Use the `^` or `logical_xor()` operator instead."
            )
        return _without_bools(arrays)

    @formula
    def value(x, y):
        return x - y

    @classmethod
    def call(cls, input, other, *, alpha=1):
        op, arguments = call_with("sub", input, other, alpha, -1)
        return op.apply(*arguments)

    @classmethod
    def one_call(cls, input, other, *, alpha=1):
        return call_with("sub", input, other, alpha, -1)

    def backward(self, grad):
        """The gradient for the first, its negative for the second."""
        return grad, -grad if self.edges[1] is not None else None


_without_bools = refusing_bool(_NO_BOOL)


@export("rsub")
def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    need_tensors("rsub", input=input)
    return Sub.apply(other, input if alpha == 1 else scaled("rsub", other, input, alpha))


enter("Tensor.__rsub__", operator_of(rsub))


class Mul(Binary):
    """input * other."""

    exports = ("mul", "multiply", "Tensor.mul", "Tensor.multiply", "Tensor.__mul__", "Tensor.__rmul__")
    reference = staticmethod(np.multiply)
    quick_gradient_input = quick_gradient_other = staticmethod(np.multiply)

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

    shown_as = "Div"
    reference = staticmethod(np.true_divide)
    types = staticmethod(floating)
    quick_gradient_input = staticmethod(np.true_divide)
    value = divide

    @formula
    def gradient_input(grad, other):
        return divide(grad, other)

    @formula
    def gradient_other(grad, input, other):  # not by the output, which scripts write over
        return -grad * divide(divide(input, other), other)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), draw.uniform(0.4, 3, *shape)
        yield draw(5, 1, 4), draw.uniform(-3, -0.4, 3, 1)
        yield draw(4, 6).T, draw.uniform(0.4, 3, 6, 4)[::-1]
        yield draw(7), 2.5
        yield 2.5, draw.uniform(0.4, 3, 7)
        yield draw.integers(-5, 5, 7), draw.integers(1, 5, 7)


_ROUNDED = {None: TrueDivide, "floor": DivideFloor, "trunc": DivideTrunc}


@export("div", "divide", "Tensor.div", "Tensor.divide", out=True)
@one_call(lambda input, other, *, rounding_mode=None: (_ROUNDED[rounding_mode], (input, other)))
def div(input, other, *, rounding_mode=None):
    """input / other; rounded down with rounding_mode="floor", towards zero with "trunc", which both keep integers.

    An integer divided by zero is an error on the CPU, and 0 on devices that run kernels.
    """
    if rounding_mode not in _ROUNDED:
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    return _ROUNDED[rounding_mode].apply(input, other)


@export("true_divide", "Tensor.true_divide", out=True)
def true_divide(input, other):
    """input / other, in floating point."""
    return TrueDivide.apply(input, other)


enter("Tensor.__truediv__", TrueDivide.operator())


def reverse_divide(self, other):
    """other / self."""
    if not hasattr(self, "array"):
        raise AttributeError(f"'{type(self).__name__}' object has no attribute 'reciprocal'")
    return TrueDivide.apply(other, self)


export("Tensor.__rtruediv__", "Tensor.__rdiv__", autocast=FLOAT32_ON_GPUS)(operator_of(reverse_divide))


class Neg(Unary):
    """-input."""

    exports = ("neg", "negative", "Tensor.neg", "Tensor.negative", "Tensor.__neg__")
    reference = staticmethod(np.negative)
    types = staticmethod(
        refusing_bool(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead.",
        )
    )

    @formula
    def value(x):
        return -x

    def backward(self, grad):
        """The negated gradient."""
        return (-grad,)


class Reciprocal(Unary):
    """1 / input, in floating point."""

    exports = ("reciprocal", "Tensor.reciprocal")
    autocast = FLOAT32_ON_GPUS
    types = staticmethod(floating)
    reference = staticmethod(np.reciprocal)

    @formula
    def value(x):
        return divide((x == x).to(x.dtype), x)  # 1, and NaN where x is

    @formula
    def slope(output):
        return -output * output

    @staticmethod
    def samples(draw):
        yield (draw.uniform(0.1, 3, 5, 7),)
        yield (draw.uniform(-3, -0.1, 1025),)
        yield (draw.uniform(0.1, 3),)


class Square(Unary):
    """input * input."""

    shown_as = "Pow"
    exports = ("square", "Tensor.square")
    autocast = FLOAT32_ON_GPUS
    reference = staticmethod(np.square)

    @staticmethod
    def types(arrays):
        compute, result = arithmetic(arrays)
        return (dtypes.int64.numpy,) * 2 if result == np.bool_ else (compute, result)

    @formula
    def value(x):
        return x * x

    @formula
    def slope(input):
        return 2 * input


class Abs(Unary):
    """The absolute value of input."""

    exports = ("abs", "absolute", "Tensor.abs", "Tensor.absolute", "Tensor.__abs__")
    types = staticmethod(without_bool("abs_cpu"))
    reference = staticmethod(np.abs)
    value = absolute

    @formula
    def slope(input):
        return sign(input)


class Sign(Step):
    """-1, 0 or 1: the sign of input; NaN gives 0."""

    exports = ("sign", "sgn", "Tensor.sign", "Tensor.sgn")
    reference = staticmethod(sign.host)
    value = sign
