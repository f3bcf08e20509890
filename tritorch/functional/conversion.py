"""Tensors of another dtype or on another device: `to` and its short forms; and filling in place."""

from __future__ import annotations

import numbers

from tritorch import creation
from tritorch.autograd.inplace import apply_inplace, bump, check_writable
from tritorch.autograd.move import ToDevice
from tritorch.autograd.variable import Variable
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.layout import element_strides
from tritorch.ops.promotion import number_for
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU, Device
from tritorch.runtime.memory_format import check_format, check_rank, preserve_format, strides_in, suggested

Cast = TABLE["cast"]


@export("Tensor.to")
def to(self, *args, **kwargs):
    """The tensor with another dtype, on another device, or like another tensor; itself where nothing changes.

    to(dtype, non_blocking=False, copy=False), to(device=None, dtype=None, non_blocking=False, copy=False) and
    to(other, non_blocking=False, copy=False); in the strides it has, or in a `memory_format`.
    """
    if len(args) == 1 and not kwargs:  # the usual case, without parsing
        only = args[0]
        if type(only) is dtypes.dtype and only.category != dtypes.COMPLEX:
            return self if self.array.dtype == only.numpy else Cast.apply(self, only.numpy)
        if only is self.device:
            return self
    format = kwargs.pop("memory_format", None)
    device, dtype, non_blocking, copy = _parse(args, kwargs)
    return _in_format("to", convert(self, device, dtype, non_blocking, copy), format, self)


def _in_format(op, made, format, source):
    """What was made of `source`, in a memory format: as it is where its strides suggest that and nothing was copied."""
    if format is None or format is preserve_format or made.level is not None:
        return made
    check_format(op, format)
    check_rank(format, made.array.ndim)
    shape, strides = tuple(made.array.shape), element_strides(made.array)
    fits = suggested(shape, strides) is format if made is source else strides == strides_in(format, shape)
    return made if fits else made.clone(memory_format=format)


def _parse(args, kwargs):
    """The overloads of `to`: what comes first says which one it is."""
    kwargs = dict(kwargs)
    first = args[0] if args else kwargs.pop("other", None)
    names = ("non_blocking", "copy")
    device = dtype = None
    if isinstance(first, Variable):
        device, dtype = first.device, first.dtype
    elif type(first) is dtypes.dtype or isinstance(first, type):
        dtype = dtypes.as_dtype(first, "to")
    else:
        device, names = first, ("dtype", *names)
    if len(args) > len(names) + 1:
        raise TypeError(f"to() takes at most {len(names) + 1} positional arguments but {len(args)} were given")
    given = dict(zip(names, args[1:], strict=False))
    for name, value in kwargs.items():
        if name not in ("device", "dtype", "non_blocking", "copy") or name in given:
            raise TypeError(f"to() got an unexpected or repeated keyword argument '{name}'")
        given[name] = value
    device = given.get("device", device)
    return device, given.get("dtype") or dtype, given.get("non_blocking", False), given.get("copy", False)


def convert(tensor, device, dtype, non_blocking=False, copy=False):
    """`tensor` on `device` (None: its own) as `dtype` (None: its own): cast where fewer bytes then move."""
    device = tensor.device if device is None else devices.resolve(device)
    kind = tensor.array.dtype if dtype is None else dtypes.as_dtype(dtype, "to").numpy
    made = tensor
    if kind.itemsize < tensor.array.dtype.itemsize:
        made = Cast.apply(made, kind)
    if device is not made.device:
        made = ToDevice.apply(made, device, non_blocking)
    if kind != made.array.dtype:
        made = Cast.apply(made, kind)
    return made.clone() if copy and made is tensor else made


@export("Tensor.type_as")
def type_as(self, other):
    """The tensor with the dtype and on the device of `other`."""
    return convert(self, other.device, other.dtype)


def _named(method, name):
    numpy = dtypes.NAMES[name].numpy

    def cast(self, *, memory_format=None):
        made = self if self.array.dtype == numpy else Cast.apply(self, numpy)
        return made if memory_format is None else _in_format(method, made, memory_format, self)

    cast.__name__ = cast.__qualname__ = method
    cast.__doc__ = f"The tensor as {name}; itself if it is already."
    export(f"Tensor.{method}")(cast)


for _method, _name in {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32",
    "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool",
}.items():  # fmt: skip
    _named(_method, _name)


@export("Tensor.cpu")
def cpu(self, *, memory_format=None):
    """The tensor on the CPU; itself if it is there."""
    return _in_format("cpu", convert(self, CPU, None), memory_format, self)


@export("Tensor.cuda")
def cuda(self, device=None, non_blocking=False, *, memory_format=None):
    """The tensor on a GPU, by default the current one; itself if it is there."""
    made = convert(self, Device("cuda") if device is None else Device(device), None, non_blocking)
    return _in_format("cuda", made, memory_format, self)


@export("Tensor.pin_memory")
def pin_memory(self, device=None):
    """The tensor in page-locked memory, from which copies to a GPU are asynchronous; itself if it is there."""
    from tritorch.runtime.cuda import pinned

    if self.is_cuda:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    return self if pinned.is_pinned(self.array) else creation.wrap(pinned.pin_memory(self.array), self.device)


# ---------------------------------------------------------------- filled in place


@export("fill_", "Tensor.fill_")
def fill_(self, value):
    """Write `value`, a number or a tensor without dimensions, to every element."""
    if self.level is not None:
        return self.fill_(value)
    if isinstance(value, Variable):
        if value.array.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.array.ndim} dimensions."
            )
        return self.copy_(value)
    if not isinstance(value, numbers.Number):
        raise TypeError(f"fill_(): argument 'value' (position 1) must be Number, not {type(value).__name__}")
    number = number_for(value, self.dtype)
    if self.wants_gradient():  # the history of what is overwritten must go
        made = creation.full_of("fill_", (), number, self.dtype, self.device)
        return apply_inplace(EXPORTS["Tensor._overwritten_by"], "fill_", self, made)
    check_writable(self, "fill_", expanded=True)  # one value for all
    self.array.fill(number)
    bump(self)
    return self


@export("zero_", "Tensor.zero_")
def zero_(self):
    """Write zero to every element."""
    return fill_(self, 0)


@export("fill")
def fill(input, value):
    """A tensor like `input` whose elements are all `value`, a number or a tensor without dimensions."""
    return fill_(input.clone(), value)
