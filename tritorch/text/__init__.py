"""Text: tokenising, vocabularies, padding, and datasets, under torchtext's names."""

from __future__ import annotations

from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
