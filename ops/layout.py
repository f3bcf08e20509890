"""How arrays lie under a common shape: broadcast, with dimensions merged where every array allows it.

Strides here count elements, as kernels use them.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.runtime import memory_format, transfer, views
from tritorch.runtime.strides import contiguous_strides


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
    return _broadcast(array.shape, element_strides(array), shape)


def _broadcast(own, strides, shape):
    extra = len(shape) - len(own)
    steps = [0] * extra
    for size, step, whole in zip(own, strides, shape[extra:], strict=True):
        steps.append(step if size == whole else 0)
    return tuple(steps)


def merge(shape, strides, order=None):
    """Drop dimensions of one element and merge neighbours that lie without a gap in every array.

    Returns the smaller shape and, for each array, its strides under it: in the order of the dimensions, or in `order`.
    """
    kept, steps = [], [[] for _ in strides]
    for dim in range(len(shape)) if order is None else order:
        size = shape[dim]
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


# ---------------------------------------------------------------- arrays that lie as others do


@functools.lru_cache(maxsize=1024)
def inverse_of(order):
    """The permutation that undoes the permutation `order`."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def in_order(array, order):
    """The view whose dimensions are those of `array` in the order `order`; None leaves them."""
    return array if order is None else array.transpose(order)


def out_of_order(array, order):
    """The view whose dimensions `in_order` puts in the order they have here."""
    return array if order is None else array.transpose(inverse_of(order))


def lying_by(array, order):
    """A host array, or a copy of it in memory in the order `order` of its dimensions; None leaves it."""
    if order is None:
        return array
    made = out_of_order(np.ascontiguousarray(in_order(array, order)), order)
    return with_strides(made, memory_format.strides_by(order, made.shape))


def empty_by(array, shape, order=None, dtype=None):
    """As `empty_like`, with the dimensions in memory in the order `order`, outermost first; None for their own."""
    if order is None:
        return empty_like(array, shape, dtype)
    return empty_like(array, tuple([shape[dim] for dim in order]), dtype).transpose(inverse_of(order))


def empty_strided(array, shape, strides, dtype=None):
    """As `empty_like`, with these strides, which leave no gaps."""
    return with_strides(empty_by(array, shape, memory_format.iteration_order(shape, strides), dtype), strides)


def with_strides(array, strides):
    """An array with these strides, which it has but for dimensions of one element or of none."""
    if element_strides(array) == strides:
        return array
    return views.as_strided(array, tuple(array.shape), tuple([step * array.itemsize for step in strides]))


def _is_plain(array, shape):
    """Whether an array has the strides of a new one, those of dimensions of one element too."""
    return array.strides == contiguous_strides(shape, array.itemsize)


def empty_preserved(array, dtype=None):
    """An array with unset elements that lies as `array` does, without its gaps: PyTorch's preserve_format."""
    shape = tuple(array.shape)
    if _is_plain(array, shape):
        return empty_like(array, dtype=dtype)
    return empty_strided(array, shape, memory_format.preserved(shape, element_strides(array)), dtype)


def empty_cast(array, dtype):
    """What an array is cast to another dtype in: with its strides, or, where those leave gaps, in their format."""
    shape = tuple(array.shape)
    if _is_plain(array, shape):
        return empty_like(array, dtype=dtype)
    strides = element_strides(array)
    if not memory_format.is_dense(shape, strides):
        strides = memory_format.strides_in(memory_format.suggested(shape, strides), shape)
    return empty_strided(array, shape, strides, dtype)


def strides_of_copy(array, format):
    """The strides, in elements, of a copy of an array in a memory format; None for the order of its indices."""
    shape = tuple(array.shape)
    if format is memory_format.contiguous_format:
        return None
    if format is memory_format.preserve_format:
        if _is_plain(array, shape):  # the usual case, without more arithmetic
            return None
        found = memory_format.preserved(shape, element_strides(array))
    else:
        memory_format.check_rank(format, len(shape))
        found = memory_format.strides_in(format, shape)
    return None if found == memory_format.strides_by(None, shape) else found


def format_order(array):
    """The dimensions of an array outermost first where its strides suggest channels innermost, else None."""
    if array.ndim not in memory_format.CHANNELS_INNERMOST or array.strides[1] > array.strides[-1]:
        return None
    return memory_format.order_of(memory_format.suggested(tuple(array.shape), element_strides(array)))


def formatted_as(array):
    """What says that a result lies in the format of an array, to `launch_pointwise`."""
    return lambda shape, arrays: format_order(array)


def result_order(shape, arrays):
    """The order, outermost first, in which the elements of a result of pointwise `arrays` lie; None for its own."""
    return _result_order(shape, *[(a.shape, a.strides, a.itemsize) for a in arrays])


@functools.lru_cache(maxsize=4096)
def _result_order(shape, *operands):
    rank = len(shape)
    whole = all(own == shape for own, _, _ in operands)
    steps = [_broadcast(own, [each // size for each in strides], shape) for own, strides, size in operands]
    if rank < 2 or (whole and _all_lie_in(memory_format.contiguous_format, shape, steps)):
        return None
    if whole and _all_lie_in(memory_format.channels_last, shape, steps):
        return memory_format.order_of(memory_format.channels_last)
    order = memory_format.iteration_order(shape, *steps)
    return None if order == tuple(range(rank)) else order


def _all_lie_in(format, shape, strides):
    return all(memory_format.lies_in(format, shape, own) for own in strides)


def as_they_lie(*arrays):
    """Views of arrays of one shape, or None, with their dimensions in the order in which the first one's lie in memory.

    What lies without gaps, as the first one does, is then contiguous.
    """
    first = arrays[0]
    if transfer.is_contiguous(first):
        return arrays
    order = result_order(tuple(first.shape), (first,))
    return tuple([each if each is None else in_order(each, order) for each in arrays])


def as_contiguous(array):
    """The array itself where its elements lie in order, else a copy on its device."""
    return array if transfer.is_contiguous(array) else transfer.contiguous_copy(array)
