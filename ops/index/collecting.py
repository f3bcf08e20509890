"""Values added up on zeros at the positions of index tensors: the gradient of picking elements."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import Op, device_of
from tritorch.ops.creation import Full
from tritorch.ops.index.gathering import Gather, Scatter, check_range, key_along
from tritorch.ops.index.indexing import (
    Index,
    IndexPut,
    Pick,
    add_picked,
    as_rows,
    numpy_key,
    pick_along,
    places_of,
)
from tritorch.ops.index.segments import accumulate
from tritorch.ops.layout import broadcast_shape, broadcast_strides, empty_like
from tritorch.runtime.strides import contiguous_strides

_ROW = 32  # elements, from which on rows that nothing is added to become zero in the launch that adds


class Collect(Op):
    """Zeros of `shape`, to which `values` are added at the positions of index tensors; repeated ones add up.

    dims  the dimensions that are indexed; or a number, the dimension along which `gather` picks
    """

    saves = ("indices",)
    widens = True

    @staticmethod
    def reference(values, shape, dims, *indices):
        out = np.zeros(shape, values.dtype)
        along = isinstance(dims, int)
        key = key_along(shape, dims, indices[0]) if along else numpy_key(len(shape), dims, indices)
        np.add.at(out, key, values)
        return out

    @classmethod
    def host(cls, values, shape, dims, *indices):
        """As putting on zeros."""
        zeros = np.zeros(shape, values.dtype)
        if isinstance(dims, int):
            return Scatter.host(zeros, dims, True, *indices, values)
        return IndexPut.host(zeros, values, True, dims, *indices)

    def forward(self, values, shape, dims, *indices):
        """The sorted sums: on zeros, or where rows are picked whole, on memory that holds anything."""
        if isinstance(dims, int):
            check_range(shape, dims, indices[0])
        elif dims == tuple(range(len(dims))) and math.prod(shape[len(dims) :]) >= _ROW and values.size:
            return _rows_collected(values, shape, indices)
        out = Full().forward(shape, 0, values.dtype, device_of(values))
        if isinstance(dims, int):
            rows = as_rows(values, tuple(indices[0].shape), tuple(range(values.ndim)), out)
            accumulate(out, rows, *places_of(pick_along(out, dims, indices[0]), out, out.size))
        else:
            add_picked(out, values, dims, indices)
        return out

    def backward(self, grad):
        """What the new gradient holds at the positions."""
        dims, indices = self.inputs[2], self.inputs[3:]
        return (Gather.apply(grad, dims, *indices) if isinstance(dims, int) else Index.apply(grad, dims, *indices),)

    @staticmethod
    def samples(draw):
        yield draw(4, 3), (5, 3), (0,), draw.integers(-5, 5, 4)
        yield draw(2, 4, 40), (5, 40), (0,), draw.integers(-5, 5, 2, 4)
        yield draw(6, 7, 9), (4, 3, 7, 9), (0, 1), draw.integers(0, 4, 6), draw.integers(-3, 3, 6)
        yield draw(5, 2, 4), (5, 3), (1,), draw.integers(0, 3, 2, 4)
        yield draw(3, 7).T, (5, 3), 0, draw.integers(0, 5, 7, 3)
        yield draw(4, 2), (5, 3), 1, draw.integers(0, 3, 4, 2)
        yield draw(0, 40), (5, 40), (0,), draw.integers(0, 5, 0)

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        return draw(K, N), (M, N), (0,), draw.integers(0, M, K)


def _rows_collected(values, shape, indices):
    """Sums of whole rows of the result, which its first dimensions count."""
    sizes, rest = shape[: len(indices)], shape[len(indices) :]
    width, count = math.prod(rest), math.prod(sizes)
    out = empty_like(values, shape)
    touched = Full().forward((count,), 0, np.dtype(np.uint8), device_of(values))
    common = broadcast_shape("index", *[each.shape for each in indices])
    spread = [broadcast_strides(each, common) for each in indices]
    found = Pick(common, (0,) * len(common), indices, spread, sizes, contiguous_strides(sizes, 1))
    places, bound, _ = places_of(found, out, count, touched=touched)
    rows = as_rows(values, (*common, *rest), tuple(range(len(common) + len(rest))), out)
    accumulate(out, rows, places, bound, width, touched=touched)
    return out
