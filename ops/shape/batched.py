"""How views are taken of a batch of examples: it stays the first dimension."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.ops.batching import rule, shift


@rule
def viewed(cls, call):
    """The rule of another shape; a copy where the elements of a batch do not lie so that it is a view."""
    return call.args[0].reshape((call.size, *call.args[1]))


@rule
def permuted(cls, call):
    """The rule of dimensions in another order."""
    return cls.apply(call.args[0], (0, *shift(call.args[1], 0)))


@rule
def turned(cls, call):
    """The rule of the transpose of a matrix."""
    return TABLE["permute"].apply(call.args[0], (0, *range(call.rank(0), 0, -1)))


@rule
def expanded(cls, call):
    """The rule of repeating: new dimensions come behind the batch."""
    return cls.apply(call.padded(0, len(call.args[1])), (call.size, *call.args[1]))


@rule
def indexed(cls, call):
    """The rule of a key of ints and slices, which selects from all of the batch."""
    return cls.apply(call.args[0], (slice(None), *call.args[1]))


@rule
def indexed_backward(cls, call):
    """The rule of its gradient."""
    grad, shape, key = call.args
    return cls.apply(grad, (call.size, *shape), (slice(None), *key))
