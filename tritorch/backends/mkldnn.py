"""oneDNN, which tritorch does not use."""

from __future__ import annotations

enabled = True
deterministic = False
allow_tf32 = True


def is_available():
    """Whether oneDNN is used: never."""
    return False
