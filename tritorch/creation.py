"""Tensors from data: `tensor`, `as_tensor`, `from_numpy`, and the factories that fill or count."""

from __future__ import annotations

import math
import numbers
import warnings

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.nested import array_of, check_native
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.creation import lying, strides_of_format, strides_of_like
from tritorch.ops.guard import kind_of, unpacking
from tritorch.ops.promotion import KIND_NAMES, number_for
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, transfer, views
from tritorch.runtime.memory_format import strided as strided


def wrap(array, device, requires_grad=False):
    """A tensor of an array that is on `device` already."""
    made = Variable.made_as.__new__(Variable.made_as)
    made.array, made.device = array, device
    if requires_grad:
        made.requires_grad_()
    return made


@export("tensor")
def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new tensor with a copy of `data`: numbers, nested sequences, arrays, tensors."""
    dtype = None if dtype is None else dtypes.as_dtype(dtype, "tensor")
    if isinstance(data, Variable):
        _warn_of_copy("torch.tensor", stacklevel=4)
        made = data.detach().clone().to(device=device or data.device, dtype=dtype)
        return made.requires_grad_() if requires_grad else made
    device = devices.resolve(device)
    return wrap(transfer.from_host(array_of(data, dtype), device), device, requires_grad)


def _warn_of_copy(function, stacklevel):
    warnings.warn(
        "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
        f"sourceTensor.detach().clone().requires_grad_(True), rather than {function}(sourceTensor).",
        stacklevel=stacklevel,
    )


@export("asarray")
def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=None):
    """`obj` as a tensor on the same memory where dtype and device allow; copy=True always copies, False never."""
    source = _on_its_memory(obj, dtype)
    if source is None:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        made = tensor(obj, dtype=dtype, device=device)
    else:
        made = source.to(device=device or source.device, dtype=dtype)
        if copy is False and made is not source:
            if made.device is source.device:
                kinds = [KIND_NAMES[each.dtype.name] for each in (source, made)]
                raise ValueError(f"can't alias tensor with dtype '{kinds[0]}' into dtype '{kinds[1]}'.")
            raise ValueError(f"can't alias tensor from device '{source.device}' to '{made.device}'.")
        made = made.clone() if copy and made is source else made
    if requires_grad is None or made.requires is requires_grad:
        return made
    return made.detach().requires_grad_(requires_grad)


def _on_its_memory(obj, dtype):
    """A tensor that shares the memory of a tensor, array or buffer; None for anything else."""
    if isinstance(obj, Variable):
        return obj
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return frombuffer(obj, dtype=dtype or dtypes.get_default_dtype())
    if isinstance(obj, np.ndarray):
        return from_numpy(obj)
    if hasattr(obj, "__cuda_array_interface__"):
        array = transfer.from_cuda_interface(obj)
        return wrap(array, array.device)
    return EXPORTS["from_dlpack"](obj) if hasattr(obj, "__dlpack__") else None


@export("frombuffer")
def frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False):
    """A vector in the memory of a Python buffer, `count` elements (-1: all) from `offset` bytes on."""
    kind, length = dtypes.as_dtype(dtype, "frombuffer").numpy, memoryview(buffer).nbytes
    if not length or not count:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} "
                         "bytes) minus 1")  # fmt: skip
    if count < 0 and (length - offset) % kind.itemsize:
        raise ValueError(
            f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a multiple of element size "
            f"({kind.itemsize})"
        )
    if offset + count * kind.itemsize > length:
        raise ValueError(
            f"requested buffer length ({count} * {kind.itemsize} bytes) after offset ({offset} bytes) must not be "
            f"greater than actual buffer length ({length} bytes)"
        )
    array = np.frombuffer(buffer, kind, count, offset)
    if not array.flags.writeable:
        _warn_of_writes("buffer", "you can write to the underlying (supposedly non-writable) buffer using the tensor")
    made = _in_memory_of(array)
    return made.requires_grad_() if requires_grad else made


@export("as_tensor")
def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor, sharing memory where dtype and device allow."""
    if isinstance(data, Variable):
        return data.to(device=device or data.device, dtype=dtype)
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(device=devices.resolve(device), dtype=dtype)
    source = None if isinstance(data, (bytes, bytearray, memoryview)) else _on_its_memory(data, dtype)
    if source is None:
        return tensor(data, dtype=dtype, device=device)
    return source.to(device=device or source.device, dtype=dtype)


