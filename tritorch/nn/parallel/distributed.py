"""DistributedDataParallel: the name, for scripts that ask whether a model is one."""

from __future__ import annotations

from tritorch.nn.modules.module import Module


class DistributedDataParallel(Module):
    """A model trained by several processes together. Raises ValueError: a process is alone here."""

    def __init__(self, module, *args, **kwargs):
        raise ValueError(
            "Default process group has not been initialized, please make sure to call init_process_group. "
            "tritorch trains in one process: use the module itself."
        )
