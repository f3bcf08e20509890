"""Helpers around training: data loading in `tritorch.utils.data`."""

from __future__ import annotations

from tritorch.namespaces import rooms_of

__getattr__ = rooms_of(__name__)
