"""What a GPU's memory is used for, by PyTorch's names, the old ones too."""

from __future__ import annotations

import warnings

from tritorch.runtime.cuda.memory import OutOfMemoryError as OutOfMemoryError
from tritorch.runtime.cuda.memory import empty_cache as empty_cache
from tritorch.runtime.cuda.memory import max_memory_allocated as max_memory_allocated
from tritorch.runtime.cuda.memory import max_memory_reserved as max_memory_reserved
from tritorch.runtime.cuda.memory import mem_get_info as mem_get_info
from tritorch.runtime.cuda.memory import memory_allocated as memory_allocated
from tritorch.runtime.cuda.memory import memory_reserved as memory_reserved
from tritorch.runtime.cuda.memory import memory_stats as memory_stats
from tritorch.runtime.cuda.memory import memory_summary as memory_summary
from tritorch.runtime.cuda.memory import reset_peak_memory_stats as reset_peak_memory_stats


def _renamed(old, function):
    text = f"`torch.cuda.{old}` has been renamed to `torch.cuda.{function.__name__}`"

    def call(device=None):
        warnings.warn(text, FutureWarning, stacklevel=2)
        return function(device)

    call.__name__ = call.__qualname__ = old
    call.__doc__ = f"The old name of `{function.__name__}`."
    return call


memory_cached = _renamed("memory_cached", memory_reserved)
max_memory_cached = _renamed("max_memory_cached", max_memory_reserved)
reset_max_memory_allocated = _renamed("reset_max_memory_allocated", reset_peak_memory_stats)
reset_max_memory_cached = _renamed("reset_max_memory_cached", reset_peak_memory_stats)
