"""torch.signal: windows."""

from __future__ import annotations

from tritorch.signal import windows as windows
