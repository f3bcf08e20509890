"""Views whose elements may lie anywhere: diagonals, sliding windows, strides given by hand.

Several of their elements may share one place, so gradients are sums of what arrives at each place.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import Op, device_of
from tritorch.ops.batching import shift, shifted
from tritorch.ops.creation import Full
from tritorch.ops.dimensions import as_sizes, wrap_dim
from tritorch.ops.layout import element_strides, empty_like
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.shape.views import BasicIndex, Slice, ViewOp
from tritorch.runtime import views
from tritorch.runtime.dtypes import int64
from tritorch.runtime.strides import extent


class Diagonal(ViewOp):
    """The elements [..., i, ..., i + offset, ...] of two dimensions, as the last dimension."""

    batch = shifted("dim1", "dim2")
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
        return (Placed.apply(grad, self.edges[0][2], Diagonal, self.inputs[1:]),)

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


class Unfold(ViewOp):
    """All windows of `size` elements of a dimension, `step` apart, with the window as a new last dimension."""

    batch = shifted("dimension")
    exports = ("Tensor.unfold",)

    @staticmethod
    def reference(input, dimension, size, step):
        shape, steps = list(input.shape), list(input.strides)
        if not shape:
            return views.as_strided(input, (size,), (input.itemsize,))
        last = steps[dimension]
        shape[dimension] = (shape[dimension] - size) // step + 1
        steps[dimension] *= step
        return views.as_strided(input, (*shape, size), (*steps, last))

    @classmethod
    def call(cls, input, dimension, size, step):
        shape = input.array.shape
        dimension = wrap_dim(dimension, len(shape))
        length = shape[dimension] if shape else 1
        if size < 0:
            raise RuntimeError(f"size is {size} but must be >= 0")
        if size > length:
            raise RuntimeError(f"maximum size for tensor at dimension {dimension} is {length} but size is {size}")
        if step <= 0:
            raise RuntimeError(f"step is {step} but must be > 0")
        return cls.apply(input, dimension, size, step)

    def backward(self, grad):
        """The gradient of each place: the sum of what arrives there, found by viewing the places' numbers alike."""
        shape = self.edges[0][2]
        places = np.arange(math.prod(shape)).reshape(shape)
        reached = self.reference(places, *self.inputs[1:]).reshape(-1)
        flat = grad.new_zeros(places.size).index_add(0, grad.new_tensor(reached, dtype=int64), grad.reshape(-1))
        return (flat.reshape(shape),)

    @staticmethod
    def samples(draw):
        yield draw(7, 2), 0, 3, 2
        yield draw(2, 6), 1, 2, 1
        yield draw(), 0, 1, 1
        yield draw(5, 4).T, 1, 0, 3

    @staticmethod
    def errors(draw):
        yield (draw(3), 0, 4, 1), {}, RuntimeError, "maximum size for tensor at dimension 0 is 3 but size is 4"
        yield (draw(3), 0, 2, 0), {}, RuntimeError, "step is 0 but must be > 0"


class AsStrided(ViewOp):
    """The view with this size and these strides, `offset` elements after the argument's first.

    The argument's own strides are the last one: they say which of its elements the view's are.
    """

    @classmethod
    def batch(cls, call):
        """The batch with its own stride."""
        input, size, stride, offset, _ = call.args
        own = element_strides(input.array)
        return cls.apply(input, (call.size, *size), (own[0], *stride), offset, own)

    exports = ("as_strided", "Tensor.as_strided")

    @staticmethod
    def reference(input, size, stride, offset, own):
        item = input.itemsize
        return views.as_strided(input, size, tuple([step * item for step in stride]), offset * item)

    @classmethod
    def call(cls, input, size, stride, storage_offset=None):
        size, stride = as_sizes((size,)), as_sizes((stride,))
        if len(size) != len(stride):
            raise RuntimeError("mismatch in length of strides and shape")
        own = input.storage_offset()
        offset = 0 if storage_offset is None else storage_offset - own
        root = (input if input.view_of is None else input.view_of.root).array
        stored = extent(root.shape, root.strides, root.itemsize)[1]
        reach = sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + own + offset
        if 0 not in size and not 0 <= own + offset <= reach < max(stored // root.itemsize, 1):
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {own + offset}, and itemsize "
                f"{root.itemsize} requiring a storage size of {(reach + 1) * root.itemsize} are out of bounds for "
                f"storage of size {stored}"
            )
        return cls.apply(input, size, stride, offset, element_strides(input.array))

    def backward(self, grad):
        """The sum of what arrives at each place, in equal parts for the elements of the argument that share it."""
        size, stride, offset, own = self.inputs[1:]
        shape = self.edges[0][2]
        spots, whose, sharing = np.unique(_offsets(shape, own), return_inverse=True, return_counts=True)
        reached = _offsets(size, stride) + offset
        at = np.minimum(np.searchsorted(spots, reached), max(len(spots) - 1, 0))
        known = np.flatnonzero(spots[at] == reached) if len(spots) else at[:0]  # the rest lies outside of the argument
        arriving = grad.reshape(-1)
        if len(known) < len(reached):
            arriving = arriving.index_select(0, grad.new_tensor(known, dtype=int64))
        total = grad.new_zeros(len(spots)).index_add(0, grad.new_tensor(at[known], dtype=int64), arriving)
        if len(spots) < len(whose) or (whose[1:] < whose[:-1]).any():
            total = (total / grad.new_tensor(sharing)).index_select(0, grad.new_tensor(whose, dtype=int64))
        return (total.reshape(shape),)

    @staticmethod
    def samples(draw):
        yield draw(4, 5), (3, 2), (1, 6), 2, (5, 1)
        yield draw(6), (3, 3), (1, 1), 1, (1,)
        yield draw(2, 3), (0, 2), (1, 1), 0, (3, 1)