@export("from_numpy")
def from_numpy(ndarray):
    """A tensor of a NumPy array: the same memory on a host device, a copy where the default device is a GPU."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)  # refuses what there are no tensors of
    check_native(ndarray)
    if min(ndarray.strides, default=0) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array with array.copy().)"
        )
    if not ndarray.flags.writeable:
        _warn_of_writes("NumPy array", "writing to this tensor will result in undefined behavior")
    return _in_memory_of(ndarray)


def _warn_of_writes(what, meaning):
    noun = what.rpartition(" ")[2]
    warnings.warn(
        f"The given {what} is not writable, and PyTorch does not support non-writable tensors. This means {meaning}. "
        f"You may want to copy the {noun} to protect its data or make it writable before converting it to a tensor. "
        "This type of warning will be suppressed for the rest of this program.",
        stacklevel=5,
    )


def _in_memory_of(ndarray):
    device = devices.get_default_device()
    return wrap(transfer.from_host(ndarray, device), device)


def size_of(op, sizes):
    """The shape given as separate ints, as one sequence, or by keyword."""
    if len(sizes) == 1 and not isinstance(sizes[0], numbers.Integral) and not (
        isinstance(sizes[0], Variable) and sizes[0].array.ndim == 0
    ):  # fmt: skip
        if isinstance(sizes[0], (numbers.Number, str)) or not hasattr(sizes[0], "__iter__"):
            kind = kind_of(sizes[0])
            raise TypeError(f"{op}(): argument 'size' (position 1) must be tuple of ints, not {kind}")
        sizes = sizes[0]
    shape = []
    for position, each in enumerate(sizes, 1):
        if isinstance(each, (float, str)) or each is None:
            raise TypeError(unpacking(op, "size", position, each))
        shape.append(int(each))
    if any(each < 0 for each in shape):
        bad = next(each for each in shape if each < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {bad}: {shape}")
    return tuple(shape)


def full_of(op, size, value, dtype, device, requires_grad=False):
    """A filled tensor of a given shape."""
    kind = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, op)
    made = TABLE["full"].apply(size, number_for(value, kind), kind.numpy, devices.resolve(device))
    return made.requires_grad_() if requires_grad else made


def empty_of(op, size, value, dtype, device, requires_grad=False):
    """A tensor of a given shape whose elements are not set, whatever `value`."""
    kind = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, op)
    device = devices.resolve(device)
    return wrap(transfer.empty(size, kind.numpy, device), device, requires_grad)


def _filled(op, text, make, value, formatted=False):
    def create(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False, **named):
        if not size and "size" not in named:
            raise TypeError(f'{op}() missing 1 required positional arguments: "size"')
        size = size_of(op, size or (named.pop("size"),))
        format = named.pop("memory_format", None) if formatted else None
        if named:
            raise TypeError(f"{op}() got an unexpected keyword argument '{next(iter(named))}'")
        strides = None if format is None else strides_of_format(op, format, size)
        made = lying(size, strides, lambda size: make(op, size, value, dtype, device))
        if out is not None:
            return out.resize_(size).copy_(made)
        return made.requires_grad_() if requires_grad else made

    create.__name__ = op
    create.__doc__ = f"A tensor of the given size {text}."
    return export(op)(create)


zeros = _filled("zeros", "filled with 0", full_of, 0)
ones = _filled("ones", "filled with 1", full_of, 1)
empty = _filled("empty", "whose elements are not set", empty_of, 0, formatted=True)


@export("empty_strided")
def empty_strided(size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor of this size and these strides whose elements are not set."""
    size, stride = size_of("empty_strided", (size,)), tuple(map(int, stride))
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})"
        )
    if min(stride, default=0) < 0:
        raise RuntimeError(f"empty_strided(): strides must not be negative, but got {list(stride)}")
    reach = 0 if 0 in size else 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    made = empty_of("empty_strided", (reach,), 0, dtype, device)
    steps = tuple([step * made.array.itemsize for step in stride])
    made.array = views.as_strided(made.array, size, steps)
    return made.requires_grad_() if requires_grad else made


@export("empty_permuted")
def empty_permuted(size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False,
                   pin_memory=False):  # fmt: skip
    """A tensor whose dimensions lie in memory, outermost first, in the order `physical_layout`."""
    size, order = size_of("empty_permuted", (size,)), tuple(physical_layout)
    if len(order) != len(size):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(size))):
        bad = next((dim for dim in order if not 0 <= dim < len(size)), None)
        raise RuntimeError("Duplicate dim not allowed" if bad is None else f"Dimension out of range, but got {bad}")
    stride, step = [0] * len(size), 1
    for dim in reversed(order):
        stride[dim] = step
        step *= max(size[dim], 1)
    return empty_strided(size, stride, dtype=dtype, device=device, requires_grad=requires_grad)


