"""Stride arithmetic: what shape, strides and offset a view has. Pure functions on tuples; strides are in bytes."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import index as as_int


@lru_cache(maxsize=4096)
def contiguous_strides(shape, itemsize):
    """The strides of a row-major array of `shape`; an empty dimension counts as one, as in PyTorch and NumPy."""
    strides, step = [], itemsize
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def is_contiguous(shape, strides, itemsize):
    """Whether the elements lie row-major without gaps; dimensions of length one and empty arrays do not care."""
    step = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length == 0:
            return True
        if length != 1 and stride != step:
            return _is_empty(shape)
        step *= length
    return True


def _is_empty(shape):
    return 0 in shape


def resolve_shape(shape, size):
    """`shape` with its one -1 replaced by what makes it hold `size` elements."""
    shape = tuple(map(as_int, shape))
    unknown = [axis for axis, length in enumerate(shape) if length < 0]
    for axis in unknown:
        if shape[axis] != -1:
            raise RuntimeError(f"invalid shape dimension {shape[axis]}")
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if unknown:
        known = math.prod(length for length in shape if length >= 0)
        if known == size == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if known and size % known == 0:
            shape = tuple(size // known if length < 0 else length for length in shape)
    if any(length < 0 for length in shape) or math.prod(shape) != size:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return shape


def reshape_strides(shape, strides, new_shape, itemsize):
    """The strides with which `new_shape` views the same elements in the same order, or None where a copy is needed.

    Both shapes hold the same number of elements. Old dimensions that one stride walks are merged into a run, and each
    run is split again into new dimensions.
    """
    if _is_empty(shape):
        return contiguous_strides(new_shape, itemsize)
    runs = _merged_runs(shape, strides)
    if not runs:
        runs = [(1, itemsize)]
    result, run = [0] * len(new_shape), len(runs) - 1
    left, step = runs[run]
    for axis in range(len(new_shape) - 1, -1, -1):
        length = new_shape[axis]
        if left == 1 and length != 1:
            run -= 1
            left, step = runs[run]
        if left % length:
            return None
        result[axis] = step
        left //= length
        step *= length
    return tuple(result)


def _merged_runs(shape, strides):
    """(elements, innermost stride) for each run of dimensions that one stride walks, outermost first."""
    runs = []
    for length, stride in zip(shape, strides, strict=True):
        if length == 1:
            continue
        if runs and runs[-1][1] == length * stride:
            runs[-1] = (runs[-1][0] * length, stride)
        else:
            runs.append((length, stride))
    return runs


def broadcast_strides(shape, strides, new_shape):
    """The strides with which `new_shape` repeats the array without copying: zero along each repeated dimension."""
    extra = len(new_shape) - len(shape)
    fits = extra >= 0 and all(old in (1, new) for old, new in zip(shape, new_shape[extra:], strict=True))
    if not fits:
        raise RuntimeError(f"cannot broadcast shape {list(shape)} to shape {list(new_shape)}")
    kept = (
        0 if old == 1 and new != 1 else stride
        for old, new, stride in zip(shape, new_shape[extra:], strides, strict=True)
    )
    return (0,) * extra + tuple(kept)


def resolve_axes(axes, ndim):
    """The permutation that `axes` names, with negative ones counted from the end; no axes reverse all of them."""
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
        axes = axes[0]
    if not axes:
        return tuple(range(ndim - 1, -1, -1))
    found = tuple(as_int(axis) + ndim if axis < 0 else as_int(axis) for axis in axes)
    if sorted(found) != list(range(ndim)):
        raise RuntimeError(f"transpose(): axes {tuple(axes)} are not a permutation of {ndim} dimensions")
    return found


def index_view(shape, strides, key):
    """(offset in bytes, shape, strides) of the view that `key` selects: integers, slices, None and Ellipsis."""
    items = _expand_ellipsis(key if isinstance(key, tuple) else (key,), len(shape))
    offset, new_shape, new_strides, axis = 0, [], [], 0
    for item in items:
        if item is None:
            new_shape.append(1)
            new_strides.append(0)
            continue
        length, stride = shape[axis], strides[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(length)
            count = len(range(start, stop, step))
            offset += start * stride if count else 0
            new_shape.append(count)
            new_strides.append(stride * step)
        else:
            offset += _resolve_index(item, axis, length) * stride
        axis += 1
    return offset, tuple(new_shape), tuple(new_strides)


def _expand_ellipsis(items, ndim):
    """`items` with Ellipsis, or the missing end, written out as full slices."""
    for item in items:
        number = hasattr(item, "__index__") and not isinstance(item, bool)
        if not (number or item is None or item is Ellipsis or isinstance(item, slice)):
            raise TypeError(f"only integers, slices, None and Ellipsis make a view, got {type(item).__name__}")
    dots = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    place = dots[0] if dots else len(items)
    return (*items[:place], *(slice(None),) * (ndim - used), *items[place + 1 :])


def _resolve_index(item, axis, length):
    position = as_int(item)
    if not -length <= position < length:
        raise IndexError(f"index {position} is out of bounds for dimension {axis} with size {length}")
    return position + length if position < 0 else position


def extent(shape, strides, itemsize):
    """(lowest, highest) byte offset that the elements touch, the highest exclusive; (0, 0) for an empty array."""
    if _is_empty(shape):
        return 0, 0
    reach = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    return sum(each for each in reach if each < 0), sum(each for each in reach if each > 0) + itemsize


def may_overlap_itself(shape, strides, itemsize):
    """Whether two indices may name the same byte: never False for an overlap, True only for unusual strides besides.

    Dimensions are sorted by stride; where each one steps over all that the smaller ones reach, nothing can meet.
    """
    if _is_empty(shape):
        return False
    reach = itemsize
    for stride, length in sorted((abs(s), n) for n, s in zip(shape, strides, strict=True) if n != 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False
