"""Helpers around training: data loading in `tritorch.utils.data`."""

from __future__ import annotations
