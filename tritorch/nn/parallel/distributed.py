"""DistributedDataParallel, which needs several processes."""

from __future__ import annotations

from tritorch.nn.modules.module import Module


class DistributedDataParallel(Module):
    """A module whose gradients are averaged over processes: an error until there are any."""

    def __init__(self, module, device_ids=None, output_device=None, dim=0, **settings):
        super().__init__()
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
