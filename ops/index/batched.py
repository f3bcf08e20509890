"""How a batch of examples is indexed: the batch is one more dimension, which each example picks its own place of."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE
from tritorch.ops.batching import moved, rule


def _are_together(dims):
    return dims[-1] - dims[0] == len(dims) - 1


def _indices(call, first):
    """The index tensors from position `first` on, broadcasting behind the batch, and how many dimensions they have."""
    places = range(first, len(call.args))
    rank = max(call.rank(at) for at in places)
    return [call.padded(at, rank) if call.batched[at] else call.args[at] for at in places], rank


def _own_places(call, indices, rank):
    """The number of each example, to pick its own place of the batch; and the index tensors."""
    numbers = TABLE["arange"].apply(0, 1, call.size, np.dtype(np.int64), indices[0].device)
    return (numbers.reshape((-1, *(1,) * rank)), *indices)


@rule
def picked(cls, call):
    """The rule of input[..., indices, ...]."""
    input, dims = call.args[:2]
    indices, rank = _indices(call, 2)
    first, behind = dims[0] if _are_together(dims) else 0, tuple([dim + 1 for dim in dims])
    if not any(call.batched[2:]):
        found = cls.apply(input, behind, *indices)
        return found if _are_together(dims) else moved(found, rank, 0)
    if not call.batched[0]:
        return moved(cls.apply(input, dims, *indices), first, 0)
    found = cls.apply(input, (0, *behind), *_own_places(call, indices, rank))
    return _block_to(found, rank, first)


def _block_to(found, rank, first):
    """The `rank` dimensions after the batch, those of the index tensors, `first` dimensions further on."""
    ndim = found.array.ndim
    rest = tuple(range(1 + rank, ndim))
    return found.permute((0, *rest[:first], *range(1, 1 + rank), *rest[first:])) if first and rank else found


@rule
def put(cls, call):
    """The rule of input[..., indices, ...] = values, or +=."""
    accumulate, dims = call.args[2:4]
    indices, rank = _indices(call, 4)
    first, behind = dims[0] if _are_together(dims) else 0, tuple([dim + 1 for dim in dims])
    input, whole = call.front(0), call.rank(0) - len(dims) + rank
    values = call.padded(1, whole)
    if not any(call.batched[4:]):
        if not _are_together(dims):  # the batch comes behind the dimensions of the index tensors
            values = moved(values, 0, rank) if call.batched[1] else values.unsqueeze(rank)
        return cls.apply(input, values, accumulate, behind, *indices)
    if first and rank:
        values = values if call.batched[1] else values.unsqueeze(0)
        block = range(1 + first, 1 + first + rank)
        values = values.permute((0, *block, *range(1, 1 + first), *range(1 + first + rank, 1 + whole)))
    return cls.apply(input, values, accumulate, (0, *behind), *_own_places(call, indices, rank))
