"""Indexing: `x[key]` and `x[key] = value`.

A key is taken apart once: its ints, slices, None and Ellipsis make one view, its tensors, lists and masks then pick
from that view. Where the picked dimensions lie side by side theirs stand in their place in the result, else first.
"""

from __future__ import annotations

import warnings
from operator import index as as_int

import numpy as np

from tritorch import creation
from tritorch.autograd.grad_mode import state
from tritorch.autograd.inplace import apply_inplace, bump, check_apart
from tritorch.autograd.variable import Variable
from tritorch.functional.conversion import number_for
from tritorch.ops.base import TABLE, export
from tritorch.ops.index.indexing import Index, IndexPut, numpy_key, out_of_bounds, pick, picks_nothing, write_picked
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.views import Expand, Select, Slice, Unsqueeze
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU

_WHOLE = slice(None)
_NO_DIMENSIONS = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim "
    "tensor to a number"
)


@export("Tensor.__getitem__")
def get_item(self, key):
    """The elements that `key` selects: a view for ints, slices, None and Ellipsis, a copy for tensors and masks."""
    kind = type(key)
    if kind is int:
        _check_int(key, 0, self.array.shape)
        return Select.apply(self, (key, ...))
    if kind is slice and self.array.shape:
        return Slice.apply(self, (_slice(key), ...))
    basic, advanced = parse(self, key)
    if not advanced:
        return _view(self, basic)
    viewed = _view(self, basic) if _selects(basic) else self
    dims, indices = resolve(viewed, advanced)
    return Index.apply(viewed, dims, *indices)


def _view(tensor, key):
    last = next((item for item in reversed(key) if item is not _WHOLE), _WHOLE)
    if last is None and sum(item is not _WHOLE for item in key) == 1:
        return Unsqueeze.apply(tensor, key.index(None))
    return (Select if type(last) is int else Slice).apply(tensor, (*key, ...))


def _selects(key):
    return any(item is not _WHOLE for item in key)


def _check_int(index, dim, shape):
    if not shape:
        raise IndexError(_NO_DIMENSIONS)
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {shape[dim]}")


# ---------------------------------------------------------------- taking a key apart


def parse(tensor, key):
    """A key as (basic, advanced): what makes a view, and (dimension of that view, index tensor or mask) pairs."""
    items = [_item(item, tensor) for item in _as_items(key)]
    shape = tensor.array.shape
    used = sum(_dimensions_used(item) for item in items)
    if used > len(shape):
        if not shape and type(items[0]) is int:
            raise IndexError(_NO_DIMENSIONS)
        if not shape and type(items[0]) is slice:
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    basic, advanced, dim, place = [], [], 0, 0  # dim counts the tensor's dimensions, place those of the view
    seen = False
    for position, item in enumerate(items):
        if type(item) is int:
            _check_int(item, dim, shape)
            basic.append(item)
            dim += 1
            continue
        if item is ...:
            count = max(len(shape) - used, 0)
            if count and seen and any(_dimensions_used(each) and each is not _WHOLE for each in items[position:]):
                raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {count + len(shape)})")
            count, seen = 0 if seen else count, True  # a second Ellipsis stands for nothing
            basic.extend([_WHOLE] * count)
            dim, place = dim + count, place + count
        elif item is None:
            basic.append(None)
            place += 1
        elif type(item) is slice:
            basic.append(item)
            dim, place = dim + 1, place + 1
        elif (
            item.array.ndim == 0 and item.array.dtype.kind == "b"
        ):  # a mask without dimensions picks all or nothing of a new one
            basic.append(None)
            advanced.append((place, item.reshape(1)))
            place += 1
        else:
            count = _dimensions_used(item)
            basic.extend([_WHOLE] * count)
            advanced.append((place, item))
            dim, place = dim + count, place + count
    return tuple(basic), advanced


def _as_items(key):
    if type(key) is tuple:
        return key
    if isinstance(key, list) and any(
        item is None or item is ... or isinstance(item, (Variable, slice, list, tuple)) for item in key
    ):
        return tuple(key)
    return (key,)


def _dimensions_used(item):
    if item is None or item is ...:
        return 0
    if isinstance(item, Variable) and item.array.dtype.kind == "b":
        return item.array.ndim
    return 1


