"""What the compiler is told about the arguments of a launch: exactly what Triton's own JITFunction.run tells it.

An integer of 1 becomes a constant, a multiple of 16 and a pointer aligned to 16 bytes are marked divisible, `None` is a
constant; parameters in `do_not_specialize` keep only their type. The same kernel and arguments give the same key in
Triton's cache as Triton itself would use.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache

import numpy as np

from tritorch.runtime import dtypes

DIVISIBLE = [["tt.divisibility", 16]]
ALIGNMENT = 16
# What a pointer to elements of a NumPy dtype points to. No tensor holds wide unsigned integers, but kernels may want
# them; an element of a bool array goes by the name that Triton gives it.
POINTEES = {
    **{each.numpy: each.triton for each in dtypes.ALL},
    **{np.dtype(f"u{bits // 8}"): f"u{bits}" for bits in (8, 16, 32, 64)},
    np.dtype(bool): "u1",
}
TAKES = "takes arrays, int, float, bool, None and tuples of these"


@dataclass(frozen=True)
class Pointer:
    """A light stand-in for a device array, to compile a kernel without a GPU: a dtype and an alignment in bytes."""

    dtype: np.dtype
    alignment: int = ALIGNMENT

    @property
    def pointer(self):
        return self.alignment


def address_of(value):
    """The base address of an array, on the device or on the host."""
    if isinstance(value, np.ndarray):
        return value.__array_interface__["data"][0]
    return value.pointer


def specialise(kernel, values):
    """Signature, constants and attributes of a materialised kernel for `values`, one value a parameter, in order."""
    signature, constants, attributes = {}, {}, {}
    for parameter, value in zip(kernel.params, values, strict=True):
        type, attribute = _parameter(kernel, parameter, value)
        signature[parameter.name] = type
        _record((parameter.num,), type, attribute, value, constants, attributes)
    return signature, constants, attributes


def _parameter(kernel, parameter, value):
    if parameter.is_constexpr:
        return "constexpr", None
    specialised, aligned = not parameter.do_not_specialize, not parameter.do_not_specialize_on_alignment
    fixed = parameter.annotation_type
    try:
        type, attribute = describe(value, specialised, aligned, parameter.is_const)
    except (TypeError, OverflowError) as error:
        raise error.__class__(f"kernel {kernel.__name__}: argument {parameter.name!r}: {error}") from None
    if fixed:
        if isinstance(value, float) and fixed[:2] not in ("fp", "bf"):
            raise TypeError(f"kernel {kernel.__name__}: argument {parameter.name!r} is declared {fixed}, got a float")
        numeric = not specialised or fixed == "u1" or fixed[:2] in ("fp", "bf")
        return fixed, None if numeric or not isinstance(attribute, str) else attribute
    return type, attribute


def describe(value, specialised=True, aligned=True, const=False):
    """Type of an argument, and what is known of its value: "D" for divisible by 16, else "", or None if not asked."""
    if value is None:
        return "constexpr", None
    kind = type(value)
    if kind is bool:
        return "u1", None
    if kind is float:
        return "fp32", None
    if kind is int:
        if specialised and value == 1:
            return "constexpr", 1
        return integer_type(value), _divisible(value, specialised, aligned)
    if isinstance(value, tuple):  # what a parameter says does not reach into its tuple
        pairs = [describe(each) for each in value]
        types, attributes = [each for each, _ in pairs], [each for _, each in pairs]
        return (kind(*types), kind(*attributes)) if hasattr(value, "_fields") else (tuple(types), tuple(attributes))
    if not hasattr(value, "dtype") or not (hasattr(kind, "pointer") or isinstance(value, np.ndarray)):
        raise TypeError(f"{TAKES}, got {kind.__module__}.{kind.__qualname__}")
    pointee = POINTEES.get(value.dtype) or dtypes.of(value.dtype).triton
    return ("*k" if const else "*") + pointee, _divisible(address_of(value), specialised, aligned)


def integer_type(value):
    """The type that Triton gives an integer: the first of i32, i64 and u64 that holds it."""
    if -(2**31) <= value < 2**31:
        return "i32"
    if -(2**63) <= value < 2**63:
        return "i64"
    if value < 2**64:
        return "u64"
    raise OverflowError(f"{value} does not fit 64 bits")


def _divisible(number, specialised, aligned):
    if not specialised:
        return None
    return "D" if aligned and number % ALIGNMENT == 0 else ""


def _record(path, type, attribute, value, constants, attributes):
    if isinstance(type, tuple):
        for at, each in enumerate(type):
            _record((*path, at), each, attribute[at], value[at], constants, attributes)
    elif type == "constexpr":
        constants[path] = value
        if _constants_have_attributes():
            if len(path) == 1:
                attributes[path] = []
        elif isinstance(value, str):
            attributes[path] = DIVISIBLE if "D" in value else []
    elif attribute is not None:
        attributes[path] = DIVISIBLE if attribute == "D" else []


@cache
def _constants_have_attributes():
    """Since 3.7 Triton lists an empty attribute for a constant; only the key of its cache depends on that."""
    from triton.runtime.jit import JITFunction

    return "== 'constexpr'" in inspect.getsource(JITFunction._pack_args).partition("attrvals")[2].partition("\n")[0]
