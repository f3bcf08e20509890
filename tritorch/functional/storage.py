"""Storages: the memory that tensors are views of, as one row of bytes or of elements.

Two tensors share memory exactly where their storages have the same `data_ptr`.
"""

from __future__ import annotations

import mmap

import numpy as np

from tritorch import creation
from tritorch.ops.base import export
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.device import CPU, Device


class UntypedStorage:
    """Memory as bytes: `UntypedStorage(3)` makes three, `tensor.untyped_storage()` shows a tensor's."""

    def __init__(self, size=0, *, device=None):
        self.device = devices.resolve(device)
        self.array = transfer.empty((int(size),), np.dtype(np.uint8), self.device)

    @classmethod
    def over(cls, array, device):
        """The storage that shows a flat array."""
        self = object.__new__(cls)
        self.array, self.device = array, device
        return self

    is_cuda = property(lambda self: self.device.is_cuda, doc="Whether the memory is a GPU's.")

    def data_ptr(self):
        """The address of the first byte."""
        return transfer.pointer(self.array)

    def nbytes(self):
        """The number of bytes."""
        return self.array.nbytes

    def size(self):
        """The number of elements, which are bytes where there is no dtype."""
        return self.array.size

    __len__ = size

    def element_size(self):
        """The bytes an element takes."""
        return self.array.itemsize

    def tolist(self):
        """The elements as a list of Python numbers."""
        return creation.wrap(self.array, self.device).tolist()

    def __iter__(self):
        return iter(self.tolist())

    def __getitem__(self, key):
        found = creation.wrap(self.array, self.device)[key]
        return self.over(found.array, self.device) if isinstance(key, slice) else found.item()

    def __setitem__(self, key, value):
        creation.wrap(self.array, self.device)[key] = value

    def clone(self):
        """A copy of the memory."""
        return self.over(self.array.copy(), self.device)

    def cpu(self):
        """The memory on the CPU; itself if it is there."""
        return self.over(transfer.to_host(self.array), CPU) if self.is_cuda else self

    def cuda(self, device=None):
        """The memory on a GPU; itself if it is there."""
        device = devices.resolve(Device("cuda") if device is None else device)
        return self if device is self.device else self.over(transfer.from_host(self.array, device), device)

    def fill_(self, value):
        """Write `value` to every element."""
        self.array.fill(value)
        return self

    def is_shared(self):
        """Whether forked processes see each other's writes to it; a GPU's memory counts as shared."""
        return self.is_cuda or is_shared_memory(self.array)

    def __repr__(self):
        lines = "".join(f" {value}\n" for value in self.tolist())
        return f"{lines}[torch.storage.{self._kind()}device={self.device}) of size {self.size()}]"

    def _kind(self):
        return "UntypedStorage("


class TypedStorage(UntypedStorage):
    """Memory as elements of one dtype: a tensor's, `tensor.storage()`, or new, as `FloatStorage([1, 2])`."""

    dtype_of_new: dtypes.dtype | None = None

    def __init__(self, *args, dtype=None, device=None):
        dtype = dtype or self.dtype_of_new or dtypes.get_default_dtype()
        made = creation.legacy_tensor(dtype, device, args)
        self.array, self.device = made.array, made.device

    @property
    def dtype(self):
        """The dtype of the elements."""
        return dtypes.of(self.array.dtype)

    def untyped(self):
        """The same memory as bytes."""
        return UntypedStorage.over(transfer.memory_of(self.array), self.device)

    def _kind(self):
        return f"TypedStorage(dtype={self.dtype!r}, "


def _named(dtype, name):
    text = f"Memory of {dtype.name} elements."
    return type(name, (TypedStorage,), {"__module__": __name__, "__doc__": text, "dtype_of_new": dtype})


STORAGES = {
    dtype: _named(dtype, f"{prefix}Storage")
    for prefix, dtype in {
        "Float": dtypes.float32, "Double": dtypes.float64, "Half": dtypes.float16, "BFloat16": dtypes.bfloat16,
        "Long": dtypes.int64, "Int": dtypes.int32, "Short": dtypes.int16, "Char": dtypes.int8, "Byte": dtypes.uint8,
        "Bool": dtypes.bool_,
    }.items()
}  # fmt: skip


def is_shared_memory(array):
    """Whether a host array lies in memory that forked processes share."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


@export("is_storage")
def is_storage(obj):
    """Whether `obj` is a storage."""
    return isinstance(obj, UntypedStorage)


@export("Tensor.untyped_storage")
def untyped_storage(self):
    """The memory that this tensor is a view of, as bytes."""
    return UntypedStorage.over(transfer.memory_of(self.array), self.device)


@export("Tensor.storage")
def storage(self):
    """The memory that this tensor is a view of, as elements of its dtype."""
    return TypedStorage.over(transfer.memory_of(self.array, self.array.dtype), self.device)


@export("Tensor.storage_type")
def storage_type(self):
    """The class of storages of this tensor's dtype."""
    return STORAGES[self.dtype]


@export("Tensor.is_shared")
def is_shared(self):
    """Whether forked processes see each other's writes to this tensor; a GPU's memory counts as shared."""
    return self.is_cuda or is_shared_memory(self.array)


@export("Tensor.share_memory_")
def share_memory_(self):
    """Move a host tensor to memory that processes forked from here on share with this one."""
    if not is_shared(self) and self.array.nbytes:
        memory = np.frombuffer(mmap.mmap(-1, self.array.nbytes), self.array.dtype).reshape(self.array.shape)
        memory[...] = self.array
        self.array = memory
    return self
