"""How elements along one dimension are made of others: a table of weights, and makers of such tables.

PyTorch computes positions in float32, or in float64 for float64, and so do these, so that the same elements are read.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.ops.base import MAKERS, maker
from tritorch.ops.resample.weights import cubic_weight
from tritorch.runtime import transfer
from tritorch.runtime.cuda.stream import current_stream

_CUBIC, _CUBIC_ANTIALIASED = -0.75, -0.5  # the slopes of the cubic kernel at one; PyTorch has both


class Map:
    """A linear map along one dimension: element `i` of the result is the sum over t of weights[i, t] x[index[i, t]].

    index    (places, taps), negative where a place has fewer
    weights  likewise, in float64
    size     of what is read
    made_by  the name of its maker, and what that was given
    """

    made_by: tuple | None = None

    def __init__(self, index, weights, size):
        self.index, self.weights, self.size = index, weights, size
        self._tables = {}  # by device, dtype and stream

    @functools.cached_property
    def transposed(self):
        """The map of gradients: for each element read, the places that read it, in ascending order."""
        place, tap = np.nonzero(self.index >= 0)
        read = self.index[place, tap]
        order = np.argsort(read, kind="stable")
        place, tap, read = place[order], tap[order], read[order]
        counts = np.bincount(read, minlength=self.size)
        rank = np.arange(len(read)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = np.full((self.size, max(int(counts.max(initial=1)), 1)), -1)
        weights = np.zeros(index.shape)
        index[read, rank], weights[read, rank] = place, self.weights[place, tap]
        found = Map(index, weights, len(self.index))
        if self.made_by is not None:
            found.made_by = (transposed.__name__, self.made_by)
        return found

    @functools.cached_property
    def dense(self):
        """The map as a matrix: (size, places)."""
        matrix = np.zeros((self.size, len(self.index)))
        place, tap = np.nonzero(self.index >= 0)
        np.add.at(matrix, (self.index[place, tap], place), self.weights[place, tap])
        return matrix

    @functools.cached_property
    def is_identity(self):
        """Whether every element is read where it is."""
        return self.only_reads and np.array_equal(self.index[:, 0], np.arange(self.size))

    @functools.cached_property
    def only_reads(self):
        """Whether every place is one element, unchanged."""
        return bool(self.index.shape[1] == 1 and (self.weights == 1).all())

    def table(self, dtype):
        """Indices and weights side by side, in a floating dtype that holds both: (places, taps, 2)."""
        return np.ascontiguousarray(np.stack([self.index, self.weights], -1), dtype)

    def table_on(self, device, dtype):
        """The same on a device, where it stays as long as the map does; each stream has its own, in its order."""
        key = device, dtype, current_stream(device.index) if device.is_cuda else None
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = transfer.from_host(self.table(dtype), device)
        return found


IDENTITY = Map(np.zeros((1, 1), np.int64), np.ones((1, 1)), 1)  # of a dimension that is not there


def _kept(make):
    """A maker of maps that keeps the last ones; they say where they come from. A dtype stands for its class."""

    @functools.lru_cache(maxsize=256)
    @functools.wraps(make)
    def made(*arguments):
        found = make(*[each.type if isinstance(each, np.dtype) else each for each in arguments])
        found.made_by = (make.__name__, arguments)
        return found

    return maker(made)


@maker
def transposed(name, arguments):
    """The transposed map of one that another maker makes."""
    return MAKERS[name](*arguments).transposed


def _scale(size, places, factor, corners, kind):
    """How far apart neighbours of the result lie in the input."""
    if corners:
        return kind(size - 1) / kind(places - 1) if places > 1 else kind(0)
    return kind(1 / factor) if factor is not None and factor > 0 else kind(size) / kind(places)


def _positions(size, places, factor, corners, kind):
    """Where in the input elements of the result lie."""
    scale, number = _scale(size, places, factor, corners, kind), np.arange(places).astype(kind)
    return scale * number if corners else scale * (number + kind(0.5)) - kind(0.5)


@_kept
def nearest(size, places, factor, exact):
    """The element at or before each position or, exactly, the one at its centre."""
    scale, number = _scale(size, places, factor, False, np.float32), np.arange(places).astype(np.float32)
    index = np.floor((number + np.float32(0.5) if exact else number) * scale).astype(np.int64)
    index = np.minimum(index, size - 1)[:, None]
    return Map(index, np.ones(index.shape), size)


@_kept
def linear(size, places, factor, corners, kind):
    """The two neighbours of each position, weighted by how near they are."""
    at = np.maximum(_positions(size, places, factor, corners, kind), 0)
    first = np.minimum(np.floor(at).astype(np.int64), size - 1)
    part = np.clip(at - first.astype(kind), 0, 1)
    index = np.stack([first, np.minimum(first + 1, size - 1)], -1)
    return Map(index, np.stack([1 - part, part], -1).astype(np.float64), size)


@_kept
def cubic(size, places, factor, corners, kind):
    """The four neighbours of each position, by the cubic convolution of Keys, 1981; edges are repeated."""
    at = _positions(size, places, factor, corners, kind)
    first = np.floor(at)
    around = np.arange(-1, 3)
    index = np.clip(first.astype(np.int64)[:, None] + around, 0, size - 1)
    distance = (at - first)[:, None] - around.astype(kind)
    return Map(index, cubic_weight(distance, _CUBIC).astype(np.float64), size)


def _triangle(distance):
    return np.maximum(1 - np.abs(distance), 0)


def _cubic_antialiased(distance):
    return cubic_weight(distance, _CUBIC_ANTIALIASED)


def _lanczos(distance):
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)


FILTERS = {"bilinear": (_triangle, 1), "bicubic": (_cubic_antialiased, 2), "lanczos": (_lanczos, 3)}  # and their reach


@_kept
def antialiased(size, places, factor, corners, kind, mode):
    """A filter stretched to what an element of the result stands for, so that nothing in between is left out."""
    weigh, reach = FILTERS[mode]
    scale = _scale(size, places, factor, corners, kind)
    stretch = max(scale, kind(1))
    centre, support = scale * (np.arange(places).astype(kind) + kind(0.5)), kind(reach) * stretch
    first = np.maximum((centre - support + kind(0.5)).astype(np.int64), 0)
    end = np.minimum((centre + support + kind(0.5)).astype(np.int64), size)
    index = first[:, None] + np.arange(math.ceil(support) * 2 + 1)
    weights = weigh((index.astype(kind) - centre[:, None] + kind(0.5)) / stretch)
    inside = index < end[:, None]
    weights = np.where(inside, weights, 0)
    total = weights.sum(1, keepdims=True)
    weights = np.where(total != 0, weights / np.where(total == 0, 1, total), weights)
    used = inside.any(0)
    return Map(np.where(inside, index, -1)[:, used], weights.astype(np.float64)[:, used], size)


@_kept
def evenly_averaged(size, places):
    """The mean of each of `places` windows that cover the input as evenly as they can."""
    number = np.arange(places)
    first, end = number * size // max(places, 1), -(-(number + 1) * size // max(places, 1))
    index = first[:, None] + np.arange(int((end - first).max(initial=1)))
    inside = index < end[:, None]
    return Map(np.where(inside, index, -1), inside / (end - first)[:, None], size)
