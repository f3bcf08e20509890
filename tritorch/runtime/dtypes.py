"""The element types: PyTorch's names, NumPy's layout, Triton's spelling, and the rules that promote them.

A `dtype` is a singleton. Host arrays hold NumPy dtypes (bfloat16 and float8 from ml_dtypes), so `of(array.dtype)` is
one dictionary lookup and nothing is ever parsed from text.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tritorch.runtime import plans

BOOL, INTEGER, FLOATING, COMPLEX = 0, 1, 2, 3  # PyTorch's promotion categories, in order


class dtype:
    """One element type, such as `tritorch.float32`."""

    __slots__ = ("category", "compute", "is_floating_point", "is_signed", "itemsize", "name", "numpy", "triton")

    def __init__(self, name, numpy, triton, category, signed=True):
        self.name, self.triton, self.category, self.is_signed = name, triton, category, signed
        self.numpy = np.dtype(numpy)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = category == FLOATING
        # What arithmetic runs in: half types and smaller widen to float32, everything else stays itself.
        self.compute = np.dtype(np.float32) if self.is_floating_point and self.itemsize < 4 else self.numpy

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return _by_name, (self.name,)

    @property
    def is_complex(self):
        """Whether its numbers are complex: such dtypes have names here, and no tensors."""
        return self.category == COMPLEX

    def to_real(self):
        """The dtype of a number's real part: itself."""
        return self

    def to_complex(self):
        raise NotImplementedError(f"{self!r}.to_complex(): tritorch has no complex dtypes yet")


bool_ = dtype("bool", np.bool_, "i1", BOOL, signed=False)
uint8 = dtype("uint8", np.uint8, "u8", INTEGER, signed=False)
int8 = dtype("int8", np.int8, "i8", INTEGER)
int16 = dtype("int16", np.int16, "i16", INTEGER)
int32 = dtype("int32", np.int32, "i32", INTEGER)
int64 = dtype("int64", np.int64, "i64", INTEGER)
float16 = dtype("float16", np.float16, "fp16", FLOATING)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, "bf16", FLOATING)
float32 = dtype("float32", np.float32, "fp32", FLOATING)
float64 = dtype("float64", np.float64, "fp64", FLOATING)
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, "fp8e4nv", FLOATING)
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, "fp8e5", FLOATING)

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, float8_e4m3fn, float8_e5m2)
BY_NUMPY = {each.numpy: each for each in ALL}
COMPUTE = {each.numpy: each.compute for each in ALL}
# The names people type beside the canonical ones.
ALIASES = {
    "half": float16,
    "float": float32,
    "double": float64,
    "char": int8,
    "short": int16,
    "int": int32,
    "long": int64,
}
NAMES = {each.name: each for each in ALL} | ALIASES
# Scripts ask whether a tensor is of one of these; to make one is refused.
_COMPLEX = [dtype(name, getattr(np, name), None, COMPLEX) for name in ("complex64", "complex128")]
COMPLEX_NAMES = {each.name: each for each in _COMPLEX} | dict(zip(("cfloat", "cdouble"), _COMPLEX, strict=True))

_default = float32


def _by_name(name):
    return NAMES.get(name) or COMPLEX_NAMES[name]


def of(numpy_dtype):
    """The dtype of a NumPy dtype, or a TypeError naming it."""
    found = BY_NUMPY.get(numpy_dtype)
    if found is None:
        found = BY_NUMPY.get(np.dtype(numpy_dtype).newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{np.dtype(numpy_dtype).type.__name__}. The only supported types "
            f"are: {', '.join(each.name for each in reversed(ALL))}."
        )
    return found


def get_default_dtype():
    """The dtype that Python floats become; float32 unless set otherwise."""
    return _default


def set_default_dtype(value):
    """Make `value`, a floating-point dtype, what Python floats become."""
    global _default
    if not isinstance(value, dtype) or not value.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {value!r}")
    _default = value
    plans.invalidate()


def as_dtype(value, op, argument="dtype"):
    """Check that `value` is one of our dtypes; a NumPy dtype or Python type is refused as PyTorch refuses it."""
    if isinstance(value, dtype):
        if value.is_complex:
            raise NotImplementedError(f"{op}(): tritorch has no complex tensors, so none of {value!r}")
        return value
    if value is float:
        return float64
    if value is int:
        return int64
    if value is bool:
        return bool_
    raise TypeError(f"{op}(): argument '{argument}' must be torch.dtype, not {type(value).__name__}")


_ORDER = {each: rank for rank, each in enumerate(ALL)}


def promote_types(first, second):
    """The smallest dtype that both can be cast to without changing category, as PyTorch's lattice has it."""
    if first is second:
        return first
    for position, each in enumerate((first, second), 1):
        if not isinstance(each, dtype):
            what = f"argument 'type{position}' (position {position})"
            raise TypeError(f"promote_types(): {what} must be torch.dtype, not {type(each).__name__}")
    if first.category != second.category:
        return first if first.category > second.category else second
    if first.category == INTEGER and uint8 in (first, second):
        other = second if first is uint8 else first
        return int16 if other is int8 else other
    if first.itemsize == second.itemsize:  # float16 with bfloat16, or the two float8
        return float32 if first.itemsize == 2 else float16
    return first if _ORDER[first] > _ORDER[second] else second


def of_scalar(value):
    """The dtype a Python number stands for when it meets no tensor of its category."""
    kind = type(value)
    if kind is float:
        return _default
    if kind is int:
        return int64
    if kind is bool:
        return bool_
    if isinstance(value, np.generic):  # NumPy's numbers are Python's, as far as dtypes go
        kind = value.dtype.kind
        return of(value.dtype) if kind == "c" else int64 if kind in "iu" else bool_ if kind == "b" else _default
    raise TypeError(f"expected a number, got {kind.__name__}")


def result_type(*operands):
    """The dtype that arithmetic on `operands` gives; each is an array (dtype, ndim) or a Python number.

    PyTorch's rule: arrays with dimensions decide; a zero-dimensional array, and after it a Python number, only matters
    when it is of a higher category (bool < integer < floating) than all before it.
    """
    ranks = [None, None, None]  # dimensioned arrays, zero-dimensional arrays, Python numbers
    for operand in operands:
        if hasattr(operand, "ndim") and not isinstance(operand, np.generic):
            found, rank = of(operand.dtype), 0 if operand.ndim else 1
        else:
            found, rank = of_scalar(operand), 2
        ranks[rank] = found if ranks[rank] is None else promote_types(ranks[rank], found)
    result = None
    for found in ranks:
        if found is None:
            continue
        if result is None:
            result = found
        elif found.category > result.category:
            # A number that lifts a tensor to floating point gives the default dtype, a zero-dimensional array its own.
            result = found
    return result
