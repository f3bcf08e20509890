"""Between devices: batches on their way to the default device, datasets on their way into forked workers."""

from __future__ import annotations

import gc
import types

import tritorch
from tritorch.runtime import device as devices
from tritorch.utils.data import transport
from tritorch.utils.data.collate import map_elements

# What a dataset refers to without owning it: following these would walk through the whole program.
FOREIGN = (types.ModuleType, type, types.FrameType, types.CodeType)


def place(batch, pin_memory):
    """Move the host tensors of a batch to the default device, by pinned asynchronous copies with `pin_memory`."""
    device = devices.get_default_device()
    if device is devices.CPU:
        return _pin(batch) if pin_memory and _gpu_present() else batch
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


def _pin(data):
    if hasattr(data, "pin_memory"):  # tensors, and batches of the user's own classes
        return data.pin_memory()
    return map_elements(_pin, data)


def host_copies(*roots):
    """(tensor, its elements on the host) for each GPU tensor that the roots own, for a process forked from here."""
    from tritorch.runtime.cuda import driver

    if not driver.is_initialised():
        return []
    return [(tensor, transport.host_array(tensor)) for tensor in _tensors(roots) if not tensor.device.is_host]


def _tensors(roots):
    """All tensors that can be reached from the roots, each once."""
    pending, seen = list(roots), set()
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, FOREIGN):
            continue
        seen.add(id(value))
        if isinstance(value, tritorch.Tensor):
            yield value
        elif isinstance(value, types.FunctionType):  # not its globals
            pending += [value.__closure__, value.__defaults__, value.__kwdefaults__]
        elif gc.is_tracked(value):
            pending += gc.get_referents(value)
