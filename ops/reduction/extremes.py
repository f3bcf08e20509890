"""Largest and smallest elements and where they are: amax, amin, max, min, argmax, argmin.

A NaN is larger and smaller than everything, and of equal elements the first is taken, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE, Op, export, write_out
from tritorch.ops.batching import shifted
from tritorch.ops.index.put_along import PutAlong
from tritorch.ops.named_results import returns
from tritorch.ops.reduction.family import Reduction, dims_of, reduction_samples
from tritorch.ops.reduction.kernel import as_dims, reduced_shape
from tritorch.ops.reduction.select_kernel import (
    first_larger,
    first_smaller,
    highest,
    larger,
    launch_select,
    lowest,
    smaller,
)


class Extreme(Reduction, abstract=True):
    """The largest or smallest element along dimensions; equal ones share its gradient evenly."""

    saves = ("input", "output")
    limit = staticmethod(lowest)

    @classmethod
    def call(cls, input, dim=(), keepdim=False):
        dim = dims_of(cls.op_name, input, dim)
        shape = input.array.shape
        if input.array.size == 0:
            for each in as_dims(dim, len(shape)):
                if shape[each] == 0:
                    raise _empty(cls.op_name, each, dim is not None)
        return cls.apply(input, dim, bool(keepdim))

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        self.identity = self.limit(input.dtype)
        return super().forward(input, dim, keepdim)

    @classmethod
    def result_dtype(cls, dtype, given):
        return dtype

    def backward(self, grad):
        """The gradient, in equal parts for the elements that are equal to the result."""
        input, dim, keepdim = self.inputs
        output = self.output
        if not keepdim:
            for each in as_dims(dim, input.array.ndim):
                grad, output = grad.unsqueeze(each), output.unsqueeze(each)
        chosen = input == output
        if dim is None:  # PyTorch's max() shares among NaNs, which amax(dim) does not
            chosen = chosen | (input != input)
        return (chosen * (grad / chosen.sum(dim, True)),)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            if 0 < sample[0].size < 1000:
                yield (_apart(draw, sample[0]), *sample[1:])
        yield draw.integers(0, 300, 1025), None, False
        yield draw.integers(-300, 300, 2, 1030), 1, False
        yield draw.integers(-100, 100, 5, 7), 0, False
        yield draw.integers(0, 200, 5, 7, dtype=np.uint8), None, False


def _apart(draw, like):
    """Numbers laid out as `like`, no two of which are equal along the last dimension."""
    if 0 in like.strides:
        return np.broadcast_to(draw.apart(1, like.shape[1]), like.shape)
    values = draw.apart(*like.shape)
    return values if like.flags.c_contiguous else values.copy(order="F")


def _empty(op, dim, named):
    if named:
        return IndexError(f"{op}(): Expected reduction dim {dim} to have non-zero size.")
    return RuntimeError(
        f"{op}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
        "'dim' argument."
    )


class Amax(Extreme):
    """The largest element along `dim`."""

    exports = ("amax", "Tensor.amax")
    combine = larger

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        return np.max(input, axis=dim, keepdims=keepdim)


class Amin(Extreme):
    """The smallest element along `dim`."""

    exports = ("amin", "Tensor.amin")
    combine = smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        return np.min(input, axis=dim, keepdims=keepdim)


class Selection(Op, abstract=True):
    """The largest or smallest element along one dimension, with its index."""

    batch = shifted("dim")
    saves = ("output",)
    saved_results = (1,)  # the values may be written over
    choose = first_larger
    limit = staticmethod(lowest)

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        shape = reduced_shape(input.shape, dim, keepdim)
        values, places = launch_select(input, dim, self.choose, self.limit(input.dtype))
        return values.reshape(shape), places.reshape(shape)

    def backward(self, grad, _=None):
        """The gradient at the chosen index, zero elsewhere."""
        index = self.outputs[0]
        dim, keepdim = self.inputs[1], self.inputs[2]
        shape = self.edges[0][2]
        if not shape:
            return (grad,)
        if not keepdim:
            grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
        return (PutAlong.apply(grad, index, dim, shape[dim]),)

    @staticmethod
    def samples(draw):
        for dim in (0, 1, 2):
            yield draw.apart(3, 4, 5), dim, dim == 1
        yield draw.apart(6, 4).T, 1, False
        yield draw.apart(2, 120, gap=1), 1, False
        yield draw.integers(0, 50, 2, 1030), 1, False
        yield draw.integers(0, 5, 5, 70, dtype=np.uint8), 1, False
        yield draw(), (), False

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, False


class MaxAlong(Selection):
    """The largest element along `dim` and its index."""

    shown_as = "Max"

    @staticmethod
    def reference(input, dim, keepdim):
        if dim == ():
            return input, np.zeros((), np.int64)
        return np.max(input, axis=dim, keepdims=keepdim), np.argmax(input, axis=dim, keepdims=keepdim)


class MinAlong(Selection):
    """The smallest element along `dim` and its index."""

    shown_as = "Min"
    choose = first_smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim, keepdim):
        if dim == ():
            return input, np.zeros((), np.int64)
        return np.min(input, axis=dim, keepdims=keepdim), np.argmin(input, axis=dim, keepdims=keepdim)


class Arg(Op, abstract=True):
    """The index of the largest or smallest element, among all or along one dimension."""

    choose = first_larger
    limit = staticmethod(lowest)

    @classmethod
    def call(cls, input, dim=None, keepdim=False):
        if isinstance(dim, (tuple, list)):
            raise TypeError(f"{cls.op_name}(): argument 'dim' (position 2) must be int, not {type(dim).__name__}")
        dim = dims_of(cls.op_name, input, dim)
        array = input.array
        if array.dtype == np.bool_:
            raise RuntimeError(f"{cls.op_name}(): does not support bool input")
        if array.size == 0:
            if dim is None:
                raise IndexError(f"{cls.op_name}(): Expected reduction dim to be specified for input.numel() == 0.")
            if array.shape[dim] == 0:
                raise _empty(cls.op_name, dim, True)
        return cls.apply(input, dim, bool(keepdim))

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        _, places = launch_select(input, dim, self.choose, self.limit(input.dtype), want_values=False)
        return places.reshape(reduced_shape(input.shape, dim, keepdim))

    @classmethod
    def batch(cls, call):
        """Among all elements of an example they are one row of the batch."""
        input, dim, keepdim = call.args
        if dim is not None and call.rank(0):
            return cls.apply(input, dim + 1, keepdim)
        found = cls.apply(input.reshape((call.size, -1)), 1, False)
        return found.reshape((call.size, *(1,) * call.rank(0))) if keepdim else found

    @staticmethod
    def samples(draw):
        yield from Selection.samples(draw)
        yield draw.apart(3, 4, 5), None, False
        yield draw.apart(6, 40).T, None, True
        yield draw.integers(0, 300, 1025), None, False

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, False


class Argmax(Arg):
    """The index of the largest element."""

    exports = ("argmax", "Tensor.argmax")

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        if dim == ():
            return np.zeros((), np.int64)
        return np.asarray(np.argmax(input, axis=dim, keepdims=keepdim))


class Argmin(Arg):
    """The index of the smallest element."""

    exports = ("argmin", "Tensor.argmin")
    choose = first_smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        if dim == ():
            return np.zeros((), np.int64)
        return np.asarray(np.argmin(input, axis=dim, keepdims=keepdim))


def _extreme(op, along, over_all, pairwise, kind):
    """`max` or `min`: of all elements, along a dimension with indices, or of two tensors element by element."""
    result = returns(op, "values", "indices")

    def whole(input):
        dims_of(op, input, None)
        if input.array.size == 0:
            raise _empty(op, 0, False)
        return over_all.apply(input, None, False)

    def function(input, dim=None, keepdim=False, *, other=None, out=None):
        if not hasattr(input, "array"):
            raise TypeError(
                f"{op}() received an invalid combination of arguments - got ({type(input).__name__}, "
                f"{type(dim).__name__}), but expected a Tensor as input"
            )
        if hasattr(dim, "array"):
            dim, other = None, dim
        if other is not None:
            found = TABLE[pairwise].apply(input, other)
        elif dim is None:
            found = whole(input)
        else:
            dim = dims_of(op, input, dim)
            if not isinstance(dim, tuple) and input.array.shape[dim] == 0:
                raise _empty(op, dim, True)
            found = result(*along.apply(input, dim, bool(keepdim)))
        return found if out is None else write_out(out, found)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"The {kind} of all elements, along a dimension with its index, or of two tensors."
    return export(op, f"Tensor.{op}")(function)


_extreme("max", MaxAlong, Amax, "maximum", "largest")
_extreme("min", MinAlong, Amin, "minimum", "smallest")
