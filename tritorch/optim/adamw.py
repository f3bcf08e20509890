"""AdamW, under the name of its file in PyTorch."""

from __future__ import annotations

from tritorch.optim.adam import AdamW as AdamW
