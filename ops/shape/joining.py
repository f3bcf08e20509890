"""Joining tensors along a dimension."""

from __future__ import annotations

import functools

import numpy as np

from tritorch.ops.base import Op, device_of
from tritorch.ops.batching import shifted
from tritorch.ops.creation import Full
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.layout import empty_by, format_order, in_order, out_of_order
from tritorch.ops.outputs import takes_out
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.shape.side_by_side import copy_side_by_side
from tritorch.ops.shape.views import Select, Slice
from tritorch.runtime.dtypes import of, promote_types


class Cat(Op):
    """The tensors one after the other along `dim`, from `starts` on; empty ones of one dimension are left out."""

    @classmethod
    def batch(cls, call):
        """The batch stays first. Empty vectors, which are left out, would be matrices in it."""
        if any(call.shape(at) == (0,) for at in call.tensors()):
            return None
        dim, starts, *tensors = call.in_front()
        return cls.apply(dim + 1, starts, *tensors)

    exports = ("cat", "concat", "concatenate")

    @staticmethod
    def reference(dim, starts, *tensors):
        kept = [each for each in tensors if each.shape != (0,)] or list(tensors[:1])
        kind = joint_dtype(tensors)
        if any(each.dtype != kind for each in kept):
            kept = [each.astype(kind) for each in kept]
        order = _common_order(kept)
        if order is not None:
            return out_of_order(np.concatenate([in_order(each, order) for each in kept], order.index(dim)), order)
        if all(each.flags.c_contiguous for each in kept):
            return np.concatenate(kept, dim)
        out = np.empty(_joint_shape(kept, dim), kind)
        return np.concatenate(kept, dim, out)

    @classmethod
    def host(cls, dim, starts, *tensors):
        """As the reference, without its questions where all lie in the order of indices."""
        kind = tensors[0].dtype
        for each in tensors:
            if each.dtype is not kind or not each.flags.c_contiguous or each.shape == (0,):
                return cls.reference(dim, starts, *tensors)
        return np.concatenate(tensors, dim) if _common_order(tensors) is None else cls.reference(dim, starts, *tensors)

    @classmethod
    def function(cls):
        """With `out=`, of any dtype that the tensors can be cast to."""
        return takes_out(super().function(), any_dtype=True)

    @classmethod
    def call(cls, tensors, dim=0):
        if hasattr(tensors, "array"):
            kind = type(tensors).__name__
            raise TypeError(f"{cls.op_name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {kind}")
        tensors = tuple(tensors)
        if not tensors:
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        shapes = [each.array.shape for each in tensors]
        dim = cls.checked_dim(dim, shapes)
        return cls.apply(dim, cls.starts(dim, shapes), *tensors)

    @staticmethod
    def starts(dim, shapes):
        """Where each tensor starts in the result."""
        found, start = [], 0
        for shape in shapes:
            found.append(start)
            start += 0 if shape == (0,) else shape[dim]
        return tuple(found)

    @staticmethod
    def checked_dim(dim, shapes):
        """The dimension counted from the front, or the error that the shapes do not join."""
        first = shapes[0]
        if first and first != (0,) and shapes.count(first) == len(shapes):  # as they mostly are
            return wrap_dim(dim, len(first))
        first = next((shape for shape in shapes if shape != (0,)), first)
        for position, shape in enumerate(shapes):
            if not shape:
                raise RuntimeError(f"zero-dimensional tensor (at position {position}) cannot be concatenated")
        dim = wrap_dim(dim, len(first)) if first != (0,) else 0  # all are left out, whatever dimension they join along
        for position, shape in enumerate(shapes):
            if shape in (first, (0,)):
                continue
            if len(shape) != len(first):
                raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
            for at, (wanted, size) in enumerate(zip(first, shape, strict=True)):
                if wanted != size and at != dim:
                    raise RuntimeError(
                        f"Sizes of tensors must match except in dimension {dim}. Expected size {wanted} but got size "
                        f"{size} for tensor number {position} in the list."
                    )
        return dim

    def forward(self, dim, starts, *tensors):
        """One launch, which copies each tensor to its region; one more for each that has gaps or another dtype."""
        kept = [each for each in tensors if each.shape != (0,)] or list(tensors[:1])
        order = _common_order(kept)
        out = empty_by(kept[0], _joint_shape(kept, dim), order, joint_dtype(tensors))
        pairs = [(in_order(each, order), start) for each, start in zip(tensors, starts, strict=True) if each.size]
        if pairs:
            copy_side_by_side(
                in_order(out, order), dim if order is None else order.index(dim), *zip(*pairs, strict=True)
            )
        return out

    def backward(self, grad):
        """The gradient's parts."""
        dim, starts = self.inputs[0], self.inputs[1]
        parts = [None, None]
        for edge, start in zip(self.edges[2:], starts, strict=True):
            if edge is None:
                parts.append(None)
            elif edge[2] == (0,):
                parts.append(grad.new_zeros(0))
            else:
                key = (*(slice(None),) * dim, slice(start, start + edge[2][dim]), ...)
                parts.append(Slice.apply(grad, key))
        return tuple(parts)

    @staticmethod
    def samples(draw):
        yield 0, (0, 2), draw(2, 3), draw(4, 3)
        yield 1, (0, 3, 4), draw(2, 3), draw(2, 1), draw(2, 5)
        yield 2, (0, 4), draw(4, 3, 2).T, draw(2, 3, 700)
        yield 0, (0, 3, 3), draw(3), draw(0), draw(2)
        yield 0, (0, 2), draw(2, 3), draw.integers(0, 5, 1, 3)
        last = [draw(2, 3, 4, channels).transpose(0, 3, 1, 2) for channels in (5, 2)]
        yield 1, (0, 5), *last
        yield 0, (0, 2), last[0], draw(1, 5, 3, 4)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return 1, (0, N), draw(M, N), draw(M, N)

    @staticmethod
    def errors(draw):
        yield ([],), {}, ValueError, "torch.cat(): expected a non-empty list of Tensors"
        message = "except in dimension 0. Expected size 2 but got size 3 for tensor number 1 in the list."
        yield ([draw(2, 2), draw(3, 3)],), {}, RuntimeError, f"Sizes of tensors must match {message}"
        yield ([draw(2), draw(1, 1)],), {}, RuntimeError, "Tensors must have same number of dimensions: got 1 and 2"
        yield ([draw()],), {}, RuntimeError, "zero-dimensional tensor (at position 0) cannot be concatenated"