def _offsets(shape, steps):
    """Where the elements of a layout are, in elements from the first, in order."""
    found = np.zeros(shape, np.int64)
    for dim, (size, step) in enumerate(zip(shape, steps, strict=True)):
        found += (np.arange(size) * step).reshape((-1, *(1,) * (len(shape) - dim - 1)))
    return found.reshape(-1)


class LaidOut(Op):
    """A copy of the elements in memory where they lie by the strides `stride`, without overlap."""

    @staticmethod
    def reference(input, stride):
        item = input.itemsize
        steps = tuple([step * item for step in stride])
        reach = extent(input.shape, steps, item)[1] // item
        result = views.as_strided(np.empty(reach, input.dtype), input.shape, steps)
        result[...] = input
        return result

    def forward(self, input, stride):
        """One launch."""
        item = input.itemsize
        steps = tuple([step * item for step in stride])
        memory = empty_like(input, (extent(input.shape, steps, item)[1] // item,))
        result = views.as_strided(memory, input.shape, steps)
        copy_elements(input, result)
        return result

    def backward(self, grad):
        """The gradient itself."""
        return (grad,)

    @staticmethod
    def samples(draw):
        yield draw(3, 4), (1, 3)
        yield draw(5, 2), (7, 3)
        yield draw(0, 2), (1, 1)


# ---------------------------------------------------------------- written through


def _in_batch(view, rest):
    """The arguments of a view of an example, for the batch; None for views by strides."""
    if view is Diagonal:
        return (rest[0], *shift(rest[1:], 0))
    return ((slice(None), *rest[0]),) if issubclass(view, BasicIndex) else None


class Placed(Op):
    """Zeros of `shape` with `source` written over the view that op `view` takes of them with arguments `rest`."""

    @classmethod
    def batch(cls, call):
        """The same view, of a batch."""
        source, shape, view, rest = call.args
        rest = _in_batch(view, rest)
        return None if rest is None else cls.apply(source, (call.size, *shape), view, rest)

    @staticmethod
    def reference(source, shape, view, rest):
        result = np.zeros(shape, source.dtype)
        view.reference(result, *rest)[...] = source
        return result

    def forward(self, source, shape, view, rest):
        """One launch that fills, one that writes the view."""
        result = Full().forward(shape, 0, source.dtype, device_of(source))
        copy_elements(source, view.reference(result, *rest))
        return result

    def backward(self, grad):
        """The view of the gradient."""
        _, _, view, rest = self.inputs
        return (view.apply(grad.contiguous(), *rest),)

    @staticmethod
    def samples(draw):
        yield draw(3), (4, 4), Diagonal, (-1, 0, 1)
        yield draw(4, 2).T, (4, 2, 4), Diagonal, (0, 2, 0)
        yield draw(2, 3), (2, 5), Slice, ((slice(None), slice(0, 5, 2), ...),)


class ViewScatter(Op):
    """A copy of `input` with `source` written over the view that op `view` takes of it with arguments `rest`."""

    @classmethod
    def batch(cls, call):
        """The same view, of a batch."""
        _, source, view, rest = call.args
        rest = _in_batch(view, rest)
        if rest is None or (call.batched[1] and not call.rank(1)):
            return None
        source = call.front(1) if call.rank(1) else source
        return cls.apply(call.front(0), source, view, rest)

    @staticmethod
    def reference(input, source, view, rest):
        result = input.copy()
        view.reference(result, *rest)[...] = source
        return result

    def forward(self, input, source, view, rest):
        """One launch that copies, one that writes the view."""
        result = empty_like(input)
        copy_elements(input, result)
        copy_elements(source, view.reference(result, *rest))
        return result

    def backward(self, grad):
        """For the input what was not overwritten, for the source the view of the gradient."""
        _, _, view, rest = self.inputs
        grad = grad.contiguous()
        kept = None if self.edges[0] is None else ViewScatter.apply(grad, grad.new_zeros(()), view, rest)
        return kept, None if self.edges[1] is None else view.apply(grad, *rest)

    @staticmethod
    def samples(draw):
        yield draw(4, 4), draw(3), Diagonal, (-1, 0, 1)
        yield draw(5, 2).T, draw(2), Slice, ((slice(None), 3, ...),)
        yield draw(4, 5), draw(2, 2), AsStrided, ((2, 2), (5, 2), 1, (5, 1))
        yield draw(3, 40), np.asarray(draw()), Slice, ((slice(1, 3), slice(None, None, 3), ...),)
