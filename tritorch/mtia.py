"""Meta's accelerators, which tritorch does not use: asking is possible, working is refused."""

from __future__ import annotations

from tritorch.absent import absent

globals().update(absent("mtia"))
