"""Views: the same memory under another shape. They launch nothing, on any device.

References use only words that NumPy's arrays and the GPU's have both.
"""

from __future__ import annotations

import math
from operator import index as as_int

import numpy as np

from tritorch.ops.base import Op, device_of, export
from tritorch.ops.batching import leading, shifted
from tritorch.ops.creation import Full
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.shape import batched
from tritorch.ops.shape.bits import checked_bits
from tritorch.runtime import strides, views
from tritorch.runtime.dtypes import dtype as dtype_class


class ViewOp(Op, abstract=True):
    """An op whose result shares memory with its argument."""

    views = True

    def forward(self, *args):
        """What the reference does: the words are the same for every device's arrays."""
        return self.reference(*args)


class View(ViewOp):
    """The same elements, in row-major order, under a new shape, without copying."""

    exports = ("Tensor.view",)
    batch = batched.viewed

    @staticmethod
    def reference(input, size):
        return input.reshape(size)

    @classmethod
    def call(cls, input, *shape, dtype=None, size=None):
        shape = shape if size is None else (size,)
        if not shape and dtype is None:
            raise TypeError("view() received an invalid combination of arguments - got ()")
        if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtype_class)):
            return ViewDtype.apply(input, checked_bits(input.array, (dtype or shape[0]).numpy))
        array = input.array
        shape = resolve(as_sizes(shape), array.size)
        if not views.can_reshape(array, shape):
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
                "two contiguous subspaces). Use .reshape(...) instead."
            )
        return cls.apply(input, shape)

    def backward(self, grad):
        """The gradient under the old shape."""
        return (grad.reshape(self.edges[0][2]),)

    @staticmethod
    def samples(draw):
        yield draw(4, 6), (8, 3)
        yield draw(4, 6)[1:], (3, 2, 3)
        yield draw(), (1, 1)
        yield draw(0, 3), (3, 0)

    @staticmethod
    def errors(draw):
        yield (draw(2, 3), 2, 5), {}, RuntimeError, "shape '[2, 5]' is invalid for input of size 6"
        yield (draw(2, 3).T, 6), {}, RuntimeError, "view size is not compatible with input tensor's size and stride"


def resolve(shape, size):
    """`shape` with its -1 filled in, or PyTorch's error."""
    known = math.prod(shape)
    if known == size and (not shape or min(shape) >= 0):
        return shape
    if known < 0 and size % known == 0 and min(shape) == -1 and shape.count(-1) == 1:
        at = shape.index(-1)
        return (*shape[:at], size // -known, *shape[at + 1 :])
    for position, length in enumerate(shape):
        if length < -1:
            raise RuntimeError(f"invalid shape dimension {length} at index {position} of shape {list(shape)}")
    return strides.resolve_shape(shape, size)


@export("reshape", "Tensor.reshape")
def reshape(input, *shape, **named):
    """The same elements under a new shape: a view where the strides allow it, else a copy."""
    if named:
        shape = (named["shape"],)
    array = input.array
    shape = resolve(as_sizes(shape), array.size)
    if array.flags.c_contiguous or views.can_reshape(array, shape):
        return View.apply(input, shape)
    return View.apply(input.contiguous(), shape)


class ViewDtype(ViewOp):
    """The same bytes read as another dtype."""

    batch = leading

    @staticmethod
    def reference(input, dtype):
        return input.view(dtype)

    @staticmethod
    def samples(draw):
        yield draw.integers(0, 9, 3, 4), np.dtype(np.float64)

    def backward(self, grad):
        """None: bits have no gradient."""
        return (None,)


class Permute(ViewOp):
    """The dimensions in another order."""

    batch = batched.permuted

    @staticmethod
    def reference(input, dims):
        return input.transpose(dims)

    def backward(self, grad):
        """The gradient with its dimensions put back."""
        dims = self.inputs[1]
        return (type(self).apply(grad, tuple(sorted(range(len(dims)), key=dims.__getitem__))),)

    @staticmethod
    def samples(draw):
        yield draw(2, 3, 4), (2, 0, 1)
        yield draw(5), (0,)


@export("permute", "Tensor.permute")
def permute(input, *dims, **named):
    """The dimensions in the order `dims`."""
    if not (dims or named):
        raise TypeError('permute() missing 1 required positional arguments: "dims"')
    dims = as_sizes((named["dims"],) if named else dims)
    ndim = input.array.ndim
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(dims)}"
        )
    wrapped = tuple([wrap_dim(dim, ndim) for dim in dims])
    if len(set(wrapped)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return Permute.apply(input, wrapped)


class Transpose(ViewOp):
    """Two dimensions swapped."""

    exports = ("transpose", "swapaxes", "swapdims", "Tensor.transpose", "Tensor.swapaxes", "Tensor.swapdims")
    batch = shifted("dim0", "dim1")

    @staticmethod
    def reference(input, dim0, dim1):
        order = list(range(input.ndim))
        order[dim0], order[dim1] = dim1, dim0
        return input.transpose(order)

    @classmethod
    def call(cls, input, dim0, dim1):
        ndim = input.array.ndim
        dim0, dim1 = wrap_dim(dim0, ndim), wrap_dim(dim1, ndim)
        return cls.apply(input, dim0, dim1) if ndim else alias_view(input)

    def backward(self, grad):
        """The gradient with the same two swapped."""
        return (type(self).apply(grad, *self.inputs[1:]),)

    @staticmethod
    def samples(draw):
        yield draw(2, 3, 4), 0, 2
        yield draw(2, 3), 1, 1

    @staticmethod
    def errors(draw):
        message = "Dimension out of range (expected to be in range of [-2, 1], but got 2)"
        yield (draw(2, 3), 0, 2), {}, IndexError, message


class T(ViewOp):
    """The transpose of a matrix; vectors and numbers are as they are."""

    exports = ("t", "Tensor.t")
    batch = batched.turned

    @staticmethod
    def reference(input):
        return input.transpose(tuple(range(input.ndim))[::-1])

    @classmethod
    def call(cls, input):
        if input.array.ndim > 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.array.ndim}D")
        return cls.apply(input)

    def backward(self, grad):
        """The transposed gradient."""
        return (T.apply(grad),)

    @staticmethod
    def samples(draw):
        yield (draw(3, 5),)
        yield (draw(4),)


