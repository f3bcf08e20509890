"""The classes of results with named fields, such as that of `max` along a dimension."""

from __future__ import annotations

from tritorch.ops.named_results import KINDS


def __getattr__(name):
    if name not in KINDS:
        raise AttributeError(f"module 'tritorch.return_types' has no attribute {name!r}")
    return KINDS[name]


def __dir__():
    return sorted(KINDS)
