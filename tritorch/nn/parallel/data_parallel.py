"""DataParallel: a module that gets its inputs from anywhere. One process computes on one device."""

from __future__ import annotations

import warnings

from tritorch.nn.modules.module import Module
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device
from tritorch.utils.nests import with_tensors


def _devices(device_ids):
    """The GPUs a module should use: those named, or all; none without a GPU."""
    if not driver.is_available():
        return []
    ids = range(driver.device_count()) if device_ids is None else device_ids
    return [each if isinstance(each, Device) else Device("cuda", each) for each in ids]


def brought_to(device, value):
    """A nested value with the tensors in it on `device`."""
    return with_tensors(value, lambda each: each.to(device))


class DataParallel(Module):
    """Calls `module`, with inputs brought to its GPU; keys of its state dict begin with "module.".

    It uses the first of `device_ids`, with a warning where there are more: a process computes on one device, and
    several devices are for DistributedDataParallel.
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module, self.dim = module, dim
        devices = _devices(device_ids)
        if len(devices) > 1:
            warnings.warn(f"DataParallel uses one device, {devices[0]}, of the {len(devices)} given", stacklevel=2)
        self.device_ids = [device.index for device in devices[:1]]
        self._device = devices[0] if devices else None
        self.output_device = output_device if output_device is not None or not devices else self.device_ids[0]
        if devices:
            self.module.to(self._device)

    def forward(self, *inputs, **kwargs):
        """What the module computes."""
        if self._device is not None:
            inputs, kwargs = brought_to(self._device, (inputs, kwargs))
        return self.module(*inputs, **kwargs)


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """The module called once as DataParallel would; `inputs` is a tensor or a tuple."""
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))
