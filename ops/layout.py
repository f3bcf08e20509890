"""How arrays lie under a common shape: broadcast, with dimensions merged where every array allows it.

Strides here count elements, as kernels use them.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.runtime import transfer


def element_strides(array):
    """The strides of an array, in elements."""
    size = array.itemsize
    return tuple([step // size for step in array.strides])


def broadcast_shape(op, *shapes):
    """The shape that `shapes` broadcast to, or PyTorch's error."""
    result = max(shapes, key=len)
    if all(shape == result for shape in shapes):
        return result
    rank, result = len(result), list(result)
    for shape in shapes:
        for position in range(-1, -len(shape) - 1, -1):
            size, present = shape[position], result[position]
            if size == present or size == 1:
                continue
            if present != 1:
                raise RuntimeError(
                    f"The size of tensor a ({present}) must match the size of tensor b ({size}) "
                    f"at non-singleton dimension {rank + position} (in {op})"
                )
            result[position] = size
    return tuple(result)


def broadcast_strides(array, shape):
    """The strides of `array` under `shape`: zero along dimensions it is repeated over."""
    extra = len(shape) - array.ndim
    steps = [0] * extra
    for size, step, whole in zip(array.shape, element_strides(array), shape[extra:], strict=True):
        steps.append(step if size == whole else 0)
    return tuple(steps)


def merge(shape, strides):
    """Drop dimensions of one element and merge neighbours that lie without a gap in every array.

    Returns the smaller shape and, for each array, its strides under it.
    """
    kept, steps = [], [[] for _ in strides]
    for dim, size in enumerate(shape):
        if size == 1:
            continue
        if kept and all(own[-1] == each[dim] * size for own, each in zip(steps, strides, strict=True)):
            kept[-1] *= size
            for own, each in zip(steps, strides, strict=True):
                own[-1] = each[dim]
            continue
        kept.append(size)
        for own, each in zip(steps, strides, strict=True):
            own.append(each[dim])
    return tuple(kept), [tuple(own) for own in steps]


def needs_64_bits(shape, strides):
    """Whether an index or offset under this layout can pass 2^31."""
    if math.prod(shape) >= 2**31:
        return True
    return any(sum(abs(step) * (size - 1) for step, size in zip(own, shape, strict=True)) >= 2**31 for own in strides)


def empty_like(array, shape=None, dtype=None):
    """A contiguous array with unset elements on the device of `array`."""
    shape = array.shape if shape is None else shape
    dtype = array.dtype if dtype is None else dtype
    if isinstance(array, np.ndarray):
        return transfer.empty_on_host(shape, dtype)
    return array.empty(shape, dtype)


def as_contiguous(array):
    """The array itself where its elements lie in order, else a copy on its device."""
    if transfer.is_contiguous(array):
        return array
    if not isinstance(array, np.ndarray):
        return array.copy()
    copy = empty_like(array)
    copy[...] = array
    return copy