class Expand(ViewOp):
    """Dimensions of one element repeated to `size` without copying; -1 keeps a size."""

    exports = ("Tensor.expand",)
    batch = batched.expanded

    @staticmethod
    def reference(input, size):
        return views.broadcast_to(input, size)

    @classmethod
    def call(cls, input, *sizes, implicit=False, size=None):
        if size is None and not sizes:
            raise TypeError('expand() missing 1 required positional arguments: "size"')
        return cls.apply(input, cls.resolve(as_sizes(sizes if size is None else (size,)), input.array.shape))

    @staticmethod
    def resolve(size, own):
        """The whole shape, -1 filled in, or PyTorch's error."""
        extra = len(size) - len(own)
        if extra < 0:
            raise RuntimeError(
                f"expand(torch.FloatTensor{{{list(own)}}}, size={list(size)}): the number of sizes provided "
                f"({len(size)}) must be greater or equal to the number of dimensions in the tensor ({len(own)})"
            )
        found = []
        for dim, wanted in enumerate(size):
            present = own[dim - extra] if dim >= extra else None
            if wanted == -1:
                if present is None:
                    raise RuntimeError(
                        f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, non-existing "
                        f"dimension {dim}"
                    )
                wanted = present
            elif present is not None and present not in (1, wanted):
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) must match the existing size ({present}) at "
                    f"non-singleton dimension {dim}.  Target sizes: {list(size)}.  Tensor sizes: {list(own)}"
                )
            found.append(wanted)
        return tuple(found)

    def backward(self, grad):
        """The gradient; the engine sums it over what was repeated."""
        return (grad,)

    @staticmethod
    def samples(draw):
        yield draw(3, 1), (3, 4)
        yield draw(1, 3, 1), (2, 5, 3, 2)
        yield draw(3, 4)[:, ::2][:, :1], (3, 3)
        yield draw(1), (0,)
        yield draw(), (2, 2)

    @staticmethod
    def errors(draw):
        message = "The expanded size of the tensor (4) must match the existing size (2) at non-singleton dimension 0."
        yield (draw(2, 3), 4, 3), {}, RuntimeError, f"{message}  Target sizes: [4, 3].  Tensor sizes: [2, 3]"
        yield (draw(2, 3), 3), {}, RuntimeError, "must be greater or equal to the number of dimensions in the tensor"
        yield (draw(3), -1, 3), {}, RuntimeError, "isn't allowed in a leading, non-existing dimension 0"


