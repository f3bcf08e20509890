"""NumPy arrays of what `tensor()` takes: numbers, arrays, and nested sequences of numbers, arrays and tensors."""

from __future__ import annotations

import numbers
from functools import reduce

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.quiet import restore, silence


def array_of(data, dtype=None):
    """A new contiguous array of `data`, of `dtype` or of the one that its elements suggest, as PyTorch decides."""
    before = silence()  # what is too large for a dtype becomes infinite
    try:
        if isinstance(data, (np.ndarray, np.generic)):
            check_native(data)
            return np.array(data, dtype=(dtype or dtypes.of(data.dtype)).numpy, order="C")
        found, suggested = (np.array(data), None) if type(data) in (float, bool) else _gathered(data)
        dtype = dtype or suggested or _inferred(found)
        if found.dtype.kind in "iuf" and not dtype.is_floating_point and dtype is not dtypes.bool_:
            found = _as_integers(found, dtype)
        return found if found.dtype == dtype.numpy else found.astype(dtype.numpy)
    finally:
        restore(before)


def check_native(array):
    """Refuse bytes in the other order."""
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is "
            "currently not supported."
        )


def _gathered(data):
    """The elements as NumPy makes an array of them, and the dtype that tensors and NumPy's numbers among them say."""
    first, suggested = _first(data), None
    if isinstance(first, (Variable, np.ndarray, np.generic)):
        suggested = reduce(dtypes.promote_types, _kinds(data))
    plain = _without_tensors(data)
    try:
        found = np.array(plain, order="C")
    except ValueError:
        _refuse_ragged(plain)
        raise
    if found.dtype == object or found.dtype.kind in "USM":
        _refuse(found, plain)
    return found, suggested


def _kinds(data):
    if isinstance(data, (list, tuple)):
        for each in data:
            yield from _kinds(each)
    elif isinstance(data, Variable):
        yield data.dtype
    else:
        yield dtypes.of(data.dtype) if hasattr(data, "dtype") else dtypes.of_scalar(data)


def _without_tensors(data):
    if isinstance(data, Variable):
        if data.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return transfer.to_host(data.array).item()
    if isinstance(data, (list, tuple)) and any(isinstance(each, (Variable, list, tuple)) for each in data):
        return [_without_tensors(each) for each in data]
    return data


def _inferred(found):
    if found.dtype.kind == "f":
        return dtypes.get_default_dtype()
    if found.dtype.kind == "b":
        return dtypes.bool_
    if found.dtype.kind in "iu":
        if found.dtype.itemsize == 8 and found.dtype.kind == "u":  # what NumPy takes for larger ones
            raise ValueError("Overflow when unpacking long long")
        return dtypes.int64
    if found.dtype.kind == "c":
        raise TypeError("tensor(): complex numbers are not supported")
    return dtypes.of(found.dtype)


def _as_integers(found, dtype):
    """Numbers without their fractions, refused where `dtype` cannot hold them."""
    if found.dtype.kind == "f":
        if np.isnan(found).any():
            raise ValueError("cannot convert float NaN to integer")
        found = np.trunc(found)
    limits = np.iinfo(dtype.numpy)
    lowest = limits.min or -limits.max  # unsigned numbers wrap once, as in C
    if found.size and not lowest <= found.min() <= found.max() <= limits.max:
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return found


def _refuse(found, data):
    """The error for what is no number."""
    strange = [each for each in found.reshape(-1) if not isinstance(each, numbers.Number)]
    bad = strange[0] if strange else None
    if found.size and not strange:
        raise ValueError("Overflow when unpacking long long")
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(bad, str) and isinstance(_first(data), numbers.Number):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(bad, (str, bytes)):
        raise ValueError(f"too many dimensions '{'str' if isinstance(bad, str) else 'bytes'}'")
    if isinstance(bad, (list, tuple)):
        _refuse_ragged(data)
    raise RuntimeError(f"Could not infer dtype of {type(data if found.ndim == 0 else bad).__name__}")


def _first(data):
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _refuse_ragged(data):
    """The error for sequences of unequal length: where the first lengths, which make the shape, do not hold."""
    shape, first = [], data
    while isinstance(first, (list, tuple)):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    level = [data]
    for dim, length in enumerate(shape):
        for each in level:
            if not hasattr(each, "__len__"):
                raise TypeError("not a sequence")
            if len(each) != length:
                raise ValueError(f"expected sequence of length {length} at dim {dim} (got {len(each)})")
        level = [item for each in level for item in each]
    deeper = next((each for each in level if hasattr(each, "__len__")), None)
    if deeper is not None:
        wanted = "must be real number, not {}" if isinstance(first, float) else "'{}' object cannot be interpreted as "
        text = wanted.format(type(deeper).__name__)
        raise TypeError(text if isinstance(first, float) else text + "an integer")
