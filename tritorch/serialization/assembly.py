"""Tensors while a file is read: all on the host first, then, storage by storage, where they belong."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.nn.parameter import Parameter
from tritorch.runtime import device as devices
from tritorch.runtime import transfer, views
from tritorch.runtime.device import CPU, Device
from tritorch.serialization.errors import Corrupt
from tritorch.tensor import Tensor

NO_CUDA = (
    "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are running on a "
    "CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU."
)
UNKNOWN = "don't know how to restore data location of torch.storage.UntypedStorage"


class Storage:
    """The bytes that some tensors share, on the host, and the name of the device that they were saved from."""

    def __init__(self, data, location):
        self.data, self.location = data, location  # data: a vector of uint8

    def elements(self, dtype):
        """All whole elements of a NumPy dtype."""
        return self.data[: self.data.size // dtype.itemsize * dtype.itemsize].view(dtype)


class Assembly:
    """Makes tensors on storages, and moves them when all is read."""

    def __init__(self):
        self.made: list = []  # (tensor, storage, dtype, offset, shape, strides), all in elements

    def tensor(self, storage, dtype, offset, shape, strides, requires_grad=False):
        """A tensor of these sizes and steps, in elements, in a storage."""
        kind = dtype.numpy
        shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
        _check_bounds(storage, kind, offset, shape, strides)
        array = _view(storage.elements(kind), offset, shape, strides)
        made = creation.wrap(array, CPU)
        self.made.append((made, storage, kind, offset, shape, strides))
        if requires_grad:
            made.requires_grad_()
        return made

    def parameter(self, tensor, requires_grad):
        """The Parameter on the memory of a tensor made here."""
        made = self.alias(tensor, Parameter)
        made.requires = bool(requires_grad)
        return made

    def alias(self, tensor, kind):
        """A tensor of another class on the memory of one made here."""
        place = next((record for record in reversed(self.made) if record[0] is tensor), None)
        if place is None or not issubclass(kind, Tensor):
            raise Corrupt(f"a {kind.__name__} is to be made of {type(tensor).__name__}")
        made = object.__new__(kind)
        made.array, made.device = tensor.array, tensor.device
        self.made.append((made, *place[1:]))
        return made

    def place(self, map_location):
        """Put the tensors where they were, or where `map_location` wants them; shared memory stays shared."""
        moved: dict = {}
        for tensor, storage, kind, offset, shape, strides in self.made:
            key = id(storage), kind
            if key not in moved:
                whole = creation.wrap(storage.elements(kind), CPU)
                moved[key] = _placed(whole, storage.location, map_location)
            whole = moved[key]
            if whole.device is not CPU or whole.array.dtype != kind:
                tensor.device = whole.device
                tensor.array = _view(whole.array, offset, shape, strides)


def _check_bounds(storage, kind, offset, shape, strides):
    if len(shape) != len(strides) or offset < 0 or min(shape, default=0) < 0 or min(strides, default=0) < 0:
        raise Corrupt(f"a tensor of size {list(shape)} has strides {list(strides)} and offset {offset}")
    if 0 in shape:
        return
    reach = offset + 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if reach * kind.itemsize > storage.data.size:
        raise Corrupt(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize "
            f"{kind.itemsize} requiring a storage size of {reach * kind.itemsize} are out of bounds for storage of "
            f"size {storage.data.size}"
        )


def _view(whole, offset, shape, strides):
    if 0 in shape:
        return transfer.empty(shape, whole.dtype, CPU) if isinstance(whole, np.ndarray) else whole[:0].reshape(shape)
    size = whole.itemsize
    return views.as_strided(whole, shape, tuple([step * size for step in strides]), offset * size)


def _placed(whole, location, map_location):
    """A storage, as a vector, where `map_location` wants it."""
    if callable(map_location) and not isinstance(map_location, Device):
        made = map_location(whole, location)
        return _restored(whole, location) if made is None else made
    if isinstance(map_location, dict):
        return _restored(whole, map_location.get(location, location))
    return _restored(whole, location if map_location is None else map_location)


def _restored(whole, location):
    try:
        device = Device(location)
    except RuntimeError:
        raise RuntimeError(f"{UNKNOWN} (tagged with {location})") from None
    if device.is_cuda:
        from tritorch.runtime.cuda import driver

        if not driver.is_available():
            raise RuntimeError(NO_CUDA)
    device = devices.resolve(device)
    return whole if device is CPU else creation.wrap(transfer.from_host(whole.array, device), device)