class Unsqueeze(ViewOp):
    """A dimension of one element inserted at `dim`."""

    exports = ("unsqueeze", "Tensor.unsqueeze")
    batch = shifted("dim", scalars=True)

    reference = staticmethod(views.unsqueeze)

    @classmethod
    def call(cls, input, dim):
        return cls.apply(input, wrap_dim(dim, input.array.ndim + 1))

    def backward(self, grad):
        """The gradient without that dimension."""
        return (Squeeze.apply(grad, (self.inputs[1],)),)

    @staticmethod
    def samples(draw):
        yield draw(3, 4), 1
        yield draw(), 0

    @staticmethod
    def errors(draw):
        yield (draw(2, 3), 3), {}, IndexError, "Dimension out of range (expected to be in range of [-3, 2], but got 3)"


class Squeeze(ViewOp):
    """Dimensions of one element taken away: all of them, or those of `dim` that have one."""

    exports = ("squeeze", "Tensor.squeeze")
    batch = shifted("dim", scalars=True)

    @staticmethod
    def reference(input, dim):
        return input[(*[0 if at in dim else slice(None) for at in range(input.ndim)], ...)]

    @classmethod
    def call(cls, input, dim=None):
        shape = input.array.shape
        dims = range(len(shape)) if dim is None else wrap_dims(dim, len(shape))
        return cls.apply(input, tuple([each for each in dims if shape and shape[each] == 1]))

    def backward(self, grad):
        """The gradient under the old shape."""
        return (grad.reshape(self.edges[0][2]),)

    @staticmethod
    def samples(draw):
        yield draw(1, 3, 1), (0, 2)
        yield draw(1), (0,)


class BasicIndex(ViewOp, abstract=True):
    """The view that a key of ints, slices with positive steps, None and an Ellipsis selects."""

    batch = batched.indexed

    @staticmethod
    def reference(input, key):
        return input[key]

    def backward(self, grad):
        """Zeros, with the gradient where the view lies."""
        return (SliceBackward.apply(grad, self.edges[0][2], self.inputs[1]),)


class Select(BasicIndex):
    """One index of a dimension, which is taken away; `key` ends in an Ellipsis, so that the result is always a view."""

    exports = ("select", "Tensor.select")

    @classmethod
    def call(cls, input, dim, index):
        shape = input.array.shape
        if not shape:
            raise IndexError("select() cannot be applied to a 0-dim tensor.")
        dim, index = wrap_dim(dim, len(shape)), as_int(index)
        if not -shape[dim] <= index < shape[dim]:
            raise IndexError(
                f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}"
            )
        return cls.apply(input, (*(slice(None),) * dim, index, ...))

    @staticmethod
    def samples(draw):
        yield draw(5, 3), (2, ...)
        yield draw(4), (-1, ...)

    @staticmethod
    def errors(draw):
        message = "select(): index 5 out of range for tensor of size [3, 2] at dimension 0"
        yield (draw(3, 2), 0, 5), {}, IndexError, message


class Slice(BasicIndex):
    """A range of a dimension, or several of them."""

    @staticmethod
    def samples(draw):
        yield draw(5, 3), (slice(1, 4), ...)
        yield draw(5, 3), (slice(None, None, 2), None, slice(1, None), ...)
        yield draw(5, 3), (slice(3, 3), ...)
        yield draw(2, 5, 3), (1, slice(0, 4, 3), ...)


class SliceBackward(Op):
    """Zeros of `shape` with `grad` written where `key` points: the gradient of basic indexing."""

    batch = batched.indexed_backward

    @staticmethod
    def reference(grad, shape, key):
        result = np.zeros(shape, grad.dtype)
        result[key] = grad
        return result

    def forward(self, grad, shape, key):
        """One launch that fills, one that writes the region."""
        result = Full().forward(shape, 0, grad.dtype, device_of(grad))
        copy_elements(grad, result[key])
        return result

    def backward(self, grad):
        """The region of the gradient."""
        return (Slice.apply(grad, self.inputs[2]),)

    @staticmethod
    def samples(draw):
        yield draw(3), (5, 3), (2, ...)
        yield draw(5), (5, 3), (slice(None), -1, ...)
        yield draw(3, 1, 2), (5, 3), (slice(None, None, 2), None, slice(1, None), ...)
        yield draw(0, 3), (5, 3), (slice(3, 3), ...)
        yield draw(700, 2).T, (2, 1400), (slice(None), slice(0, 1400, 2), ...)


def alias_view(input):
    """The whole tensor as a view of itself."""
    return Slice.apply(input, (...,))
