"""The instructions of an interpreted kernel that Triton's own interpreter gets wrong, done by NumPy and ml_dtypes.

bfloat16 and float8 blocks hold ml_dtypes elements, so arithmetic, comparison and rounding to nearest even are theirs.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import TensorHandle

from tritorch.runtime.interpreter import state

_NARROW = {
    tl.bfloat16: np.dtype(ml_dtypes.bfloat16),
    tl.float8e4nv: np.dtype(ml_dtypes.float8_e4m3fn),
    tl.float8e5: np.dtype(ml_dtypes.float8_e5m2),
}
_NUMPY = {
    tl.int1: np.dtype(bool),
    **{getattr(tl, f"int{bits}"): np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{getattr(tl, f"uint{bits}"): np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{getattr(tl, f"float{bits}"): np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    **_NARROW,
}
_FLOAT8_LARGEST = {each: float(ml_dtypes.finfo(_NARROW[each]).max) for each in (tl.float8e4nv, tl.float8e5)}
_ADDRESS = np.dtype(np.uint64)
_fall_back = stock._get_np_dtype


def numpy_dtype(type):
    """The NumPy dtype that holds elements of a Triton scalar, block or pointer type."""
    scalar = type.element_ty if isinstance(type, tl.block_type) else type
    if isinstance(scalar, tl.pointer_type):
        return _ADDRESS
    found = _NUMPY.get(scalar)
    return _fall_back(scalar) if found is None else found


def widened(handle):
    """The elements of a handle, 16 and 8 bit floats as float32."""
    data = handle.data
    return data.astype(np.float32) if data.dtype == np.float16 or handle.dtype.scalar in _NARROW else data


class Builder(type(stock.interpreter_builder)):  # type: ignore[misc]  # its class has no name of its own
    """Triton's interpreter builder with exact bfloat16 and float8, and one meaning on all supported versions."""

    def create_assert(self, condition, message):
        """Raise unless the condition holds everywhere."""
        if not np.all(condition.data):
            raise IndexError(message)

    def get_bf16(self, value):
        return TensorHandle(np.array([value], dtype=_NARROW[tl.bfloat16]), tl.bfloat16)

    def cast_impl(self, src, dst_type):
        to = dst_type.scalar
        data = src.data
        if to in _FLOAT8_LARGEST:  # the GPU's conversions saturate
            data = np.clip(widened(src), -_FLOAT8_LARGEST[to], _FLOAT8_LARGEST[to])
        return TensorHandle(data.astype(numpy_dtype(to)), to)

    def create_fp_to_fp(self, src, dst_type, rounding_mode):
        if rounding_mode not in (None, ir.ROUNDING_MODE.RTNE):
            raise NotImplementedError("the interpreter rounds to nearest even only")
        if numpy_dtype(dst_type.scalar).kind in "iu" or numpy_dtype(src.dtype.scalar).kind in "iu":
            return super().create_fp_to_fp(src, dst_type, rounding_mode)  # a float8 that ml_dtypes does not hold
        return self.cast_impl(src, dst_type)

    def create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
        product = np.matmul(a.data, b.data, dtype=d.data.dtype)  # widened before it multiplies
        return TensorHandle(product + d.data, d.dtype.scalar)

    def create_masked_load(self, ptrs, mask, other, *policy, **keywords):
        found = self._load(ptrs, mask, other, *policy, **keywords)
        if keywords.get("is_volatile", policy and policy[-1]):
            state.looked(ptrs, found)
        return found

    def create_atomic_rmw(self, operation, ptr, value, *rest):
        found = super().create_atomic_rmw(operation, ptr, value, *rest)
        state.looked(ptr, value, found)
        return found

    def create_atomic_cas(self, ptr, expected, value, *rest):
        found = super().create_atomic_cas(ptr, expected, value, *rest)
        state.looked(ptr, expected, value, found)
        return found

    def _load(self, ptrs, mask, other, *policy, **keywords):
        element = ptrs.get_element_ty()
        if element not in _NARROW:
            return super().create_masked_load(ptrs, mask, other, *policy, **keywords)
        held = _NARROW[element]
        bits = np.dtype(f"u{held.itemsize}")  # the native loader knows NumPy's own dtypes only
        rest = np.zeros(ptrs.data.shape, bits) if other is None else np.ascontiguousarray(other.data).view(bits)
        return TensorHandle(stock._interpreter.load(ptrs.data, mask.data, rest, bits).view(held), element)

    def create_masked_store(self, ptrs, value, mask, *policy, **keywords):
        if value.dtype.scalar in _NARROW:
            data = np.ascontiguousarray(value.data)
            value = TensorHandle(data.view(f"u{data.itemsize}"), value.dtype)
        return super().create_masked_store(ptrs, value, mask, *policy, **keywords)

    # Triton 3.6 takes NumPy's minimum and maximum, which propagate NaN where the GPU's do not.
    def create_minnumf(self, lhs, rhs):
        return self.binary_op(lhs, rhs, np.fmin)

    def create_maxnumf(self, lhs, rhs):
        return self.binary_op(lhs, rhs, np.fmax)

    def create_clampf(self, arg, lo, hi, propagate_nans):
        if propagate_nans == ir.PROPAGATE_NAN.NONE:
            return self.binary_op(self.binary_op(arg, lo, np.fmax), hi, np.fmin)
        return self.ternary_op(arg, lo, hi, np.clip)
