"""Pinning by PyTorch's private name."""

from __future__ import annotations

from tritorch.utils.data.placement import pin as pin_memory  # noqa: F401
