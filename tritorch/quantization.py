"""The old place of `ao.quantization`."""

from __future__ import annotations

from tritorch.ao.quantization import *  # noqa: F403
