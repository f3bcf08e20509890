"""Pointwise functions that are made of others: addcmul, lerp, isclose, ..."""

from __future__ import annotations

import numbers

from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.variable import Variable
from tritorch.ops.autocast import FLOAT32_ON_GPUS, WIDEST_ON_GPUS
from tritorch.ops.base import TABLE, export, one_call
from tritorch.ops.guard import need_tensors
from tritorch.ops.named_results import returns
from tritorch.ops.promotion import C_TYPES, KIND_NAMES, largest_of
from tritorch.runtime import dtypes


def _at_once(op):
    """What says that a call with floating-point tensors and a number is one call of `op`."""

    def decide(input, tensor1, tensor2, *, value=1):
        floating = all(isinstance(each, Variable) and each.is_floating_point() for each in (input, tensor1, tensor2))
        return (TABLE[op], (input, tensor1, tensor2, value)) if floating and type(value) in (int, float) else None

    return decide


_product_added, _quotient_added = _at_once("add_product"), _at_once("add_quotient")


@export("addcmul", "Tensor.addcmul", out=True, autocast=WIDEST_ON_GPUS)
@one_call(_product_added)
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    call = _product_added(input, tensor1, tensor2, value=value)
    if call is not None:
        return call[0].apply(*call[1])
    product = tensor1 * tensor2
    return input + (product if value == 1 else product * value)


@export("addcdiv", "Tensor.addcdiv", out=True, autocast=WIDEST_ON_GPUS)
@one_call(_quotient_added)
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    call = _quotient_added(input, tensor1, tensor2, value=value)
    if call is not None:
        return call[0].apply(*call[1])
    if not tensor1.dtype.is_floating_point and not tensor2.dtype.is_floating_point:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2."
        )
    numerator = tensor1 if value == 1 else tensor1 * value
    return input + numerator / tensor2


def _between(input, end, weight):
    for name, each in (("end", end), ("weight", weight)):
        if isinstance(each, Variable) and each.dtype is not input.dtype:
            names = C_TYPES[input.dtype.name], C_TYPES[each.dtype.name]
            raise RuntimeError(f"expected dtype {names[0]} for `{name}` but got dtype {names[1]}")
    return TABLE["lerp"], (input, end, weight)


@export("lerp", "Tensor.lerp", out=True)
@one_call(_between)
def lerp(input, end, weight):
    """input + weight * (end - input)."""
    op, arguments = _between(input, end, weight)
    return op.apply(*arguments)


@export("ldexp", "Tensor.ldexp", out=True)
def ldexp(input, other):
    """input * 2^other."""
    need_tensors("ldexp", input=input, other=other)
    return input * TABLE["pow"].apply(2.0, other)


Frexp = returns("frexp", "mantissa", "exponent")


@export("frexp", "Tensor.frexp", out=True)
def frexp(input):
    """(mantissa, exponent) with input = mantissa * 2^exponent and |mantissa| between 1/2 and 1; both 0 for 0."""
    need_tensors("frexp", input=input)
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return Frexp(TABLE["mantissa"].apply(input), TABLE["exponent"].apply(input))


@export("nan_to_num", "Tensor.nan_to_num", out=True)
def nan_to_num(input, nan=None, posinf=None, neginf=None):
    """input with `nan` (0) for NaN and `posinf`, `neginf` (the dtype's largest and smallest) for the infinities."""
    need_tensors("nan_to_num", input=input)
    if not input.is_floating_point():
        return input.clone()
    largest = largest_of(input.dtype)
    nan, posinf = 0.0 if nan is None else nan, largest if posinf is None else posinf
    return TABLE["nan_to_num"].apply(input, nan, posinf, -largest if neginf is None else neginf)


@export("nan_to_num_")
def nan_to_num_(input, nan=None, posinf=None, neginf=None):
    """nan_to_num, written over input."""
    return input.nan_to_num_(nan, posinf, neginf)


@export("logit", "Tensor.logit", "special.logit", out=True)
def logit(input, eps=None):
    """log(input / (1 - input)), of input between eps and 1 - eps where `eps` is given; else NaN outside 0 and 1."""
    need_tensors("logit", input=input)
    if eps is not None and eps >= 0:
        input = TABLE["clamp_min"].apply(TABLE["clamp_max"].apply(input, 1 - eps), eps)
    return TABLE["logit"].apply(input)


@export("dist", "Tensor.dist", autocast=FLOAT32_ON_GPUS)
def dist(input, other, p=2):
    """The p-norm of input - other."""
    need_tensors("dist", input=input, other=other)
    return (input - other).norm(p)


@export("positive", "Tensor.positive", "Tensor.__pos__")
def positive(input):
    """The tensor itself, which must not be of bools."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@export("float_power", "Tensor.float_power", out=True)
def float_power(input, exponent):
    """input to the power exponent, in float64."""
    if not isinstance(input, Variable) and not isinstance(exponent, Variable):
        raise TypeError("float_power() received an invalid combination of arguments: one of them must be a Tensor")
    input, exponent = (each.double() if isinstance(each, Variable) else float(each) for each in (input, exponent))
    return input**exponent


@export("isclose", "Tensor.isclose")
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol * |other|, element by element; infinities only match themselves."""
    _same_dtype(input, other)
    for name, each in (("rtol", rtol), ("atol", atol)):
        if each < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {each:g}")
    with no_grad():
        close = input == other
        if equal_nan:
            close = close | (input.isnan() & other.isnan())
        if rtol == 0 and atol == 0:
            return close
        if not input.dtype.is_floating_point:
            input, other = input.to(dtypes.get_default_dtype()), other.to(dtypes.get_default_dtype())
        distance = (input - other).abs()
        return close | (distance.isfinite() & (distance <= atol + (rtol * other).abs()))


@export("allclose", "Tensor.allclose")
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close; see isclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all().item())


def _same_dtype(input, other):
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{KIND_NAMES[input.dtype.name]} did not match {KIND_NAMES[other.dtype.name]}")


@export("equal", "Tensor.equal")
def equal(input, other):
    """Whether both have the same shape and equal elements."""
    if input.array.shape != other.array.shape:
        return False
    return bool((input == other).all().item())


@export("is_nonzero", "Tensor.is_nonzero")
def is_nonzero(input):
    """Whether the only element is not zero."""
    if input.numel() != 1:
        many = "more than one value" if input.numel() else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
    return bool(input.item() != 0)


@export("is_tensor")
def is_tensor(obj):
    """Whether `obj` is a tensor."""
    return isinstance(obj, Variable)


@export("is_floating_point")
def is_floating_point(input):
    """Whether the dtype is a floating-point one."""
    return input.is_floating_point()


@export("result_type")
def result_type(tensor1, tensor2):
    """The dtype that arithmetic on both gives."""
    operands = []
    for each in (tensor1, tensor2):
        if not isinstance(each, (Variable, numbers.Number)):
            raise TypeError(f"result_type(): arguments must be Tensor or Number, not {type(each).__name__}")
        operands.append(each.array if isinstance(each, Variable) else each)
    return dtypes.result_type(*operands)