@export("scalar_tensor")
def scalar_tensor(s, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor without dimensions that holds a number, by default in the default floating dtype."""
    return full_of("scalar_tensor", (), s, dtype, device, requires_grad)


@export("full")
def full(size, fill_value, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """A tensor of `size` filled with `fill_value`; integers and bools keep their dtype."""
    if isinstance(size, numbers.Number):
        raise TypeError(f"full(): argument 'size' (position 1) must be tuple of ints, not {kind_of(size)}")
    if isinstance(fill_value, Variable):
        fill_value = fill_value.item()
    if not isinstance(fill_value, numbers.Number):
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {kind_of(fill_value)}")
    if dtype is None:
        dtype = dtypes.of_scalar(fill_value)
    made = full_of("full", size_of("full", (size,)), fill_value, dtype, device, requires_grad)
    return made if out is None else out.resize_(made.shape).copy_(made)


def like(op, input, value, dtype, device, requires_grad, format=None, make=full_of):
    """A tensor filled with `value`, of the size, dtype, device and strides of `input` unless told otherwise."""
    if not isinstance(input, Variable):
        raise TypeError(f"{op}(): argument 'input' (position 1) must be Tensor, not {kind_of(input)}")
    dtype, device, strides = dtype or input.dtype, device or input.device, strides_of_like(op, input, format)
    made = lying(tuple(input.array.shape), strides, lambda size: make(op, size, value, dtype, device))
    return input.made_alike(made.requires_grad_() if requires_grad else made)


@export("zeros_like")
def zeros_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Zeros of the size of `input`."""
    return like("zeros_like", input, 0, dtype, device, requires_grad, memory_format)


@export("ones_like")
def ones_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Ones of the size of `input`."""
    return like("ones_like", input, 1, dtype, device, requires_grad, memory_format)


@export("empty_like")
def empty_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """A tensor of the size of `input` whose elements are not set."""
    return like("empty_like", input, 0, dtype, device, requires_grad, memory_format, empty_of)


@export("full_like")
def full_like(input, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """A tensor of the size of `input` filled with `fill_value`."""
    return like("full_like", input, fill_value, dtype, device, requires_grad, memory_format)


def _new(op, text, make, value):
    def create(self, *size, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False, **named):
        size = size_of(op, size or (named.pop("size"),))
        return self.made_alike(make(op, size, value, dtype or self.dtype, device or self.device, requires_grad))

    create.__name__ = op
    create.__doc__ = f"A tensor of the given size and this one's dtype and device, {text}."
    return export(f"Tensor.{op}")(create)


new_zeros = _new("new_zeros", "filled with 0", full_of, 0)
new_ones = _new("new_ones", "filled with 1", full_of, 1)
new_empty = _new("new_empty", "whose elements are not set", empty_of, 0)


@export("Tensor.new_empty_strided")
def new_empty_strided(self, size, stride, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """A tensor of this size and these strides with this one's dtype and device, whose elements are not set."""
    return empty_strided(size, stride, dtype=dtype or self.dtype, device=device or self.device,
                         requires_grad=requires_grad)  # fmt: skip


@export("Tensor.new_full")
def new_full(self, size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A tensor of `size`, filled, with this one's dtype and device."""
    made = full_of("new_full", size_of("new_full", (size,)), fill_value, dtype or self.dtype, device or self.device,
                   requires_grad)  # fmt: skip
    return self.made_alike(made)


@export("Tensor.new_tensor")
def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
    """A copy of `data` with this tensor's dtype and device."""
    if isinstance(data, Variable):
        _warn_of_copy("tensor.new_tensor", stacklevel=4)
        data = data.detach()
        made = data.clone().to(device=device or self.device, dtype=dtype or self.dtype)
        return made.requires_grad_() if requires_grad else made
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


@export("arange")
def arange(start=None, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The numbers start, start + step, ... below `end`; from 0 where one number is given."""
    if start is None and end is None:
        raise TypeError(
            "arange() received an invalid combination of arguments - got (), but expected end, or start, end"
        )
    if end is None or start is None:
        start, end = 0, start if end is None else end
    for position, (name, each) in enumerate((("start", start), ("end", end), ("step", step)), 1):
        if not isinstance(each, (numbers.Number, Variable)):
            raise TypeError(f"arange(): argument '{name}' (position {position}) must be Number, not {kind_of(each)}")
    start, end, step = (each.item() if isinstance(each, Variable) else each for each in (start, end, step))
    dtype = out.dtype if dtype is None and out is not None else dtype
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (step > 0 and start > end) or (step < 0 and start < end):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        whole = all(isinstance(each, numbers.Integral) for each in (start, end, step))
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    count = math.ceil((end - start) / step)
    kind = dtypes.as_dtype(dtype, "arange").numpy
    if kind.kind in "iu" and int(step) == 0:
        raise ValueError("step must be nonzero")
    made = TABLE["arange"].apply(start, step, count, kind, devices.resolve(device))
    if out is not None:
        return out.resize_(made.shape).copy_(made)
    return made.requires_grad_() if requires_grad else made


def legacy_tensor(dtype, device, args, wanted=None):
    """What the old constructors make of sizes, or of a sequence, array or tensor; a tensor must be `wanted` already."""
    if not args:
        return empty_of("new", (0,), 0, dtype, device)
    first = args[0]
    if len(args) > 1 or isinstance(first, numbers.Integral) or type(first) is Variable.size_type:
        return empty_of("new", size_of("new", args), 0, dtype, device)
    if isinstance(first, Variable):
        if wanted is not None and first.array.dtype != dtype.numpy:
            raise TypeError(f"new(): expected a tensor of {dtype!r}, got one of {first.dtype!r}")
        return first.detach()
    if isinstance(first, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(first, dict) or not hasattr(first, "__getitem__") or isinstance(first, np.generic):
        raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
    return tensor(first, dtype=dtype, device=device)
