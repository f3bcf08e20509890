"""Devices beside the loader: batches on their way to the default device, and whether CUDA allows to fork."""

from __future__ import annotations

import ctypes
import os

import tritorch
from tritorch.runtime import device as devices
from tritorch.utils.data.collate import map_elements


def place(batch, pin_memory):
    """Move the host tensors of a batch to the default device, by pinned asynchronous copies with `pin_memory`."""
    device = devices.get_default_device()
    if device is devices.CPU:
        return pin(batch) if pin_memory and _gpu_present() else batch
    return _move(batch, device, pin_memory and device.is_cuda)


def _gpu_present():
    from tritorch.runtime.cuda import driver

    return driver.is_available()


def _move(data, device, pin_memory):
    if isinstance(data, tritorch.Tensor):
        if data.device is not devices.CPU:
            return data
        return data.pin_memory().to(device, non_blocking=True) if pin_memory else data.to(device)
    return map_elements(lambda element: _move(element, device, pin_memory), data)


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
