"""Devices beside the loader: batches on their way to the default device, and whether CUDA allows to fork."""

from __future__ import annotations

import ctypes
import os

import tritorch
from tritorch.runtime import device as devices
from tritorch.utils.data.collate import map_elements


def place(batch, pin_memory):
    """Move the host tensors of a batch to the default device; where that is the CPU, `pin_memory` pins them."""
    if isinstance(batch, OnItsWay):
        return batch.arrived()
    device = devices.get_default_device()
    if device.is_cuda:
        return depart(batch, device).arrived()
    if device is devices.CPU:
        return pin(batch) if pin_memory and _gpu_present() else batch
    return _move(batch, lambda tensor: tensor.to(device))


def _gpu_present():
    from tritorch.runtime.cuda import driver

    return driver.is_available()


def _move(data, move):
    if isinstance(data, tritorch.Tensor):
        return move(data) if data.device is devices.CPU else data
    return map_elements(lambda element: _move(element, move), data)


class OnItsWay:
    """A batch whose tensors are being copied to a GPU, beside the work on its current stream."""

    def __init__(self, batch, arrays, event, index):
        self.batch, self.arrays, self.event, self.index = batch, arrays, event, index

    def arrived(self):
        """The batch. Work queued from now on waits for the copies; the host does not."""
        from tritorch.runtime.cuda.stream import current_stream

        stream = current_stream(self.index)
        stream.wait_event(self.event)
        for each in self.arrays:  # memory of the other stream, which is used again after the work of this one
            each.record_stream(stream)
        return self.batch


def depart(batch, device):
    """Start to copy the host tensors of a batch to a GPU, by way of pinned memory and on a stream for copies."""
    from tritorch.runtime.cuda import stream as streams

    copying, arrays = streams.copy_stream(device.index), []

    def move(tensor):
        moved = tensor.pin_memory().to(device, non_blocking=True)
        arrays.append(moved.array)
        return moved

    with streams.stream(copying):
        moved = _move(batch, move)
        return OnItsWay(moved, arrays, copying.record_event(), device.index)


def pin(data, device=None):
    """Copy the tensors of a batch to page-locked memory."""
    if hasattr(data, "pin_memory"):  # tensors, and batches of the user's own classes
        return data.pin_memory()
    return map_elements(pin, data)


def cuda_in_use():
    """Whether this process has a CUDA context, which a fork would break; counting the GPUs makes none."""
    from tritorch.runtime.cuda import driver

    if not driver.is_initialised() or driver.in_bad_fork():
        return False
    library = ctypes.CDLL("libcuda.so.1")
    device, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
    for index in range(driver.device_count()):
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active))
        if active.value:
            return True
    return False


def cuda_may_start():
    """Whether there is a GPU to be used later, as far as can be said without initialising the driver."""
    from tritorch.runtime.cuda import driver

    if driver.is_initialised():
        return driver.is_available()
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