def _joint_shape(arrays, dim):
    shape = list(arrays[0].shape)
    shape[dim] = sum(each.shape[dim] for each in arrays)
    return tuple(shape)


def _common_order(arrays):
    """The order in memory of the dimensions of what is joined: with channels innermost where all arrays suggest it."""
    order = format_order(arrays[0])
    return order if order is not None and all(format_order(each) is not None for each in arrays) else None


def _stacked_shape(arrays, dim):
    shape = arrays[0].shape
    return (*shape[:dim], len(arrays), *shape[dim:])


def _stacked_order(arrays, dim):
    """The order for arrays stacked along a new dimension: theirs, that one around the dimension it stands before."""
    order = _common_order(arrays)
    if order is None or dim == len(order):
        return None
    order = [each + (each >= dim) for each in order]
    order.insert(order.index(dim + 1), dim)
    return tuple(order)


class Stack(Op):
    """The tensors, all of one size, along a new dimension `dim`."""

    batch = shifted("dim", scalars=True)
    exports = ("stack",)

    @staticmethod
    def reference(dim, *tensors):
        kind = joint_dtype(tensors)
        if any(each.dtype != kind for each in tensors):
            tensors = [each.astype(kind) for each in tensors]
        key = (slice(None),) * dim + (None, ...)
        out = empty_by(np.asarray(tensors[0]), _stacked_shape(tensors, dim), _stacked_order(tensors, dim))
        return np.concatenate([each[key] for each in tensors], dim, out)

    @classmethod
    def function(cls):
        """With `out=`, of any dtype that the tensors can be cast to."""
        return takes_out(super().function(), any_dtype=True)

    @classmethod
    def call(cls, tensors, dim=0):
        tensors = tuple(tensors)
        if not tensors:
            raise RuntimeError("stack expects a non-empty TensorList")
        first = tensors[0].array.shape
        for position, each in enumerate(tensors):
            if each.array.shape != first:
                raise RuntimeError(
                    f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                    f"{list(each.array.shape)} at entry {position}"
                )
        return cls.apply(wrap_dim(dim, len(first) + 1), *tensors)

    def forward(self, dim, *tensors):
        """One launch, which copies each tensor to its place; one more for each that has gaps or another dtype."""
        kind, order = joint_dtype(tensors), _stacked_order(tensors, dim)
        out = empty_by(tensors[0], _stacked_shape(tensors, dim), order, kind)
        if out.size:
            parts = [in_order(each[(*(slice(None),) * dim, None, ...)], order) for each in tensors]
            place = dim if order is None else order.index(dim)
            copy_side_by_side(in_order(out, order), place, parts, range(len(parts)))
        return out

    def backward(self, grad):
        """The gradient's slices."""
        key = (slice(None),) * self.inputs[0]
        parts = [
            None if edge is None else Select.apply(grad, (*key, position, ...))
            for position, edge in enumerate(self.edges[1:])
        ]
        return (None, *parts)

    @staticmethod
    def samples(draw):
        yield 0, draw(2, 3), draw(2, 3)
        yield 2, draw(3, 2).T, draw(2, 3), draw(2, 3)
        yield 0, draw(), draw.integers(0, 5)
        yield 1, draw(700, 2), draw(700, 2)
        for dim in (0, 1, 4):
            yield dim, *[draw(2, 3, 4, 5).transpose(0, 3, 1, 2) for _ in range(2)]

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return 0, draw(M, N), draw(M, N)

    @staticmethod
    def errors(draw):
        yield ([],), {}, RuntimeError, "stack expects a non-empty TensorList"
        message = "stack expects each tensor to be equal size, but got [2] at entry 0 and [3] at entry 1"
        yield ([draw(2), draw(3)],), {}, RuntimeError, message


