"""Tensors cut into parts along a dimension: views, one after the other."""

from __future__ import annotations

import itertools

from tritorch.autograd.variable import Variable
from tritorch.functional.shapes import slice_dim
from tritorch.ops.base import export
from tritorch.ops.dimensions import as_sizes, wrap_dim
from tritorch.ops.promotion import KIND_NAMES


@export("split", "Tensor.split")
def split(tensor, split_size_or_sections=None, dim=0, *, split_size=None):
    """Parts of `split_size` indices (the last may be smaller), or of the sizes in a list."""
    sizes = split_size_or_sections if split_size is None else split_size
    shape = tensor.array.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if isinstance(sizes, (tuple, list)):
        return split_with_sizes(tensor, sizes, dim)
    sizes = int(sizes)
    if sizes < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={sizes}")
    dim = wrap_dim(dim, len(shape))
    if sizes == 0 and shape[dim]:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[dim]}")
    starts = range(0, shape[dim], sizes) if shape[dim] else (0,)
    return tuple([slice_dim(tensor, dim, start, min(start + sizes, shape[dim])) for start in starts])


@export("split_with_sizes", "Tensor.split_with_sizes")
def split_with_sizes(tensor, split_sizes, dim=0):
    """Parts of the given sizes, which must add up to the dimension's."""
    shape = tensor.array.shape
    dim, sizes = wrap_dim(dim, len(shape)), as_sizes((split_sizes,))
    if min(sizes, default=0) < 0:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(sizes)}"
        )
    if sum(sizes) != shape[dim]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {shape[dim]} (input tensor's size at dimension "
            f"{dim}), but got split_sizes={list(sizes)}"
        )
    parts, start = [], 0
    for size in sizes:
        parts.append(slice_dim(tensor, dim, start, start + size))
        start += size
    return tuple(parts)


@export("chunk", "Tensor.chunk")
def chunk(input, chunks, dim=0):
    """At most `chunks` parts of one size, of which the last may be smaller."""
    shape = input.array.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, len(shape))
    size = -(-shape[dim] // chunks)
    return split(input, size, dim) if size else split_with_sizes(input, (0,) * chunks, dim)


@export("tensor_split", "Tensor.tensor_split")
def tensor_split(input, indices_or_sections=None, dim=0, *, indices=None, sections=None):
    """Parts of nearly one size (the first ones larger by one), or cut at the given indices."""
    cuts = next(each for each in (indices_or_sections, indices, sections) if each is not None)
    shape = input.array.shape
    if not shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = wrap_dim(dim, len(shape))
    size = shape[dim]
    if isinstance(cuts, Variable):
        if cuts.array.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, "
                f"but got a tensor with {cuts.array.ndim} dims"
            )
        if cuts.array.dtype.name != "int64":
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{KIND_NAMES[cuts.array.dtype.name]}"
            )
        cuts = cuts.tolist()
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        small, larger = divmod(size, cuts)
        cuts = [part * small + min(part, larger) for part in range(1, cuts)]
    edges = [0, *cuts, size]
    return tuple([slice_dim(input, dim, first, last) for first, last in itertools.pairwise(edges)])


export("unsafe_split", "Tensor.unsafe_split")(split)
export("unsafe_split_with_sizes", "Tensor.unsafe_split_with_sizes")(split_with_sizes)
export("unsafe_chunk", "Tensor.unsafe_chunk")(chunk)


def _split_along(name, least, dim_of):
    """Make a way to split along one dimension public: `name`, of tensors with `least` dimensions at least."""

    def function(input, indices_or_sections=None, *, indices=None, sections=None):
        cuts = next(each for each in (indices_or_sections, indices, sections) if each is not None)
        ndim = input.array.ndim
        if ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {ndim} "
                "dimensions!"
            )
        dim = dim_of(ndim)
        size = input.array.shape[dim]
        if isinstance(cuts, int) and (cuts <= 0 or size % cuts):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {size} is not "
                f"divisible by the split_size {cuts}!"
            )
        return tensor_split(input, cuts, dim)

    function.__name__ = name
    function.__doc__ = (
        f"The tensor split along dimension {dim_of(least + 1)}, into equal parts or at the given indices."
    )
    export(name, f"Tensor.{name}")(function)


_split_along("hsplit", 1, lambda ndim: 0 if ndim == 1 else 1)
_split_along("vsplit", 2, lambda ndim: 0)
_split_along("dsplit", 3, lambda ndim: 2)
