"""Apple's GPUs, which tritorch does not use."""

from __future__ import annotations


def is_available():
    """Whether an Apple GPU can be used: never."""
    return False


def is_built():
    """Whether this build could use one: no."""
    return False
