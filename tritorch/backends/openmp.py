"""OpenMP, which tritorch does not use."""

from __future__ import annotations


def is_available():
    """Whether OpenMP is used: never."""
    return False
