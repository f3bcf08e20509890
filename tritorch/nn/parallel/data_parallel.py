"""DataParallel: a module behind the name "module", which runs the whole batch on its own device."""

from __future__ import annotations

from tritorch.nn.modules.module import Module


class DataParallel(Module):
    """Calls `module`; its state's names begin with "module.", as PyTorch's do. Nothing is split among devices."""

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module, self.dim = module, dim
        self.device_ids, self.output_device = list(device_ids or ())[:1], output_device

    def forward(self, *inputs, **kwargs):
        """The module's result for the whole batch."""
        return self.module(*inputs, **kwargs)


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """The module's result for `inputs`, a tuple or one tensor, on the module's own device."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))
