"""The names PyTorch has for how the elements of a tensor lie in memory, and its rules for which one a result has.

A format is nothing that a tensor keeps: it is read off its strides, which here count elements. Dimensions of one
element may have any stride, so that some strides are those of two formats; what PyTorch then decides is decided here.
Dense tensors are of the layout `strided`, sparse ones of `sparse_coo`; of the others there are none.
"""

from __future__ import annotations

import functools
import math


class _Named:
    """Something that is only its name, of which there is one each."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return self.name


class memory_format(_Named):
    """One of PyTorch's memory formats."""

    __slots__ = ()


# By rank: the dimensions of channels_last and channels_last_3d, outermost first.
CHANNELS_INNERMOST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}

contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")


class layout(_Named):
    """One of PyTorch's layouts."""

    __slots__ = ()


strided = layout("strided")
sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc = (
    layout(f"sparse_{each}") for each in ("coo", "csr", "csc", "bsr", "bsc")
)


def rank_of(format):
    """How many dimensions a tensor must have to lie in a format with channels innermost."""
    return 4 if format is channels_last else 5


def check_rank(format, rank):
    """Refuse a format that tensors of `rank` dimensions cannot have, in PyTorch's words."""
    if format in (channels_last, channels_last_3d) and rank != rank_of(format):
        raise RuntimeError(f"required rank {rank_of(format)} tensor to use {format.name} format")


def check_format(op, format):
    """Refuse what is no memory format."""
    if not isinstance(format, memory_format):
        raise TypeError(f"{op}(): argument 'memory_format' must be torch.memory_format, not {type(format).__name__}")


@functools.lru_cache(maxsize=4096)
def strides_by(order, shape):
    """The strides without gaps with which dimensions lie, outermost first, in the order `order` (None: as indexed)."""
    found, step = [0] * len(shape), 1
    for dim in reversed(range(len(shape)) if order is None else order):
        found[dim] = step
        step *= max(shape[dim], 1)
    return tuple(found)


def order_of(format):
    """The dimensions of a format from the outermost in memory to the innermost; None for the order of indices."""
    return None if format is contiguous_format else CHANNELS_INNERMOST[rank_of(format)]


def strides_in(format, shape):
    """The strides of a tensor of `shape` that was made in a format."""
    found = strides_by(order_of(format), shape)
    if format is contiguous_format or 0 not in shape:
        return found
    # Dimensions of no elements count as one only where the order is that of the indices: so PyTorch has it.
    order = order_of(format)
    return tuple([math.prod([shape[inner] for inner in order[order.index(dim) + 1 :]]) for dim in range(len(shape))])


def lies_in(format, shape, strides):
    """Whether elements lie in a format without gaps, whatever the strides of dimensions of one element."""
    if format in (channels_last, channels_last_3d) and len(shape) != rank_of(format):
        return False
    dense = strides_by(order_of(format), shape)
    return 0 in shape or all(
        size == 1 or step == wanted for size, step, wanted in zip(shape, strides, dense, strict=True)
    )


@functools.lru_cache(maxsize=4096)
def suggested(shape, strides):
    """The format that a tensor's strides suggest for what is computed of it, as PyTorch reads it off them.

    Channels lie innermost where, from the inside out, each step is at least as long as what lies inside of it; gaps do
    not matter. Ambiguous strides, such as those of (N, 1, 1, 1), are taken as contiguous.
    """
    order = CHANNELS_INNERMOST.get(len(shape))
    if order is None or strides[1] == 0:
        return contiguous_format
    least = 0
    for dim in reversed(order):
        if shape[dim] == 0 or strides[dim] < least or (dim == 0 and least == strides[1]):
            return contiguous_format
        least = strides[dim] * shape[dim]
    return channels_last if len(shape) == 4 else channels_last_3d


@functools.lru_cache(maxsize=4096)
def is_dense(shape, strides):
    """Whether the elements fill a stretch of memory once each, in some order of the dimensions."""
    if 0 in shape:
        return True
    step = 1
    for own, size in sorted((own, size) for own, size in zip(strides, shape, strict=True) if size != 1):
        if own != step:
            return False
        step *= size
    return True


@functools.lru_cache(maxsize=4096)
def iteration_order(shape, *operands):
    """The dimensions, outermost first, in which PyTorch walks over operands of `shape` that have these strides.

    A new result lies in this order. A stride of zero says nothing; the first operand that says something decides.
    """
    order = list(range(len(shape) - 1, -1, -1))  # innermost first, sorted by insertion
    for start in range(1, len(shape)):
        place = start
        for before in range(start - 1, -1, -1):
            found = _compare(shape, operands, order[before], order[place])
            if found > 0:
                order[before], order[place] = order[place], order[before]
                place = before
            elif found < 0:
                break
    return tuple(reversed(order))


def _compare(shape, operands, first, second):
    """1 where dimension `first` belongs outside of `second`, -1 where inside, 0 where no operand tells."""
    for strides in operands:
        own, other = strides[first], strides[second]
        if own == 0 or other == 0:
            continue
        if own != other:
            return 1 if own > other else -1
        if shape[first] > shape[second]:
            return 1
    return 0


@functools.lru_cache(maxsize=4096)
def preserved(shape, strides):
    """The strides that a tensor made like one with these has: the same where they are dense, else in their order."""
    return strides if is_dense(shape, strides) else strides_by(iteration_order(shape, strides), shape)