def _item(item, tensor):
    """One part of a key as an int, a slice, None, Ellipsis, an integer tensor or a mask."""
    kind = type(item)
    if kind is int or item is None or item is ...:
        return item
    if kind is slice:
        return _slice(item)
    if not isinstance(item, Variable):
        if kind is bool or isinstance(item, np.bool_):
            return creation.tensor(bool(item), device=tensor.device)
        if isinstance(item, (list, tuple, range, np.ndarray)):
            item = _from_sequence(item, tensor)
        elif hasattr(item, "__index__"):
            return as_int(item)
        else:
            _refuse(item)
    dtype = item.array.dtype
    if dtype.kind == "b":
        return _beside(item, tensor)
    if dtype == np.uint8:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.", stacklevel=6
        )
        return _beside(item != 0, tensor)
    if dtype.kind not in "iu":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if item.array.ndim == 0 and item.level is None:  # else each example has its own place
        return int(item.item())
    if dtype.itemsize < 4:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return _beside(item, tensor)


def _slice(item):
    parts = (item.start, item.stop, item.step)
    if not all(part is None or hasattr(part, "__index__") for part in parts):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    start, stop, step = [part if part is None or type(part) is int else as_int(part) for part in parts]
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step is not None and step < 1:
        raise ValueError("step must be greater than zero")
    return _WHOLE if start is None and stop is None and step in (None, 1) else slice(start, stop, step)


def _from_sequence(item, tensor):
    array = item if isinstance(item, np.ndarray) else list(item)
    made = creation.tensor(array, device=tensor.device)
    return made.to(dtypes.int64) if made.array.size == 0 else made


def _beside(item, tensor):
    if item.device is tensor.device:
        return item.detach() if item.requires else item
    if item.device is not CPU:
        raise RuntimeError(
            f"indices should be either on cpu or on the same device as the indexed tensor ({tensor.device})"
        )
    return item.to(tensor.device)


def _refuse(item):
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(item).__name__})"
    )


def resolve(tensor, advanced):
    """(dims, index tensors) with masks turned into the positions where they are True, checked against `tensor`."""
    dims, indices = [], []
    for place, item in advanced:
        if item.array.dtype.kind == "b":
            _check_mask(tensor, place, item)
            if item.level is not None:
                raise RuntimeError(
                    "vmap: We do not support batching operators that can support dynamic shape. Attempting to batch "
                    "over indexing with a boolean mask."
                )
            found = TABLE["nonzero"].apply(item)
            for row in range(item.array.ndim):
                dims.append(place + row)
                indices.append(creation.wrap(found.array[row], found.device))
        else:
            dims.append(place)
            indices.append(item)
    _check_broadcast(indices)
    if indices and not tensor.device.is_cuda and tensor.device is not CPU and _are_plain(tensor, *indices):
        if picks_nothing(pick(tensor.array, dims, [index.array for index in indices])):
            return tuple(dims), indices
        check_bounds(tensor.array.shape, dims, indices)
    return tuple(dims), indices


def _check_mask(tensor, place, mask):
    shape, own = tensor.array.shape, mask.array.shape
    for row, size in enumerate(own):
        if size != shape[place + row]:
            raise IndexError(
                f"The shape of the mask {list(own)} at index {row} does not match the shape of the indexed tensor "
                f"{list(shape)} at index {place + row}"
            )


def _check_broadcast(indices):
    if len(indices) > 1:
        shapes = [index.array.shape for index in indices]
        try:
            broadcast_shape("index", *shapes)
        except RuntimeError:
            text = ", ".join(str(list(shape)) for shape in shapes)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes {text}"
            ) from None


