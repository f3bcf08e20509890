"""Tensors joined, repeated, reversed and rolled: compositions of views, copies and `cat`."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import export
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.index.indexing import Index
from tritorch.ops.shape.joining import Cat
from tritorch.ops.shape.views import Unsqueeze, reshape

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


@export("hstack")
def hstack(tensors):
    """The tensors side by side: along dimension 1, vectors along 0."""
    tensors = [_with_dims(each, 1) for each in tensors]
    return cat(tensors, 0 if tensors and tensors[0].array.ndim == 1 else 1)


@export("vstack", "row_stack")
def vstack(tensors):
    """The tensors on top of each other, vectors as rows."""
    return cat([_with_dims(each, 2) for each in tensors], 0)


@export("dstack")
def dstack(tensors):
    """The tensors behind each other, along dimension 2."""
    return cat([_with_dims(each, 3) for each in tensors], 2)


@export("column_stack")
def column_stack(tensors):
    """The tensors side by side, vectors as columns."""
    return cat([each if each.array.ndim > 1 else reshape(each, (-1, 1)) for each in tensors], 1)


@export("Tensor.repeat")
def repeat(self, *repeats):
    """The tensor repeated so many times along each dimension; more numbers than dimensions make new ones in front."""
    repeats = as_sizes(repeats)
    shape = self.array.shape
    if len(repeats) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(repeats) - len(shape)) + shape
    apart = reshape(self, [size for each in shape for size in (1, each)])
    whole = apart.expand([size for pair in zip(repeats, shape, strict=True) for size in pair])
    return whole.clone().view([times * size for times, size in zip(repeats, shape, strict=True)])


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
    dim = wrap_dim(dim, input.array.ndim)
    shape = input.array.shape
    if isinstance(repeats, Variable) and repeats.array.size == 1:
        repeats = repeats.item()
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        apart = Unsqueeze.apply(input, dim + 1).expand((*shape[: dim + 1], repeats, *shape[dim + 1 :]))
        return apart.clone().view((*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))
    counts = repeats.tolist()
    if len(counts) != shape[dim]:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and "
            f"input.size({dim}) = {shape[dim]}"
        )
    return Index.apply(input, (dim,), _repeated(counts, input))


def _repeated(counts, like):
    return creation.tensor(np.repeat(np.arange(len(counts)), counts), device=like.device)


@export("flip", "Tensor.flip")
def flip(input, *dims, **named):
    """The tensor with the order of the given dimensions reversed, as a copy."""
    dims = wrap_dims(as_sizes((named["dims"],) if named else dims), input.array.ndim)
    for dim in dims:
        size = input.array.shape[dim]
        input = Index.apply(input, (dim,), creation.arange(size - 1, -1, -1, device=input.device))
    return input if dims else input.clone()


@export("fliplr", "Tensor.fliplr")
def fliplr(input):
    """Dimension 1 reversed."""
    return flip(input, 1)


@export("flipud", "Tensor.flipud")
def flipud(input):
    """Dimension 0 reversed."""
    return flip(input, 0)


@export("roll", "Tensor.roll")
def roll(input, shifts, dims=None):
    """The indices of dimensions shifted, those that fall off the end coming back at the start."""
    if dims is None:
        return roll(reshape(input, (-1,)), shifts, 0).view(input.array.shape)
    shifts = as_sizes((shifts,)) if isinstance(shifts, (tuple, list)) else (shifts,)
    dims = as_sizes((dims,)) if isinstance(dims, (tuple, list)) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    for shift, dim in zip(shifts, dims, strict=True):
        dim = wrap_dim(dim, input.array.ndim)
        size = input.array.shape[dim]
        cut = size - shift % size if size else 0
        input = cat([input.narrow(dim, cut, size - cut), input.narrow(dim, 0, cut)], dim)
    return input


@export("meshgrid")
def meshgrid(*tensors, indexing="ij"):
    """Each vector expanded over the grid of all."""
    tensors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    sizes = [each.array.size for each in tensors]
    swap = indexing == "xy" and len(tensors) > 1
    places = [1, 0, *range(2, len(tensors))] if swap else range(len(tensors))
    shape = [sizes[place] for place in places]
    found = []
    for place, each in zip(places, tensors, strict=True):
        own = [1] * len(tensors)
        own[place] = each.array.size
        found.append(reshape(each, own).expand(shape))
    return tuple(found)
