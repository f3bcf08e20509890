"""DataParallel: the whole batch goes through the model on one device, where PyTorch shares it out among several."""

from __future__ import annotations

from tritorch.nn.modules.module import Module
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device


class DataParallel(Module):
    """`module` on the first of `device_ids`, with the whole batch: the results are those of several devices.

    The names of its state dict start with "module.", as PyTorch's do. Without a GPU it only calls `module`.
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module, self.dim = module, dim
        if device_ids is None:
            device_ids = [0]
        self.device_ids = [_number_of(device) for device in device_ids] if driver.is_available() else []
        if self.device_ids:
            self.output_device = self.device_ids[0] if output_device is None else _number_of(output_device)
            self.module.to(Device("cuda", self.device_ids[0]))

    def forward(self, *inputs, **kwargs):
        """Call the module; tensors among the arguments are moved to its device."""
        if self.device_ids:
            device = Device("cuda", self.device_ids[0])
            inputs, kwargs = _moved(inputs, device), _moved(kwargs, device)
        return self.module(*inputs, **kwargs)


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """What `DataParallel(module, ...)` gives for a tensor or a tuple of inputs."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))


def _number_of(device):
    return device if isinstance(device, int) else Device(device).index or 0


def _moved(value, device):
    """Arguments with their tensors on a device."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_moved(each, device) for each in value)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    return value.to(device) if hasattr(value, "array") else value
