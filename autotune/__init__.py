"""Which config a launch uses: knobs and their space, and a default by formula so that nothing must be tuned to run."""

from __future__ import annotations

from tritorch.autotune.kernel import DeviceInfo as DeviceInfo
from tritorch.autotune.kernel import TunableKernel as TunableKernel
from tritorch.autotune.kernel import kernel as kernel
from tritorch.autotune.space import Space as Space
from tritorch.autotune.space import cdiv as cdiv
from tritorch.autotune.space import choices as choices
from tritorch.autotune.space import next_power_of_2 as next_power_of_2
from tritorch.autotune.space import powers as powers
