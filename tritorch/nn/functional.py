"""Layers as functions, without parameters of their own: all that ops and compositions export here."""

from __future__ import annotations

from tritorch.namespaces import exported

globals().update(exported("nn.functional"))
