"""PyTorch's room of model optimisation, of which quantisation is refused here."""

from __future__ import annotations

from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
