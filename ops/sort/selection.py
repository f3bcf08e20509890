"""One element by its place in the order: kthvalue, and the median of all elements."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op, write_out
from tritorch.ops.formula import formula, where
from tritorch.ops.guard import guarded
from tritorch.ops.layout import as_contiguous
from tritorch.ops.named_results import returns
from tritorch.ops.pointwise.kernel import launch_pointwise
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.reduction.extremes import Extreme, Selection
from tritorch.ops.reduction.family import dim_of
from tritorch.ops.reduction.kernel import reduced_shape
from tritorch.ops.sort.host import narrowed, order_along, packed
from tritorch.ops.sort.kernel import sort_along
from tritorch.runtime import dtypes


def without_bools(op, input):
    """Refuse bools, of which PyTorch has no order statistics."""
    if input.array.dtype == np.bool_:
        raise NotImplementedError(f"\"{op}_cpu\" not implemented for '{KIND_NAMES[input.dtype.name]}'")


class Kthvalue(Selection):
    """The `k`th smallest element along `dim`, counted from one, and its index; NaN is the largest."""

    exports = ("kthvalue", "Tensor.kthvalue")
    result = returns("kthvalue", "values", "indices")
    widens = True

    @staticmethod
    def reference(input, dim, keepdim, k):
        order = np.take(order_along(input, dim, False), [k - 1], dim)
        shape = reduced_shape(input.shape, dim, keepdim)
        return np.take_along_axis(input, order, dim).reshape(shape), order.reshape(shape)

    @classmethod
    def fast(cls, input, dim, keepdim, k):
        keys = narrowed(input)
        if keys.itemsize == 8:
            return cls.reference(input, dim, keepdim, k)
        order = np.take(np.partition(packed(keys, dim, False), k - 1, dim), [k - 1], dim) & 0xFFFFFFFF
        shape = reduced_shape(input.shape, dim, keepdim)
        return np.take_along_axis(input, order, dim).reshape(shape), order.reshape(shape)

    @classmethod
    def call(cls, input, k, dim=-1, keepdim=False, *, out=None):
        dim = dim_of(cls.op_name, input, dim)
        without_bools(cls.op_name, input)
        shape = input.array.shape or (1,)
        if input.array.size == 0 and shape[dim] == 0:
            raise IndexError(f"kthvalue(): Expected reduction dim {dim} to have non-zero size.")
        if not 1 <= k <= shape[dim]:
            raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
        if out is not None and out[0].counter() is input.counter():
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
                "memory location. Please clone() the tensor before performing the operation."
            )
        rows = input if input.array.ndim else input.reshape(1)
        found = cls.apply(rows, dim, bool(keepdim) and rows is input, k)
        found = cls.result(*(found if rows is input else [each.reshape(()) for each in found]))
        return found if out is None else write_out(out, found)

    @classmethod
    def function(cls):
        """The public function, which writes to `out` itself: it must not be the input."""
        function = guarded(cls.call, cls.op_name)
        function.__doc__ = cls.__doc__
        return function

    def forward(self, input, dim, keepdim, k):
        """The smallest k in order, of which the last is taken."""
        last = (*(slice(None),) * dim, slice(k - 1, k))
        shape = reduced_shape(input.shape, dim, keepdim)
        return tuple(as_contiguous(each[last]).reshape(shape) for each in sort_along(input, dim, k))

    @staticmethod
    def samples(draw):
        yield draw.apart(5, 7), 1, False, 3
        yield draw.apart(4, 3, 5), 1, True, 2
        yield draw.apart(6, 4).T, 0, False, 4
        yield draw.integers(0, 9, 2, 127), 1, False, 90
        yield np.array([2, np.nan, 0, np.inf, -1]).astype(draw.dtype), 0, False, 5

    @staticmethod
    def sized(draw, M=1024, N=4096, k=8):
        return draw(M, N), 1, False, k

    @staticmethod
    def errors(draw):
        yield (draw(3, 4), 5), {}, RuntimeError, "selected number k out of range for dimension 1"
        yield (draw.booleans(3), 1), {}, NotImplementedError, "\"kthvalue_cpu\" not implemented for 'Bool'"


@formula
def _unless_nan(middle, last):
    return where(last != last, last, middle)


class MedianOfAll(Extreme):
    """The lower median of all elements, NaN where one is; equal ones share its gradient evenly."""

    batch = Op.batch  # the batch is no part of what is ordered
    widens = True

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        ordered = np.sort(input, None)
        return ordered[-1] if ordered[-1] != ordered[-1] else ordered[(input.size - 1) // 2]

    @classmethod
    def fast(cls, input, dim=None, keepdim=False):
        middle = np.partition(input, (input.size - 1) // 2, None)[(input.size - 1) // 2]
        highest = np.max(input)
        return np.asarray(highest if highest != highest else middle)

    def forward(self, input, dim=None, keepdim=False):
        """A sort, and a launch that looks for NaN, which comes last."""
        flat = as_contiguous(input).reshape(-1)
        ordered, _ = sort_along(flat, 0, flat.size)
        middle = (flat.size - 1) // 2
        ends = [ordered[at : at + 1].reshape(()) for at in (middle, flat.size - 1)]
        return launch_pointwise("median", _unless_nan, ends, dtypes.COMPUTE[input.dtype], input.dtype)

    @staticmethod
    def samples(draw):
        yield (draw.apart(5, 7), None, False)
        yield (draw.apart(6, 4).T, None, False)
        yield (draw.integers(0, 99, 127), None, False)
        yield (np.array([2, np.nan, 0, np.inf, -1]).astype(draw.dtype), None, False)
        yield (draw(), None, False)

    @staticmethod
    def sized(draw, N=1 << 20):
        return draw(N), None, False
