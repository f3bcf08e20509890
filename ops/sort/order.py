"""Elements in order along a dimension, and where each comes from: sort, topk."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.index.gathering import Scatter
from tritorch.ops.reduction.family import dims_of
from tritorch.ops.sort.kernel import sort_along


def order_along(input, dim, descending):
    """The stable order of an array along `dim`, NaN as the largest: the index of the first element, the second, ..."""
    if not descending:
        return np.argsort(input, dim, kind="stable")
    last = input.shape[dim] - 1
    return np.flip(last - np.argsort(np.flip(input, dim), dim, kind="stable"), dim)


def packed(input, dim, descending):
    """int64s no two of which are equal, of an array's stable order along `dim`, with the index in the lower half.

    As in the kernels: for elements of 32 bits at most. NumPy sorts and partitions them several times faster than it
    finds an order.
    """
    if input.dtype.kind == "f":
        bits = input.astype(np.float32, copy=False).view(np.int32)
        keys = np.where(input == 0, 0, bits ^ (bits >> 31 & 0x7FFFFFFF))
        keys = np.where(input != input, 0x7FFFFFFF, keys)
    else:
        keys = input.astype(np.int32)
    if descending:
        keys = ~keys
    number = np.arange(input.shape[dim]).reshape((-1,) + (1,) * (input.ndim - 1 - dim))
    return keys.astype(np.int64) << 32 | number


def first_along(input, dim, keep, descending):
    """The first `keep` of an array's elements in order along `dim`, and the index of each."""
    if input.itemsize == 8:
        order = order_along(input, dim, descending)[_first(dim, keep)]
    else:
        keys = packed(input, dim, descending)
        if 0 < keep < input.shape[dim] // 2:
            keys = np.partition(keys, keep - 1, dim)[_first(dim, keep)]
        order = np.sort(keys, dim)[_first(dim, keep)] & 0xFFFFFFFF
    return np.take_along_axis(input, order, dim), order


def _first(dim, keep):
    return (*(slice(None),) * dim, slice(keep))


class Ordering(Op, abstract=True):
    """Elements in order along `dim`, which is there, and their indices; the gradient goes back to the indices."""

    saves = ("output",)
    widens = True

    def backward(self, grad, _=None):
        """The gradient of each element, where it comes from."""
        shape, dim = self.edges[0][2], self.inputs[1]
        return (Scatter.apply(grad.new_zeros(shape), dim, False, self.outputs[1], grad),)


class Sort(Ordering):
    """The elements in order along `dim`, and the index of each; equal ones keep their order, NaN is the largest."""

    exports = ("sort", "Tensor.sort")
    result = namedtuple("sort", ("values", "indices"), module="torch.return_types")

    @staticmethod
    def reference(input, dim, descending):
        order = order_along(input, dim, descending)
        return np.take_along_axis(input, order, dim), order

    @staticmethod
    def fast(input, dim, descending):
        return first_along(input, dim, input.shape[dim], descending)

    @classmethod
    def call(cls, input, dim=-1, descending=False, stable=False):
        dim = ordered_dim(cls.op_name, input, dim)
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
    def differentiable_at(input, dim, descending):
        return 0 not in input.strides


class Topk(Ordering):
    """The `k` largest, or smallest, elements along `dim` in order, and the index of each; the first of equal ones."""

    exports = ("topk", "Tensor.topk")
    result = namedtuple("topk", ("values", "indices"), module="torch.return_types")

    @staticmethod
    def reference(input, dim, k, largest):
        order = order_along(input, dim, largest)[_first(dim, k)]
        return np.take_along_axis(input, order, dim), order

    @staticmethod
    def fast(input, dim, k, largest):
        return first_along(input, dim, k, largest)

    @classmethod
    def call(cls, input, k, dim=-1, largest=True, sorted=True):
        dim = ordered_dim(cls.op_name, input, dim)
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
        yield np.array([2, np.nan, -np.inf, 0, np.inf, -0.0, np.nan, -1]).astype(draw.dtype), 0, 4, True
        yield draw(3, 4), 1, 0, True

    @staticmethod
    def errors(draw):
        yield (draw(3, 4), 5), {}, RuntimeError, "selected index k out of range"


def ordered_dim(op, input, dim):
    """`dim` counted from the front, of a tensor that has an order."""
    dims_of(op, input, None)  # a tensor at all
    return wrap_dim(dim, input.array.ndim)


def with_a_dimension(function, input):
    """What `function` gives for a tensor, one without dimensions as a row of one element."""
    if input.array.ndim:
        return function(input)
    return tuple(each.reshape(()) for each in function(input.reshape(1)))
