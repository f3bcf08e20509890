"""Which config a launch uses: knobs and their space, a default by formula, and a tuner that finds better ones."""

from __future__ import annotations

import importlib

from tritorch.autotune.device import DeviceInfo as DeviceInfo
from tritorch.autotune.device import generation as generation
from tritorch.autotune.space import Space as Space
from tritorch.autotune.space import cdiv as cdiv
from tritorch.autotune.space import choices as choices
from tritorch.autotune.space import next_power_of_2 as next_power_of_2
from tritorch.autotune.space import permutations as permutations
from tritorch.autotune.space import powers as powers
from tritorch.autotune.space import stages as stages
from tritorch.autotune.space import warps as warps
from tritorch.autotune.tunable import TunableKernel as TunableKernel
from tritorch.autotune.tunable import device_of as device_of
from tritorch.autotune.tunable import kernel as kernel

_LATER = {"tune": "tuning", "pin_config": "lookup", "unpin_configs": "lookup"}  # what needs the tuner, or reads files


def __getattr__(name):
    """What is imported when it is asked for, so that importing tritorch is short."""
    if name in _LATER:
        return getattr(importlib.import_module(f"tritorch.autotune.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
