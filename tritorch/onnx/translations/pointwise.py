"""Pointwise ops: those that ONNX has by name. All others are written down as their formulas; see tracer.py."""

from __future__ import annotations

import math

import numpy as np

from tritorch.onnx.graph import Value
from tritorch.onnx.registry import translates

# Ops of floating-point arguments and result.
_FLOATS = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin",
    "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh",
    "atanh": "Atanh", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf", "true_divide": "Div",
    "reciprocal": "Reciprocal", "softsign": "Softsign", "pow": "Pow", "mish": "Mish", "hardswish": "HardSwish",
    "prelu": "PRelu",
}  # fmt: skip
# Ops whose arguments have the dtype of the result.
_ALIKE = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg", "abs": "Abs", "sign": "Sign", "maximum": "Max",
    "minimum": "Min", "relu": "Relu", "floor": "Floor", "ceil": "Ceil", "round": "Round",
}  # fmt: skip
# Ops that compare, with a bool as result.
_COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}
_BITWISE = {"bitwise_and": ("And", "BitwiseAnd"), "bitwise_or": ("Or", "BitwiseOr"),
            "bitwise_xor": ("Xor", "BitwiseXor"), "bitwise_not": ("Not", "BitwiseNot")}  # fmt: skip


def _as(graph, dtype, arguments):
    return [graph.cast(each, dtype) if isinstance(each, Value) else graph.constant(each, dtype) for each in arguments]


def _result_typed(kind):
    def translate(graph, out, *arguments):
        return graph.node(kind, *_as(graph, out.array.dtype, arguments))

    return translate


for _names in (_FLOATS, _ALIKE):
    for _name, _kind in _names.items():
        translates(_name)(_result_typed(_kind))


def common_dtype(arguments):
    """The dtype in which values of several dtypes, and numbers, are compared."""
    found = [each.dtype for each in arguments if isinstance(each, Value)]
    dtype = np.result_type(*found) if len(set(found)) > 1 else found[0]
    if dtype.kind in "biu" and any(isinstance(each, float) for each in arguments):
        return np.dtype(np.float32)
    return dtype


def _compared(kind):
    def translate(graph, out, *arguments):
        dtype = common_dtype(arguments)
        if dtype == np.bool_ and kind != "Equal":
            dtype = np.dtype(np.int32)
        return graph.node(kind, *_as(graph, dtype, arguments))

    return translate


for _name, _kind in _COMPARISONS.items():
    translates(_name)(_compared(_kind))


def _truth(kind):
    def translate(graph, out, *arguments):
        return graph.node(kind, *_as(graph, np.bool_, arguments))

    return translate


for _name, _kind in _LOGICAL.items():
    translates(_name)(_truth(_kind))


def _bits(of_bools, of_numbers):
    def translate(graph, out, *arguments):
        kind = of_bools if out.array.dtype == np.bool_ else of_numbers
        return graph.node(kind, *_as(graph, out.array.dtype, arguments))

    return translate


for _name, _kinds in _BITWISE.items():
    translates(_name)(_bits(*_kinds))


@translates("ne")
def not_equal(graph, out, *arguments):
    return graph.node("Not", graph.node("Equal", *_as(graph, common_dtype(arguments), arguments)))


@translates("rsqrt")
def rsqrt(graph, out, input):
    return graph.node("Reciprocal", graph.node("Sqrt", graph.cast(input, out.array.dtype)))


@translates("isnan")
def isnan(graph, out, input):
    return graph.node("IsNaN", input)


@translates("isinf")
def isinf(graph, out, input):
    return graph.node("IsInf", input)


@translates("trunc")
def trunc(graph, out, input):
    return graph.node("Mul", graph.node("Sign", input), graph.node("Floor", graph.node("Abs", input)))


@translates("expm1")
def expm1(graph, out, input):
    return graph.node("Sub", graph.node("Exp", input), graph.constant(1, input.dtype))


@translates("log1p")
def log1p(graph, out, input):
    return graph.node("Log", graph.node("Add", input, graph.constant(1, input.dtype)))


@translates("erfc")
def erfc(graph, out, input):
    return graph.node("Sub", graph.constant(1, input.dtype), graph.node("Erf", input))


def _logarithm(base):
    def translate(graph, out, input):
        scale = graph.constant(1 / math.log(base), out.array.dtype)
        return graph.node("Mul", graph.node("Log", graph.cast(input, out.array.dtype)), scale)

    return translate


translates("log2")(_logarithm(2))
translates("log10")(_logarithm(10))


@translates("fmod")
def fmod(graph, out, *arguments):
    return graph.node("Mod", *_as(graph, out.array.dtype, arguments), fmod=1)


@translates("remainder")
def remainder(graph, out, *arguments):
    given = _as(graph, out.array.dtype, arguments)
    if out.array.dtype.kind in "iu":
        return graph.node("Mod", *given)
    whole = graph.node("Floor", graph.node("Div", *given))  # Mod of floats has the sign of the dividend
    return graph.node("Sub", given[0], graph.node("Mul", whole, given[1]))


@translates("divide_floor")
def divide_floor(graph, out, input, other):
    dtype = out.array.dtype
    wide = dtype if dtype.kind == "f" else np.dtype(np.float64)
    whole = graph.node("Floor", graph.node("Div", *_as(graph, wide, (input, other))))
    whole.dtype = wide
    return graph.cast(whole, dtype)


@translates("where")
def where(graph, out, condition, input, other):
    return graph.node("Where", graph.cast(condition, np.bool_), *_as(graph, out.array.dtype, (input, other)))


@translates("clamp_min")
def clamp_min(graph, out, input, low):
    return clamp(graph, out, input, low, None)


@translates("clamp_max")
def clamp_max(graph, out, input, high):
    return clamp(graph, out, input, None, high)


@translates("hardtanh", "clamp_both")
def clamp(graph, out, input, low, high):
    found = graph.cast(input, out.array.dtype)
    for kind, bound in (("Max", low), ("Min", high)):
        if bound is not None:
            found = graph.node(kind, found, *_as(graph, out.array.dtype, (bound,)))
    return found


@translates("leaky_relu")
def leaky_relu(graph, out, input, negative_slope):
    return graph.node("LeakyRelu", input, alpha=float(negative_slope))


@translates("cast")
def cast(graph, out, input, dtype):
    return graph.cast(input, dtype)


@translates("clone", "to_device", "boundary", "laid_out")
def same(graph, out, input, *settings):
    return graph.node("Identity", input)


@translates("overwritten_by")
def overwritten_by(graph, out, input, source):
    source = graph.cast(source, out.array.dtype)
    return graph.node("Expand", source, graph.indices(*out.array.shape))
