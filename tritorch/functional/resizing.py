"""Tensors made of another size, or of other memory, in place."""

from __future__ import annotations

import math
import warnings

from tritorch import creation
from tritorch.autograd.inplace import bump, write
from tritorch.ops.base import export
from tritorch.ops.layout import element_strides
from tritorch.runtime import transfer, views
from tritorch.runtime.memory_format import check_format, check_rank, preserve_format, strides_in, suggested


@export("Tensor.resize_")
def resize_(self, *sizes, memory_format=None):
    """Make the tensor of another size; elements keep their order, new ones are not set."""
    if self.requires:
        raise RuntimeError("cannot resize variables that require grad")
    shape = creation.size_of("resize_", sizes)
    array = self.array
    if memory_format is not None:
        return _restrided(self, shape, memory_format)
    if shape == array.shape:
        return self
    count = math.prod(shape)
    if count <= array.size and transfer.is_contiguous(array):  # the same memory
        self.array = array.reshape(-1)[:count].reshape(shape)
        return self
    fresh = transfer.empty(shape, array.dtype, self.device)
    kept = min(count, array.size)
    write(fresh.reshape(-1)[:kept], array.reshape(-1)[:kept])
    self.array = fresh
    return self


def _restrided(self, shape, format):
    """The tensor with another size and the strides of a memory format, elements where they lie in memory."""
    check_format("resize_", format)
    check_rank(format, len(shape))
    if format is preserve_format:
        raise RuntimeError("Unsupported memory formatPreserve")
    resize_(self, shape)
    steps = [step * self.array.itemsize for step in strides_in(format, shape)]
    self.array = views.as_strided(self.array, shape, tuple(steps))
    return self


@export("resize_as_", "Tensor.resize_as_")
def resize_as_(self, other, *, memory_format=None):
    """Make the tensor of the size of `other`, and with preserve_format of the format that its strides suggest."""
    shape = tuple(other.array.shape)
    if memory_format is preserve_format:
        memory_format = suggested(shape, element_strides(other.array))
    return resize_(self, shape, memory_format=memory_format)


@export("Tensor.set_")
def set_(self, source):
    """Make this tensor the same memory as `source`."""
    self.array, self.device = source.array, source.device
    bump(self)
    return self


def _once_resized(self, name, shape):
    warnings.warn(f"non-inplace {name} is deprecated", UserWarning, stacklevel=4)
    if math.prod(shape) != self.array.size:
        raise RuntimeError(
            f"requested resize to {'x'.join(map(str, shape))} ({math.prod(shape)} elements in total), but the given "
            f"tensor has a size of {'x'.join(map(str, self.array.shape))} ({self.array.size} elements). autograd's "
            "resize can only change the shape of a given tensor, while preserving the number of elements. "
        )
    return self.reshape(shape)


@export("Tensor.resize")
def resize(self, *sizes):
    """The old name of `reshape`, with a warning."""
    return _once_resized(self, "resize", creation.size_of("resize", sizes))


@export("Tensor.resize_as")
def resize_as(self, tensor):
    """The old name of `reshape` to another tensor's shape, with a warning."""
    return _once_resized(self, "resize_as", tensor.array.shape)
