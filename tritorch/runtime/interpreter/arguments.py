"""Arguments of a launch as an interpreted kernel sees them: arrays become pointers, numbers typed scalars."""

from __future__ import annotations

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import TensorHandle

from tritorch.runtime import dtypes
from tritorch.runtime.interpreter.builder import numpy_dtype
from tritorch.runtime.specialise import POINTEES, TAKES, integer_type

_SCALARS = {
    **{f"i{bits}": getattr(tl, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": getattr(tl, f"uint{bits}") for bits in (8, 16, 32, 64)},
    "u1": tl.int1,
    "fp16": tl.float16,
    "bf16": tl.bfloat16,
    "fp32": tl.float32,
    "fp64": tl.float64,
    "fp8e4nv": tl.float8e4nv,
    "fp8e5": tl.float8e5,
}
_POINTERS = {dtype: tl.pointer_type(_SCALARS[name]) for dtype, name in POINTEES.items()}


def convert(value, annotation=""):
    """One argument; `annotation` is the type that the kernel's author fixed for a number, if any."""
    kind = type(value)
    if kind is np.ndarray:
        return _pointer(value.__array_interface__["data"][0], value.dtype)
    if kind is int:
        return _scalar(value, _SCALARS[annotation or integer_type(value)])
    if kind is float:
        return _scalar(value, _SCALARS.get(annotation, tl.float32))
    if kind is bool:
        return _scalar(value, tl.int1)
    if value is None:
        return None
    if isinstance(value, tuple):
        converted = map(convert, value)
        return kind(*converted) if hasattr(value, "_fields") else kind(converted)
    if hasattr(kind, "pointer") and hasattr(kind, "device"):  # a device array of the stub driver, on the host
        return _pointer(value.pointer, value.dtype)
    if isinstance(value, np.ndarray):
        return _pointer(value.__array_interface__["data"][0], value.dtype)
    raise TypeError(f"{TAKES}, got {kind.__module__}.{kind.__qualname__}")


def _pointer(address, dtype):
    found = _POINTERS.get(dtype)
    if found is None:
        found = _POINTERS[dtypes.of(dtype).numpy]
    return tl.tensor(TensorHandle(np.array([address], dtype=np.uint64), found), found)


def _scalar(value, type):
    return tl.tensor(TensorHandle(np.array([value]).astype(numpy_dtype(type)), type), type)