class BlockDiag(Op):
    """The matrices along the diagonal of a matrix of zeros, each at the key that says where."""

    @staticmethod
    def reference(keys, *tensors):
        out = np.zeros([last.stop for last in keys[-1]], joint_dtype(tensors))
        for each, key in zip(tensors, keys, strict=True):
            out[key] = each
        return out

    def forward(self, keys, *tensors):
        """One launch that fills, and one for each matrix, which copies it to its block."""
        shape = tuple([last.stop for last in keys[-1]])
        out = Full().forward(shape, 0, joint_dtype(tensors), device_of(tensors[0]))
        for each, key in zip(tensors, keys, strict=True):
            copy_elements(each, out[key])
        return out

    @staticmethod
    def keys(shapes):
        """Where matrices of these shapes stand, each as two slices."""
        found, row, column = [], 0, 0
        for rows, columns in shapes:
            found.append((slice(row, row + rows), slice(column, column + columns)))
            row, column = row + rows, column + columns
        return tuple(found)

    def backward(self, grad):
        """The gradient's blocks."""
        keys = self.inputs[0]
        parts = [
            None if edge is None else Slice.apply(grad, (*key, ...))
            for edge, key in zip(self.edges[1:], keys, strict=True)
        ]
        return (None, *parts)

    @classmethod
    def samples(cls, draw):
        yield cls.keys(((2, 3), (1, 4))), draw(2, 3), draw(1, 4)
        yield cls.keys(((2, 4), (3, 0), (2, 2))), draw(4, 2).T, draw(3, 0), draw.integers(0, 5, 2, 2)
        yield cls.keys(((33, 40), (1, 1))), draw(33, 40), draw(1, 1)


def joint_dtype(arrays):
    """The NumPy dtype that all arrays can be cast to."""
    first = arrays[0].dtype
    if all(each.dtype == first for each in arrays):
        return first
    return functools.reduce(promote_types, [of(each.dtype) for each in arrays]).numpy
