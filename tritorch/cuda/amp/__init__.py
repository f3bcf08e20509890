"""Mixed precision on GPUs, by the names that tritorch.amp replaces."""

from __future__ import annotations

from tritorch.cuda.amp.autocast_mode import autocast as autocast
from tritorch.cuda.amp.autocast_mode import custom_bwd as custom_bwd
from tritorch.cuda.amp.autocast_mode import custom_fwd as custom_fwd
from tritorch.cuda.amp.grad_scaler import GradScaler as GradScaler
