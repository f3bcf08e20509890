"""Nested values, as modules take and give them: the tensors in lists, tuples, dicts and dataclasses.

Other than in a pytree, classes derived from these are entered too, and made again as what they were.
"""

from __future__ import annotations

from tritorch.tensor import Tensor


def tensors_in(value):
    """The tensors of a nested value, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from tensors_in(each)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors_in(vars(value))


def with_tensors(value, function):
    """The same nested value of lists, tuples and dicts, with `function` of each tensor in its place."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return type(value)((key, with_tensors(each, function)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        parts = [with_tensors(each, function) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