def check_bounds(shape, dims, indices):
    """Refuse positions outside the dimensions, where the host can look at them without waiting for a GPU."""
    for dim, index in zip(dims, indices, strict=True):
        array, size = index.on_host(), shape[dim]
        if array.size and not -size <= array.min() <= array.max() < size:
            wrong = array[(array < -size) | (array >= size)].reshape(-1)[0]
            raise IndexError(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


# ---------------------------------------------------------------- assignment


def assign(tensor, key, value):
    """Write `value`, broadcast, where `key` points; both take part in gradients."""
    if value is None or isinstance(value, str):
        raise TypeError(f"can't assign a {type(value).__name__} to a {tensor.type()}")
    recorded = state.recording and (tensor.wants_gradient() or (isinstance(value, Variable) and value.wants_gradient()))
    if type(key) is int:
        _check_int(key, 0, tensor.array.shape)
        basic, advanced = (key,), None
    else:
        basic, advanced = parse(tensor, key)
    plain = _are_plain(tensor, value, *(item for _, item in advanced or ()))
    if not recorded and tensor.device is CPU and plain and not state.interceptors:
        _write_on_host(tensor, basic, advanced, value)
        bump(tensor)
    elif not advanced:
        view = _view(tensor, basic)
        view.copy_(_fitting(_as_tensor(value, tensor), view.array.shape))
    else:
        _put(tensor, basic, advanced, _as_tensor(value, tensor), recorded or not plain or state.interceptors)


def _are_plain(*values):
    """Whether none of them is a batch of examples that looks like one, whose elements cannot be reached."""
    return all(getattr(each, "level", None) is None for each in values)


def _write_on_host(tensor, basic, advanced, value):
    array = tensor.array[(*basic, ...)]
    check_apart(array, "__setitem__")
    if not isinstance(value, (int, float)):
        value = _as_tensor(value, tensor)
    elif array.dtype.kind not in "fV":
        value = number_for(value, tensor.dtype)
    if advanced:
        if len(advanced) == 1 and advanced[0][1].array.dtype.kind == "b" and _is_number(value):
            place, mask = advanced[0]
            _check_mask(_Shaped(array), place, mask)
            array[(*(_WHOLE,) * place, mask.array)] = value.array if isinstance(value, Variable) else value
            return
        viewed = _view(tensor, basic) if _selects(basic) else tensor
        dims, indices = resolve(viewed, advanced)
        indices = [index.array for index in indices]
        if isinstance(value, Variable):
            value = puttable(value, tensor, pick(array, dims, indices).shape)
            value = value.array
        try:
            array[numpy_key(array.ndim, dims, indices)] = value
        except IndexError as error:
            if not picks_nothing(pick(array, dims, indices)):
                raise out_of_bounds(error) from None
    elif isinstance(value, Variable):
        value = _fitting(value, array.shape).array
        array[...] = TABLE["cast"].reference(value, array.dtype) if value.dtype != array.dtype else value
    else:
        array[...] = value


class _Shaped:
    """An array where a tensor is looked at for its array only."""

    __slots__ = ("array",)

    def __init__(self, array):
        self.array = array


def _is_number(value):
    return not isinstance(value, Variable) or value.array.ndim == 0


def _as_tensor(value, tensor):
    if isinstance(value, Variable):
        return value if value.device is tensor.device else value.to(tensor.device)
    return creation.tensor(value, dtype=tensor.dtype, device=tensor.device)


def _fitting(value, shape):
    """The value without superfluous leading dimensions of one element, or the error that it does not expand."""
    own = value.array.shape
    if len(own) > len(shape):
        extra = len(own) - len(shape)
        if all(size == 1 for size in own[:extra]):
            value = value.reshape(own[extra:])
            own = own[extra:]
    if own != shape:
        Expand.resolve(shape, own)
    return value


def puttable(value, tensor, shape):
    """The value without superfluous leading dimensions, or the error that it cannot be written at the positions."""
    own = value.array.shape
    if value.array.dtype != tensor.array.dtype:
        names = [KIND_NAMES.get(each.dtype.name, each.dtype.name) for each in (tensor, value)]
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {names[0]} for the destination and "
            f"{names[1]} for the source."
        )
    while len(own) > len(shape) and own[0] == 1:
        value = value.reshape(own[1:])
        own = own[1:]
    extra = len(shape) - len(own)
    if extra < 0 or any(size not in (1, whole) for size, whole in zip(own, shape[extra:], strict=True)):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing result of shape "
            f"{list(shape)}"
        )
    return value


def _put(tensor, basic, advanced, value, by_ops):
    """Assignment by tensors and masks, on a device or, by ops that are recorded or intercepted, anywhere."""
    viewed = _view(tensor, basic) if _selects(basic) else tensor
    if len(advanced) == 1 and advanced[0][1].array.dtype.kind == "b" and value.array.ndim == 0:
        place, mask = advanced[0]
        _check_mask(viewed, place, mask)
        after = viewed.array.ndim - place - mask.array.ndim
        mask = mask.reshape((*mask.array.shape, *(1,) * after))
        apply_inplace(_filled, "__setitem__", viewed, mask, value.to(tensor.dtype))
        return
    dims, indices = resolve(viewed, advanced)
    found = pick(viewed.array, dims, [index.array for index in indices])
    value = puttable(value, tensor, found.shape)
    if by_ops:
        apply_inplace(IndexPut.apply, "index_put_", viewed, value, False, dims, *indices)
    else:
        check_apart(viewed.array, "__setitem__")
        write_picked(viewed.array, value.array, found)
        bump(viewed)


def _filled(tensor, mask, value):
    return TABLE["where"].apply(mask, value, tensor)
