"""DistributedDataParallel: there to be imported and asked about; a process is always alone."""

from __future__ import annotations

from tritorch import distributed
from tritorch.nn.modules.module import Module


class DistributedDataParallel(Module):
    """A module whose gradients are averaged over processes: raises, as in PyTorch without a group of processes."""

    def __init__(self, module, *args, **kwargs):
        super().__init__()
        distributed.get_world_size()
        self.module = module

    def forward(self, *inputs, **kwargs):
        """The module's result."""
        return self.module(*inputs, **kwargs)
