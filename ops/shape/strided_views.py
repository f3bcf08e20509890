"""Views whose elements may lie anywhere: diagonals, sliding windows, strides given by hand.

Several of their elements may share one place, so gradients are sums of what arrives at each place.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.dimensions import as_sizes, wrap_dim
from tritorch.ops.shape.views import ViewOp
from tritorch.runtime import views
from tritorch.runtime.dtypes import int64


class Diagonal(ViewOp):
    """The elements [..., i, ..., i + offset, ...] of two dimensions, as the last dimension."""

    exports = ("diagonal", "Tensor.diagonal")

    @staticmethod
    def reference(input, offset, dim1, dim2):
        shape, steps = input.shape, input.strides
        count = max(min(shape[dim1] + min(offset, 0), shape[dim2] - max(offset, 0)), 0)
        start = max(-offset, 0) * steps[dim1] + max(offset, 0) * steps[dim2] if count else 0
        rest = [dim for dim in range(len(shape)) if dim not in (dim1, dim2)]
        return views.as_strided(
            input,
            (*[shape[dim] for dim in rest], count),
            (*[steps[dim] for dim in rest], steps[dim1] + steps[dim2]),
            start,
        )

    @classmethod
    def call(cls, input, offset=0, dim1=0, dim2=1):
        ndim = input.array.ndim
        first, second = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
        if first == second:
            raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
        return cls.apply(input, offset, first, second)

    def backward(self, grad):
        """Zeros with the gradient along the diagonal."""
        result = grad.new_zeros(self.edges[0][2])
        Diagonal.apply(result, *self.inputs[1:]).copy_(grad)
        return (result,)

    @staticmethod
    def samples(draw):
        yield draw(3, 5), 1, 0, 1
        yield draw(4, 3), -2, 0, 1
        yield draw(2, 3, 4).transpose(2, 0, 1), 0, 2, 0
        yield draw(2, 2), 5, 0, 1

    @staticmethod
    def errors(draw):
        yield (draw(3),), {}, IndexError, "Dimension out of range (expected to be in range of [-1, 0], but got 1)"
        yield (draw(3, 3), 0, 1, 1), {}, RuntimeError, "diagonal dimensions cannot be identical 1, 1"


class StridedView(ViewOp, abstract=True):
    """A view whose elements may share places of its argument."""

    def backward(self, grad):
        """The gradient of each place: the sum of what arrives there, found by viewing the places' numbers alike."""
        shape = self.edges[0][2]
        result = grad.new_zeros(shape)
        places = np.arange(result.numel()).reshape(shape)
        reached = self.reference(places, *self.inputs[1:]).reshape(-1)
        flat = result.reshape(-1).index_add(0, grad.new_tensor(reached, dtype=int64), grad.reshape(-1))
        return (flat.reshape(shape),)


class Unfold(StridedView):
    """All windows of `size` elements of a dimension, `step` apart, with the window as a new last dimension."""

    exports = ("Tensor.unfold",)

    @staticmethod
    def reference(input, dimension, size, step):
        shape, steps = list(input.shape), list(input.strides)
        last = steps[dimension]
        shape[dimension] = (shape[dimension] - size) // step + 1
        steps[dimension] *= step
        return views.as_strided(input, (*shape, size), (*steps, last))

    @classmethod
    def call(cls, input, dimension, size, step):
        shape = input.array.shape
        dimension = wrap_dim(dimension, len(shape))
        length = shape[dimension] if shape else 1
        if size > length:
            raise RuntimeError(f"maximum size for tensor at dimension {dimension} is {length} but size is {size}")
        if step <= 0:
            raise RuntimeError(f"step is {step} but must be > 0")
        return cls.apply(input, dimension, size, step)

    @staticmethod
    def samples(draw):
        yield draw(7, 2), 0, 3, 2
        yield draw(2, 6), 1, 2, 1


class AsStrided(StridedView):
    """The view with this size and these strides, `offset` elements after the argument's first."""

    exports = ("as_strided", "Tensor.as_strided")

    @staticmethod
    def reference(input, size, stride, offset):
        item = input.itemsize
        return views.as_strided(input, size, tuple([step * item for step in stride]), offset * item)

    @classmethod
    def call(cls, input, size, stride, storage_offset=None):
        size, stride = as_sizes((size,)), as_sizes((stride,))
        if len(size) != len(stride):
            raise RuntimeError("mismatch in length of strides and shape")
        own = input.storage_offset()
        offset = 0 if storage_offset is None else storage_offset - own
        root = input if input.view_of is None else input.view_of.root
        reach = sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + own + offset
        if 0 not in size and not 0 <= own + offset <= reach < max(root.array.size, 1):
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {own + offset}, and itemsize "
                f"{input.array.itemsize} requiring a storage size of {(reach + 1) * input.array.itemsize} are out of "
                f"bounds for storage of size {root.array.nbytes}"
            )
        return cls.apply(input, size, stride, offset)

    @staticmethod
    def samples(draw):
        yield draw(4, 5), (3, 2), (1, 6), 2
        yield draw(6), (3, 3), (1, 1), 1
