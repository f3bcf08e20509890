"""Mixed precision on CPUs, by the names that tritorch.amp replaces."""

from __future__ import annotations

from tritorch.cpu.amp.autocast_mode import autocast as autocast
from tritorch.cpu.amp.grad_scaler import GradScaler as GradScaler
