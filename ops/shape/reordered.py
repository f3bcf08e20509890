"""Elements in another order along dimensions: flipped, rolled."""

from __future__ import annotations

import itertools

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.layout import empty_like, empty_preserved
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.shape.views import reshape


class Flip(Op):
    """The tensor with the order of the dimensions `dims` reversed, as a copy."""

    batch = shifted("dims", scalars=True)
    exports = ("flip", "Tensor.flip")

    @staticmethod
    def reference(input, dims):
        out = empty_preserved(input)
        out[...] = np.flip(input, dims)
        return out

    @classmethod
    def call(cls, input, *dims, **named):
        dims = wrap_dims(as_sizes((named["dims"],) if named else dims), input.array.ndim)
        return cls.apply(input, dims if input.array.ndim else ())

    def forward(self, input, dims):
        """One launch, which reads backwards."""
        out = empty_preserved(input)
        key = tuple([slice(None, None, -1) if dim in dims else slice(None) for dim in range(input.ndim)])
        copy_elements(input[key] if dims else input, out)
        return out

    def backward(self, grad):
        """The gradient flipped back."""
        return (Flip.apply(grad, self.inputs[1]),)

    @staticmethod
    def samples(draw):
        yield draw(5, 7), (0,)
        yield draw(4, 6).T, (0, 1)
        yield draw(2, 3, 4), (1,)
        yield draw(9)[::-2], (0,)
        yield draw(0, 3), (0, 1)
        yield draw(2, 3), ()

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), (1,)

    @staticmethod
    def errors(draw):
        yield (draw(2, 3), 2), {}, IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 2)"
        yield (draw(2, 3), (0, 0)), {}, RuntimeError, "dim 0 appears multiple times in the list of dims"


class Roll(Op):
    """The indices of the dimensions `dims` shifted, those that fall off the end coming back at the start."""

    batch = shifted("dims")
    exports = ("roll", "Tensor.roll")

    @staticmethod
    def reference(input, shifts, dims):
        return np.roll(input, shifts, dims)

    @classmethod
    def call(cls, input, shifts, dims=None):
        shifts = as_sizes((shifts,))
        dims = () if dims is None else as_sizes((dims,))
        if not shifts:
            raise RuntimeError("`shifts` required")
        if not dims and len(shifts) == 1:
            return cls.apply(reshape(input, (-1,)), shifts, (0,)).view(input.array.shape)
        if len(shifts) != len(dims):
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
        if not input.array.ndim:
            raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
        if not input.array.size and len(dims) == 1:
            return input.clone()
        total = {}
        for shift, dim in zip(shifts, dims, strict=True):
            dim = wrap_dim(dim, input.array.ndim)
            total[dim] = total.get(dim, 0) + shift
        return cls.apply(input, tuple(total.values()), tuple(total))

    def forward(self, input, shifts, dims):
        """One launch for each region that stays together: two for one dimension, four for two."""
        out = empty_like(input)
        if not out.size:
            return out
        parts = []
        for shift, dim in zip(shifts, dims, strict=True):
            size = input.shape[dim]
            shift %= size
            whole = [(slice(None, size - shift), slice(shift, None))]
            parts.append([*whole, (slice(size - shift, None), slice(None, shift))] if shift else whole)
        for chosen in itertools.product(*parts):
            source, place = [slice(None)] * input.ndim, [slice(None)] * input.ndim
            for dim, (taken, put) in zip(dims, chosen, strict=True):
                source[dim], place[dim] = taken, put
            copy_elements(input[tuple(source)], out[tuple(place)])
        return out

    def backward(self, grad):
        """The gradient shifted back."""
        shifts, dims = self.inputs[1:]
        return (Roll.apply(grad, tuple([-shift for shift in shifts]), dims),)

    @staticmethod
    def samples(draw):
        yield draw(7), (2,), (0,)
        yield draw(5, 7).T, (-3, 12), (0, 1)
        yield draw(2, 3, 4), (0,), (1,)
        yield draw(1025), (1024,), (0,)
        yield draw(0, 3), (1, 1), (0, 1)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), (N // 2,), (1,)

    @staticmethod
    def errors(draw):
        yield (draw(5), ()), {}, RuntimeError, "`shifts` required"
        yield (draw(5, 5), (2, 1), 0), {}, RuntimeError, "shifts and dimensions must align. shifts: 2, dims:1"
        yield (draw(), 0, 0), {}, IndexError, "Dimension specified as 0 but tensor has no dimensions"
