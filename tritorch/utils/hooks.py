"""The handle that registering a hook gives, under PyTorch's name for it."""

from __future__ import annotations

from tritorch.autograd.hooks import RemovableHandle as RemovableHandle
