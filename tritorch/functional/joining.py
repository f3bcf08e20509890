"""Tensors joined, repeated, reversed and turned: compositions of views, copies and `cat`."""

from __future__ import annotations

import functools

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import export
from tritorch.ops.dimensions import as_sizes, wrap_dim
from tritorch.ops.index.indexing import Index
from tritorch.ops.outputs import takes_out
from tritorch.ops.shape.joining import Cat
from tritorch.ops.shape.reordered import Flip
from tritorch.ops.shape.views import Unsqueeze, reshape
from tritorch.runtime.memory_format import contiguous_format

cat = Cat.call


def _with_dims(tensor, ndim):
    """A tensor with at least `ndim` dimensions, by PyTorch's rule of where new ones go."""
    shape = tensor.array.shape
    if len(shape) >= ndim:
        return tensor
    if ndim == 3 and len(shape) == 2:
        return reshape(tensor, (*shape, 1))
    if ndim == 3 and len(shape) == 1:
        return reshape(tensor, (1, *shape, 1))
    return reshape(tensor, (1,) * (ndim - len(shape)) + shape)


def _at_least(ndim):
    def function(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], Variable):
            return _with_dims(tensors[0], ndim)
        tensors = tensors[0] if len(tensors) == 1 else tensors
        return tuple([_with_dims(each, ndim) for each in tensors])

    function.__name__ = f"atleast_{ndim}d"
    function.__doc__ = f"The tensors with at least {ndim} dimensions."
    return export(function.__name__)(function)


atleast_1d, atleast_2d, atleast_3d = (_at_least(ndim) for ndim in (1, 2, 3))


def _stacking(function):
    """Make a way to stack public, with `out=`; it takes one tensor at least."""

    @functools.wraps(function)
    def stacked(tensors):
        if not len(tensors):
            raise RuntimeError(f"{function.__name__} expects a non-empty TensorList")
        return function(tensors)

    return takes_out(stacked, any_dtype=True)


@export("hstack")
@_stacking
def hstack(tensors):
    """The tensors side by side: along dimension 1, vectors along 0."""
    tensors = [_with_dims(each, 1) for each in tensors]
    return cat(tensors, 0 if tensors and tensors[0].array.ndim == 1 else 1)


@export("vstack", "row_stack")
@_stacking
def vstack(tensors):
    """The tensors on top of each other, vectors as rows."""
    return cat([_with_dims(each, 2) for each in tensors], 0)


@export("dstack")
@_stacking
def dstack(tensors):
    """The tensors behind each other, along dimension 2."""
    return cat([_with_dims(each, 3) for each in tensors], 2)


@export("column_stack")
@_stacking
def column_stack(tensors):
    """The tensors side by side, vectors as columns."""
    return cat([each if each.array.ndim > 1 else reshape(each, (-1, 1)) for each in tensors], 1)


@export("Tensor.repeat")
def repeat(self, *repeats):
    """The tensor repeated so many times along each dimension; more numbers than dimensions make new ones in front."""
    if not repeats:
        raise TypeError('repeat() missing 1 required positional arguments: "repeats"')
    repeats = as_sizes(repeats)
    shape = self.array.shape
    if len(repeats) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(repeats) - len(shape)) + shape
    apart = reshape(self, [size for each in shape for size in (1, each)])
    whole = apart.expand([size for pair in zip(repeats, shape, strict=True) for size in pair])
    joined = [times * size for times, size in zip(repeats, shape, strict=True)]
    return whole.clone(memory_format=contiguous_format).view(joined)


@export("tile", "Tensor.tile")
def tile(input, *dims):
    """The tensor repeated along its last dimensions."""
    dims = as_sizes(dims)
    return repeat(input, (1,) * (input.array.ndim - len(dims)) + dims)


@export("repeat_interleave", "Tensor.repeat_interleave")
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each index of `dim` repeated in place, all as often or each by its own number."""
    if repeats is None:
        return Index.apply(creation.arange(len(input), device=input.device), (0,), _repeated(input.tolist(), input))
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    elif not input.array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, input.array.ndim)
    shape = input.array.shape
    if isinstance(repeats, Variable) and repeats.array.size == 1:
        repeats = repeats.item()
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        apart = Unsqueeze.apply(input, dim + 1).expand((*shape[: dim + 1], repeats, *shape[dim + 1 :]))
        joined = (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :])
        return apart.clone(memory_format=contiguous_format).view(joined)
    counts = repeats.tolist()
    if output_size is not None and output_size != sum(counts):
        raise RuntimeError("allocated size does not match required size")
    if len(counts) != shape[dim]:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and "
            f"input.size({dim}) = {shape[dim]}"
        )
    return Index.apply(input, (dim,), _repeated(counts, input))


def _repeated(counts, like):
    return creation.tensor(np.repeat(np.arange(len(counts)), counts), device=like.device)


@export("rot90", "Tensor.rot90")
def rot90(input, k=1, dims=(0, 1)):
    """The tensor turned by 90 degrees, `k` times, from the first of two dimensions towards the second."""
    ndim, dims = input.array.ndim, as_sizes((dims,))
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == ndim:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    first, second = (wrap_dim(dim, ndim) for dim in dims)
    turns = k % 4
    if turns == 1:
        return Flip.apply(input, (second,)).transpose(first, second)
    if turns == 2:
        return Flip.apply(input, (first, second))
    return Flip.apply(input, (first,)).transpose(first, second) if turns == 3 else input.clone()


@export("fliplr", "Tensor.fliplr")
def fliplr(input):
    """Dimension 1 reversed."""
    if input.array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return Flip.apply(input, (1,))


@export("flipud", "Tensor.flipud")
def flipud(input):
    """Dimension 0 reversed."""
    if not input.array.ndim:
        raise RuntimeError("Input must be >= 1-d.")
    return Flip.apply(input, (0,))
