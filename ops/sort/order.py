"""Elements in order along a dimension, and where each comes from: sort, topk."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.index.gathering import Scatter
from tritorch.ops.named_results import returns
from tritorch.ops.reduction.family import dim_of
from tritorch.ops.sort.host import first, first_along, order_along
from tritorch.ops.sort.kernel import sort_along


class Ordering(Op, abstract=True):
    """Elements in order along `dim`, which is there, and their indices; the gradient goes back to the indices."""

    batch = shifted("dim")
    saves = ("output",)
    saved_results = (1,)  # the values may be written over
    widens = True

    def backward(self, grad, _=None):
        """The gradient of each element, where it comes from."""
        shape, dim = self.edges[0][2], self.inputs[1]
        return (Scatter.apply(grad.new_zeros(shape), dim, False, self.outputs[0], grad),)


class Sort(Ordering):
    """The elements in order along `dim`, and the index of each; equal ones keep their order, NaN is the largest."""

    exports = ("sort", "Tensor.sort")
    result = returns("sort", "values", "indices")

    @staticmethod
    def reference(input, dim, descending):
        order = order_along(input, dim, descending)
        return np.take_along_axis(input, order, dim), order

    @staticmethod
    def fast(input, dim, descending):
        return first_along(input, dim, input.shape[dim], descending)

    @classmethod
    def call(cls, input, dim=-1, descending=False, stable=False):
        dim = dim_of(cls.op_name, input, dim)
        return cls.result(*with_a_dimension(lambda rows: cls.apply(rows, dim, bool(descending)), input))

    def forward(self, input, dim, descending):
        """One launch for rows that fit a block; else also one for each merging, and one that writes the results."""
        return sort_along(input, dim, input.shape[dim], descending)

    @staticmethod
    def samples(draw):
        for descending in (False, True):
            yield draw.apart(5, 7), 1, descending
            yield draw.apart(4, 3, 5), 1, descending
            yield draw.integers(0, 9, 3, 127), 1, descending
        yield draw.apart(6, 4).T, 0, False
        yield draw.apart(9, 2)[::-2], 1, True
        yield np.broadcast_to(draw(3, 1), (3, 4)), 1, False
        yield draw.integers(-5, 5, 1030, dtype=np.int32), 0, False
        yield draw.integers(0, 9, 20, 3, dtype=np.uint8), 0, True
        yield draw.booleans(5, 7), 1, False
        yield np.array([2, np.nan, -np.inf, 0, np.inf, -0.0, np.nan, -1]).astype(draw.dtype), 0, True
        yield draw(1), 0, False
        yield draw(3, 0), 1, False

    @staticmethod
    def sized(draw, M=1024, N=4096):
        return draw(M, N), 1, False

    @staticmethod
    def differentiable_at(input, dim, descending):
        return 0 not in input.strides


class Topk(Ordering):
    """The `k` largest, or smallest, elements along `dim` in order, and the index of each; the first of equal ones."""

    exports = ("topk", "Tensor.topk")
    result = returns("topk", "values", "indices")

    @staticmethod
    def reference(input, dim, k, largest):
        order = order_along(input, dim, largest)[first(dim, k)]
        return np.take_along_axis(input, order, dim), order

    @staticmethod
    def fast(input, dim, k, largest):
        return first_along(input, dim, k, largest)

    @classmethod
    def call(cls, input, k, dim=-1, largest=True, sorted=True):
        dim = dim_of(cls.op_name, input, dim)
        k = int(k)
        if not 0 <= k <= (input.array.shape[dim] if input.array.ndim else 1):
            raise RuntimeError("selected index k out of range")
        if input.array.dtype == np.bool_:
            raise RuntimeError("topk does not support bool dtypes on CPU")
        if not input.array.ndim:
            k = 1  # PyTorch gives the one there is, whatever k
        return cls.result(*with_a_dimension(lambda rows: cls.apply(rows, dim, k, bool(largest)), input))

    def forward(self, input, dim, k, largest):
        """As a sort of which only the first are written."""
        return sort_along(input, dim, k, largest)

    @staticmethod
    def samples(draw):
        yield draw.apart(5, 7), 1, 3, True
        yield draw.apart(4, 3, 5), 1, 2, False
        yield draw.apart(6, 4).T, 0, 4, True
        yield draw.integers(0, 999, 2, 1030), 1, 5, True
        yield draw.integers(0, 99, 1030, dtype=np.int32), 0, 5, False
        yield draw.apart(3, 127, gap=0.25), 1, 100, True
        yield draw.integers(-(2**40), 2**40, 4200), 0, 3, False
        yield np.array([2, np.nan, -np.inf, 0, np.inf, -0.0, np.nan, -1]).astype(draw.dtype), 0, 4, True
        yield draw(3, 4), 1, 0, True

    @staticmethod
    def sized(draw, M=1024, N=4096, k=8):
        return draw(M, N), 1, k, True

    @staticmethod
    def errors(draw):
        yield (draw(3, 4), 5), {}, RuntimeError, "selected index k out of range"
        yield (draw.booleans(3), 1), {}, RuntimeError, "topk does not support bool dtypes on CPU"


def with_a_dimension(function, input):
    """What `function` gives for a tensor, one without dimensions as a row of one element."""
    if input.array.ndim:
        return function(input)
    return tuple(each.reshape(()) for each in function(input.reshape(1)))
