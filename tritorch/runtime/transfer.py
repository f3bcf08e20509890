"""Arrays between host and devices, by one set of words for all of them."""

from __future__ import annotations

import numpy as np

from tritorch.runtime import memory_format
from tritorch.runtime.device import Device
from tritorch.runtime.strides import contiguous_strides

empty_on_host = np.empty  # what makes memory for results on the host; tests put guarded memory in its place


def _cuda():
    from tritorch.runtime.cuda import array

    return array


def empty(shape, dtype, device: Device):
    """An array whose elements are not set; `dtype` is a NumPy dtype."""
    return _cuda().empty(shape, dtype, device.index) if device.is_cuda else empty_on_host(shape, dtype)


def from_host(array, device: Device, non_blocking=False):
    """A host array's elements on `device`: the same memory on a host device, a copy on a GPU."""
    return _cuda().from_host(array, device.index, non_blocking=non_blocking) if device.is_cuda else array


def from_cuda_interface(source):
    """The array on a GPU that an object's `__cuda_array_interface__` describes, on the same memory."""
    return _cuda().from_interface(source)


def mirror(array, device: Device):
    """A host array's elements on `device` with the same strides, gaps and all."""
    return _cuda().mirror(array, device.index) if device.is_cuda else array


def to_host(array):
    """The elements as a NumPy array: the array itself on a host device, a copy from a GPU."""
    return array if isinstance(array, np.ndarray) else _cuda().to_host(array)


def is_contiguous(array):
    """Whether the elements lie in memory in the order of their indices."""
    return array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous


def is_pinned(array):
    """Whether a host array lies in page-locked memory."""
    from tritorch.runtime.cuda import pinned

    return isinstance(array, np.ndarray) and pinned.is_pinned(array)


def pointer(array):
    """The address of the first element."""
    return array.ctypes.data if isinstance(array, np.ndarray) else array.pointer


def duplicate(array):
    """A copy in memory of its own that lies there as the array does, without its gaps."""
    return array.copy("K") if isinstance(array, np.ndarray) else as_it_lies(array, lambda each: each.copy())


def contiguous_copy(array):
    """A copy on the same device whose elements lie in the order of their indices."""
    if not isinstance(array, np.ndarray):
        return array.copy()
    copy = empty_on_host(array.shape, array.dtype)
    copy[...] = array
    return copy


def as_it_lies(array, copy):
    """What `copy` makes of an array in the order in which its elements lie in memory, under the array's own strides."""
    shape, size = tuple(array.shape), array.itemsize
    if array.strides == contiguous_strides(shape, size):
        return copy(array)
    strides = memory_format.preserved(shape, tuple([step // size for step in array.strides]))
    order = memory_format.iteration_order(shape, strides)
    made = copy(array.transpose(order))
    return made.transpose(tuple(sorted(range(len(order)), key=order.__getitem__)))


_BYTE = np.dtype(np.uint8)


def memory_of(array, dtype=_BYTE):
    """All the memory that an array is a view of, as a row of elements of a NumPy dtype."""
    if not isinstance(array, np.ndarray):
        return _cuda().memory_of(array, dtype)
    while (base := getattr(array.base, "array", array.base)) is not None and isinstance(base, np.ndarray):
        array = base
    order = sorted(range(array.ndim), key=lambda dim: -array.strides[dim])  # memory may lie in another order
    memory = array.transpose(order).reshape(-1).view(_BYTE)
    return memory[: memory.size // dtype.itemsize * dtype.itemsize].view(dtype)
