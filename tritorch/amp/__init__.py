"""Mixed precision: `autocast` chooses the dtype of each op, `GradScaler` keeps small gradients from vanishing."""

from __future__ import annotations

from tritorch.amp.autocast_mode import autocast as autocast
from tritorch.amp.autocast_mode import custom_bwd as custom_bwd
from tritorch.amp.autocast_mode import custom_fwd as custom_fwd
from tritorch.amp.autocast_mode import is_autocast_available as is_autocast_available
from tritorch.amp.grad_scaler import GradScaler as GradScaler
