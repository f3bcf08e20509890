"""Puts what ops and compositions export where people look for it.

A name is "softmax", "nn.functional.softmax" or "Tensor.softmax". A method brings its in-place form (`softmax_`) by rule
where the op's result may be written over its first argument, and an arithmetic operator its in-place operator. A
`property` object exported as "Tensor.T" becomes one.
"""

from __future__ import annotations

import functools

from tritorch.autograd.inplace import apply_inplace
from tritorch.ops.base import EXPORTS

# Operators whose method, f(self, other), is written over self by `self f= other`.
IN_PLACE_OPERATORS = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift",
)  # fmt: skip

# Methods whose in-place form PyTorch's root has as a function too, as `exp_(x)`.
IN_PLACE_FUNCTIONS = (
    "abs", "acos", "acosh", "addmv", "alpha_dropout", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh",
    "asin", "asinh", "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "conj_physical", "cos", "cosh",
    "deg2rad", "detach", "erf", "erfc", "exp", "exp2", "expm1", "fix", "floor", "frac", "gcd", "i0", "lcm", "ldexp",
    "log", "log10", "log1p", "log2", "logit", "neg", "negative", "rad2deg", "reciprocal", "round", "rsqrt", "sigmoid",
    "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "xlogy",
)  # fmt: skip


def bind_tensor(cls):
    """Give the Tensor class its methods, in-place methods and operators."""
    for name, function in EXPORTS.items():
        room, _, method = name.rpartition(".")
        if room != "Tensor":
            continue
        setattr(cls, method, function)
        if isinstance(function, property):
            continue
        if not method.startswith("__") and not method.endswith("_") and not hasattr(cls, f"{method}_"):
            setattr(cls, f"{method}_", _in_place(method, function))
    for operator in IN_PLACE_OPERATORS:
        function = EXPORTS.get(f"Tensor.__{operator}__")
        if function is not None:
            setattr(cls, f"__i{operator}__", _in_place(f"__i{operator}__", function))


def in_place_functions(cls):
    """The functions of PyTorch's root that are in-place methods of the Tensor class, by name."""
    return {f"{name}_": getattr(cls, f"{name}_") for name in IN_PLACE_FUNCTIONS if hasattr(cls, f"{name}_")}


def _in_place(name, function):
    @functools.wraps(function)
    def method(self, *args, **kwargs):
        return apply_inplace(function, name, self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form: {function.__doc__}"
    return method


def exported(room):
    """The functions exported into a room, such as "" (tritorch itself) or "nn.functional"."""
    found = {}
    for name, function in EXPORTS.items():
        place, _, last = name.rpartition(".")
        if place == room:
            found[last] = function
    return found
