"""What is normalised together: how a tensor falls into sets that share a mean, and channels that share a weight."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from tritorch.ops.base import maker
from tritorch.ops.layout import format_order


@maker
class Layout(NamedTuple):
    """How a tensor is normalised.

    shape     of the input, the channels split into (groups, channels of a group) where there are groups
    axes      of `shape` over which a mean and a variance are taken
    channels  the shape of weight and bias that broadcasts to `shape`
    summed    the axes over which the gradients of weight and bias are summed
    """

    shape: tuple
    axes: tuple
    channels: tuple
    summed: tuple

    @property
    def statistics(self):
        """The shape of a mean or variance that broadcasts to `shape`."""
        return tuple([1 if axis in self.axes else size for axis, size in enumerate(self.shape)])

    @property
    def rows(self):
        """How many means there are."""
        return math.prod(self.statistics)

    @property
    def count(self):
        """How many elements a mean is taken of."""
        return math.prod([self.shape[axis] for axis in self.axes])

    @property
    def groups(self):
        """How many sets of channels there are that share a mean, and how many channels each has."""
        first = len(self.shape) - len(self.channels)
        apart = [size for axis, size in enumerate(self.channels, first) if axis not in self.axes]
        together = [size for axis, size in enumerate(self.channels, first) if axis in self.axes]
        return math.prod(apart), math.prod(together)


@functools.lru_cache(maxsize=256)
def over_last(shape, dims):
    """The last `dims` dimensions are normalised together, and each place in them has a weight."""
    first = len(shape) - dims
    leading = tuple(range(first))
    return Layout(shape, tuple(range(first, len(shape))), shape[first:], leading)


@functools.lru_cache(maxsize=256)
def over_groups(shape, groups):
    """The channels (dimension 1) of each of `groups` are normalised together, and each channel has a weight."""
    batch, channels, *rest = shape
    size = channels // groups
    split = (batch, groups, size, *rest)
    places = tuple(range(3, len(split)))
    return Layout(split, (2, *places), (groups, size, *(1 for _ in rest)), (0, *places))


@functools.lru_cache(maxsize=256)
def over_batch(shape):
    """Each channel (dimension 1) is normalised over all others, and has a weight."""
    others = (0, *range(2, len(shape)))
    return Layout(shape, others, (shape[1], *(1 for _ in shape[2:])), others)


def written_order(input, layout):
    """The order in memory of the dimensions of what is normalised: with channels innermost where groups of them are."""
    return format_order(input) if len(layout.shape) > input.ndim else None
