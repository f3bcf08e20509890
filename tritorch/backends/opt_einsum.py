"""The package opt_einsum, which tritorch does not use: einsum orders its products by itself."""

from __future__ import annotations

enabled = False
strategy = None


def is_available():
    """Whether opt_einsum is used: never."""
    return False
