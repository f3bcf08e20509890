"""Views by shape and strides, for arrays of every device by one set of words. Strides and offsets are in bytes.

NumPy's own `broadcast_to` and `as_strided` take longer than a small op does, so an array is made over the same memory
directly where its owner lets itself be read as a buffer.
"""

from __future__ import annotations

import numpy as np

from tritorch.runtime import strides


def _cuda():
    from tritorch.runtime.cuda import array

    return array


def broadcast_to(array, shape):
    """The view that repeats `array` to `shape`, with zero strides."""
    if array.shape == shape:
        return array[...]
    found = strides.broadcast_strides(array.shape, array.strides, shape)
    return as_strided(array, shape, found)


def as_strided(array, shape, steps, offset=0):
    """The view with this shape and these strides, starting `offset` bytes after the array's own first element."""
    if hasattr(array, "pointer"):
        return _cuda().as_strided(array, shape, steps, offset)
    owner, start = array, offset
    if not array.flags.c_contiguous and isinstance(array.base, np.ndarray):
        owner = array.base
        start += address(array) - address(owner)
    if owner.flags.c_contiguous and start >= 0 and 0 not in shape:
        return np.ndarray(shape, array.dtype, owner, start, steps)
    return np.asarray(_Placed(array, shape, steps, offset)).view(array.dtype)


class _Placed:
    """What NumPy reads a view from where no buffer can be had, as of memory in Fortran's order."""

    def __init__(self, array, shape, steps, offset):
        self.array = array
        data, readonly = array.__array_interface__["data"]
        self.__array_interface__ = {
            "data": (data + offset, readonly), "shape": shape, "strides": steps, "version": 3,
            "typestr": array.dtype.str,
        }  # fmt: skip


def unsqueeze(input, dim):
    """The view with a dimension of one element at `dim`, with the stride that PyTorch gives it."""
    shape = (*input.shape[:dim], 1, *input.shape[dim:])
    if input.flags.c_contiguous or dim == input.ndim:
        return input.reshape(shape)
    step = input.shape[dim] * input.strides[dim]
    return as_strided(input, shape, (*input.strides[:dim], step, *input.strides[dim:]))


def address(array):
    """Where the first element of a NumPy array lies."""
    return array.__array_interface__["data"][0]


def can_reshape(array, shape):
    """Whether `shape`, of as many elements, is a view of the array."""
    contiguous = array.flags.c_contiguous
    return contiguous or strides.reshape_strides(array.shape, array.strides, shape, array.itemsize) is not None
