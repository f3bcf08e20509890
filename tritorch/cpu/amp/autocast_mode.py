"""The old form of autocast for CPUs."""

from __future__ import annotations

import warnings

from tritorch import amp
from tritorch.runtime import dtypes


class autocast(amp.autocast):
    """amp.autocast("cpu", dtype, enabled, cache_enabled), deprecated."""

    def __init__(self, enabled=True, dtype=dtypes.bfloat16, cache_enabled=True):
        warnings.warn(
            "`torch.cpu.amp.autocast(args...)` is deprecated. Please use `torch.amp.autocast('cpu', args...)` instead.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)
