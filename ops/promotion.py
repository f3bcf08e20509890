"""What pointwise ops are computed in and give, by PyTorch's promotion rules.

Each rule takes the arguments (arrays and Python numbers) and returns two NumPy dtypes: what the formula is computed in,
and what the result is. Half types are computed in float32; bools in int8, where True + True is 2 and so True.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from tritorch.runtime import dtypes

_INT8, _BOOL, _FLOAT64 = np.dtype(np.int8), np.dtype(np.bool_), np.dtype(np.float64)


def arithmetic(arrays):
    """The common dtype of the arguments."""
    common = dtypes.result_type(*arrays)
    return _INT8 if common is dtypes.bool_ else common.compute, common.numpy


def floating(arrays):
    """As arithmetic, but integers and bools become the default floating dtype."""
    common = dtypes.result_type(*arrays)
    if not common.is_floating_point:
        common = dtypes.get_default_dtype()
    return common.compute, common.numpy


def predicate(arrays):
    """Computed in the common dtype; the result is bool."""
    common = dtypes.result_type(*arrays)
    return _INT8 if common is dtypes.bool_ else common.compute, _BOOL


def bitwise(arrays):
    """The common dtype, which must be of integers or bools."""
    common = dtypes.result_type(*arrays)
    if common.is_floating_point:
        raise _not_implemented("bitwise_cpu", common)
    return common.numpy, common.numpy


def integers_only(name):
    """The common dtype, which must be of integers; `name` is what the error calls the op."""

    def rule(arrays):
        common = dtypes.result_type(*arrays)
        if common.is_floating_point or common is dtypes.bool_:
            raise _not_implemented(name, common)
        return common.numpy, common.numpy

    rule.straight = {}
    return rule


def without_halves(name):
    """As floating, for an op that PyTorch does not have for half types; `name` is what its error calls it."""

    def rule(arrays):
        compute, result = floating(arrays)
        if compute != result:
            raise _not_implemented(name, dtypes.of(result))
        return compute, result

    return rule


def doubled(rule):
    """As `rule`, but computed in float64, for formulas that lose digits on the way."""

    def in_double(arrays):
        return _FLOAT64, rule(arrays)[1]

    in_double.straight = {_FLOAT64: (float, int)}
    return in_double


def without_bool(name):
    """As arithmetic, for an op that PyTorch does not have for bools; `name` is what its error calls it."""

    def rule(arrays):
        common = dtypes.result_type(*arrays)
        if common is dtypes.bool_:
            raise _not_implemented(name, common)
        return common.compute, common.numpy

    return rule


def floating_only(name):
    """The common dtype of the tensors, for an op that PyTorch only has for floating point; `name` is for its error."""

    def rule(arrays):
        common = _of_tensors(arrays)
        if not common.is_floating_point:
            raise _not_implemented(name, common)
        return common.compute, common.numpy

    return rule


def like_tensors(arrays):
    """The common dtype of the tensors, whatever the numbers."""
    common = _of_tensors(arrays)
    return common.compute, common.numpy


def _of_tensors(arrays):
    return dtypes.result_type(*[each for each in arrays if hasattr(each, "dtype")])


def refusing_bool(message, otherwise=arithmetic):
    """The rule `otherwise`, but with `message` where an argument is a bool."""

    def rule(arrays):
        if any(_kind(each) == "b" for each in arrays):
            raise RuntimeError(message)
        return otherwise(arrays)

    return rule


def _kind(value):
    return value.dtype.kind if hasattr(value, "dtype") else np.dtype(type(value)).kind


KIND_NAMES = {  # how PyTorch's errors call a dtype, and how those of its C++ do
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double",
    "float8_e4m3fn": "Float8_e4m3fn", "float8_e5m2": "Float8_e5m2",
}  # fmt: skip


C_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "float8_e4m3fn": "c10::Float8_e4m3fn", "float8_e5m2": "c10::Float8_e5m2",
}  # fmt: skip
C_TYPES = {**C_NAMES, "int16": "short int", "int64": "long int"}  # the same where PyTorch writes them out


def _not_implemented(name, dtype):
    return NotImplementedError(f"\"{name}\" not implemented for '{KIND_NAMES[dtype.name]}'")


def as_computed(value, compute):
    """An argument as the formula takes it on the host: arrays cast, integers wrapped to what `compute` holds."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.astype(compute, copy=False)
    if compute.kind in "iu":
        bits = 8 * compute.itemsize
        wrapped = int(value) & ((1 << bits) - 1)
        return wrapped - (1 << bits) if compute.kind == "i" and wrapped >> (bits - 1) else wrapped
    return value


_FLOATS = {np.dtype(np.float32): (float, int), np.dtype(np.float64): (float, int)}
_INTEGERS = {np.dtype(np.int64): (int,), np.dtype(np.int32): ()}


def straight_dtypes(rule):
    """Dtypes that need no rule when all arguments have them, each with the Python numbers that keep it."""
    return getattr(rule, "straight", _FLOATS)


arithmetic.straight = predicate.straight = _FLOATS | _INTEGERS  # type: ignore[attr-defined]
bitwise.straight = {}  # type: ignore[attr-defined]


def number_for(value, dtype):
    """`value` as `dtype` holds it; PyTorch's error where it does not fit."""
    if isinstance(value, complex):
        raise _overflow(dtype)
    if dtype is dtypes.bool_:
        return bool(value)
    if dtype.is_floating_point:
        if math.isfinite(value) and abs(value) > _LARGEST[dtype]:
            raise _overflow(dtype)
        return float(value)
    if not math.isfinite(value):
        raise _overflow(dtype)
    whole, bits = int(value), 8 * dtype.itemsize
    if not -(1 << (bits - (1 if dtype.is_signed else 0))) <= whole < 1 << (bits - dtype.is_signed):
        raise _overflow(dtype)
    return whole % (1 << bits) if whole < 0 and not dtype.is_signed else whole


def largest_of(dtype):
    """The largest finite number of a floating dtype."""
    return _LARGEST[dtype]


_LARGEST = {each: float(ml_dtypes.finfo(each.numpy).max) for each in dtypes.ALL if each.is_floating_point}
_C_NAMES = {dtypes.float16: "c10::Half", dtypes.bfloat16: "c10::BFloat16", dtypes.float32: "float"}


def _overflow(dtype):
    name = _C_NAMES.get(dtype, f"{dtype.name}_t")
    return RuntimeError(f"value cannot be converted to type {name} without overflow")
