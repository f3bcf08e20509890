"""Tensors handed to NumPy and to other libraries, and taken from them, without a copy where that can be."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import export
from tritorch.runtime import device as devices
from tritorch.runtime import dlpack, transfer
from tritorch.runtime.device import CPU, Device


class DLDeviceType(IntEnum):
    """The kinds of devices of DLPack that tensors can be on."""

    kDLCPU = dlpack.CPU
    kDLCUDA = dlpack.CUDA


# ---------------------------------------------------------------- NumPy


@export("Tensor.__array__")
def to_array(self, dtype=None, copy=None):
    """The elements as a NumPy array, of another dtype if asked; `copy` as NumPy means it."""
    array = self.numpy()
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    if copy is False and (self.is_cuda or wanted != array.dtype):
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    return array.astype(wanted, copy=bool(copy) and not self.is_cuda)


@export("Tensor.__array_wrap__")
def from_ufunc(self, array, context=None, return_scalar=False):
    """What NumPy's functions give for tensors: a tensor on the CPU."""
    return creation.wrap(np.asarray(array), CPU)


def _array_interface(self):
    """What NumPy reads a host tensor's memory by; dtypes that NumPy has no letters for go through `__array__`."""
    if not isinstance(self.array, np.ndarray) or self.array.dtype.kind == "V":
        raise AttributeError(f"no __array_interface__ for {self.dtype!r} on {self.device}: use numpy()")
    return self.numpy().__array_interface__


export("Tensor.__array_interface__")(property(_array_interface, doc=_array_interface.__doc__))


# ---------------------------------------------------------------- CUDA


def _cuda_array_interface(self):
    """What other libraries read a GPU tensor's memory by: version 2 of Numba's interface."""
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA data is required use "
            "tensor.cuda() to copy tensor to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use "
            "var.detach() to get Variable that doesn't require grad."
        )
    array = self.array
    # bfloat16 has no letter: two raw bytes
    letter = array.dtype.str if array.dtype.kind != "V" else f"<V{array.itemsize}"
    return {
        "data": (transfer.pointer(array), False), "shape": tuple(array.shape), "typestr": letter, "version": 2,
        "strides": None if transfer.is_contiguous(array) else tuple(array.strides),
    }  # fmt: skip


export("Tensor.__cuda_array_interface__")(property(_cuda_array_interface, doc=_cuda_array_interface.__doc__))


# ---------------------------------------------------------------- DLPack


@export("Tensor.__dlpack_device__")
def dlpack_device(self):
    """Where the memory is, as DLPack says it: (kind of device, index)."""
    return (DLDeviceType.kDLCUDA, self.device.index) if self.is_cuda else (DLDeviceType.kDLCPU, 0)


@export("Tensor.__dlpack__")
def to_capsule(self, *, stream=None, max_version=None, dl_device=None, copy=None):
    """A capsule that describes the memory; work on `stream` waits for what has been queued here so far."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if not self.is_cuda and stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    tensor = self
    if dl_device is not None and tuple(dl_device) != tuple(dlpack_device(self)):
        if copy is False:
            raise BufferError(f"__dlpack__(): a tensor on {self.device} cannot be given as {dl_device} without a copy")
        tensor = self.to(CPU if dl_device[0] == dlpack.CPU else Device("cuda", dl_device[1]))
    elif copy:
        tensor = self.clone()
    if tensor.is_cuda and stream != -1:
        _let_wait(tensor.device.index, stream)
    versioned = max_version is not None and max_version[0] >= 1
    place = dlpack_device(tensor)
    pointer = transfer.pointer(tensor.array)
    return dlpack.capsule_of(tensor.array, pointer, place, versioned, copied=tensor is not self)


def _let_wait(index, number):
    """Let another library's stream wait for ours; None and 1 are the driver's default stream, 2 its per-thread one."""
    from tritorch.runtime.cuda import driver
    from tritorch.runtime.cuda.stream import current_stream

    if number == 0:
        raise BufferError("__dlpack__(): stream 0 is ambiguous: 1 is the default stream, 2 the per-thread one")
    event = current_stream(index).record_event()
    api = driver.api()
    driver.call(api.cuStreamWaitEvent, api.CUstream(1 if number is None else number), event.handle, 0)


@export("from_dlpack")
def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor on the memory of another library's array, or of a capsule that describes it."""
    made = _wrapped(_asked(ext_tensor, copy) if hasattr(ext_tensor, "__dlpack__") else ext_tensor)
    if device is not None:
        target = devices.resolve(device)
        if copy is False and target is not made.device:
            raise ValueError(f"from_dlpack(): memory of {made.device} cannot be on {target} without a copy")
        made = made.to(target)
    return made.clone() if copy and not hasattr(ext_tensor, "__dlpack__") else made


def _asked(source, copy):
    """The capsule of another library's array; old libraries know less of what can be asked."""
    kind, index = source.__dlpack_device__()
    asked = {}
    if int(kind) == dlpack.CUDA:
        from tritorch.runtime.cuda.stream import current_stream

        asked["stream"] = current_stream(index).cuda_stream
    try:
        return source.__dlpack__(max_version=(1, 0), copy=copy, **asked)
    except TypeError:
        if copy:
            raise
        return source.__dlpack__(**asked)


def _wrapped(capsule):
    array, (kind, index) = dlpack.array_of(capsule)
    return creation.wrap(array, Device("cuda", index) if kind == dlpack.CUDA else CPU)


@export("to_dlpack")
def to_dlpack(tensor):
    """A capsule that describes a tensor's memory, of the old kind that every library takes."""
    if not isinstance(tensor, Variable):
        raise TypeError(f"to_dlpack(): argument 'tensor' (position 1) must be Tensor, not {type(tensor).__name__}")
    return to_capsule(tensor)
