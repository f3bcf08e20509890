"""NumPy's answer for the functions of CUDA's libdevice, which Triton's interpreter does not have."""

from __future__ import annotations

import math

import numpy as np
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import TensorHandle

from tritorch.runtime.interpreter.builder import numpy_dtype


def _by_element(function):
    return np.vectorize(function, otypes=[np.float64])


def _round_half_away(x):
    return np.trunc(x + np.copysign(0.5, x))


def _gamma(x):
    return math.gamma(x) if x > 0 or x != math.floor(x) else math.nan


def _log_gamma(x):
    return math.inf if (x <= 0 and x % 1 == 0) or x > 2.5e305 else math.lgamma(x)


_FUNCTIONS = {
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "log10": np.log10,
    "exp10": lambda x: np.power(10.0, x, dtype=x.dtype),
    "cbrt": np.cbrt,
    "pow": np.power,
    "fmod": np.fmod,
    "hypot": np.hypot,
    "copysign": np.copysign,
    "ldexp": np.ldexp,
    "rint": np.rint,
    "nearbyint": np.rint,
    "trunc": np.trunc,
    "round": _round_half_away,
    "erf": _by_element(math.erf),
    "erfc": _by_element(math.erfc),
    "lgamma": _by_element(_log_gamma),
    "tgamma": _by_element(_gamma),
}
_PREDICATES = {"isnan": np.isnan, "isinf": np.isinf, "finitef": np.isfinite, "signbit": np.signbit}


def patch_libdevice(changes):
    """Make libdevice's functions run NumPy's inside the scope."""
    for name, function in _FUNCTIONS.items():
        if hasattr(libdevice, name):
            changes.set_attr(libdevice, name, _on_tensors(function))
    for name, function in _PREDICATES.items():
        if hasattr(libdevice, name):
            changes.set_attr(libdevice, name, _on_tensors(function, tl.int32))


def _on_tensors(function, type=None):
    def call(*values, _semantic=None):
        tensors = [stock.interpreter_semantic.to_tensor(each) for each in values]
        result_type = type or tensors[0].dtype.scalar
        data = function(*(each.handle.data for each in tensors))
        shape = np.broadcast_shapes(*(each.handle.data.shape for each in tensors))
        data = np.ascontiguousarray(np.broadcast_to(data, shape).astype(numpy_dtype(result_type), copy=False))
        block = any(each.type.is_block() for each in tensors)
        shaped = tl.block_type(result_type, list(shape)) if block else result_type
        return tl.tensor(TensorHandle(data, result_type), shaped)

    return call
