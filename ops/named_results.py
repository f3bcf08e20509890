"""The named tuples that functions with several results return: PyTorch's `torch.return_types`, by name and by print."""

from __future__ import annotations

import functools
from collections import namedtuple

KINDS: dict[str, type] = {}  # every class made so far, by its name


@functools.cache
def returns(name, *fields):
    """The class of a result with named fields, such as `returns("max", "values", "indices")`; made once."""
    kind = namedtuple(name, fields, module="torch.return_types")
    kind.__repr__ = _shown  # type: ignore[method-assign]
    KINDS[name] = kind
    return kind


def _shown(result):
    """A line for each field, as PyTorch prints it."""
    parts = ",\n".join(f"{name}={value!r}" for name, value in zip(result._fields, result, strict=True))
    return f"torch.return_types.{type(result).__name__}(\n{parts})"
