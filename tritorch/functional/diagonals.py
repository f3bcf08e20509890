"""Diagonals of matrices, matrices of diagonals, the indices of triangles; and tensors with one view replaced."""

from __future__ import annotations

from tritorch import creation
from tritorch.ops.autocast import Policy, float32, untouched
from tritorch.ops.base import TABLE, export
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.outputs import takes_out
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.strided_views import AsStrided, Diagonal, Placed, ViewScatter
from tritorch.ops.shape.views import Select, Slice, reshape
from tritorch.runtime import dtypes


@export("diag_embed", "Tensor.diag_embed")
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices, in the dimensions `dim1` and `dim2`, with the last dimension of `input` along a diagonal."""
    shape = input.array.shape
    first, second = wrap_dim(dim1, len(shape) + 1), wrap_dim(dim2, len(shape) + 1)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size, rest = shape[-1] + abs(offset), iter(shape[:-1])
    whole = tuple([size if dim in (first, second) else next(rest) for dim in range(len(shape) + 1)])
    return Placed.apply(input, whole, Diagonal, (offset, first, second))


@export("diag", "Tensor.diag")
@takes_out
def diag(input, diagonal=0):
    """The matrix with a vector along a diagonal, or a diagonal of a matrix."""
    ndim = input.array.ndim
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return diag_embed(input, diagonal) if ndim == 1 else Diagonal.call(input, diagonal).clone()


@export("diagflat", "Tensor.diagflat")
def diagflat(input, offset=0):
    """The matrix with all elements of `input` along a diagonal."""
    return diag_embed(reshape(input, (-1,)), offset)


@export("trace", "Tensor.trace", autocast=Policy(cpu=float32, gpu=untouched))
def trace(input):
    """The sum of the diagonal of a matrix."""
    if input.array.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.array.ndim}")
    if input.array.dtype.kind == "b":
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return Diagonal.call(input).sum()


def _indices(name, upper):
    def function(row, col, offset=0, *, dtype=None, device=None, layout=None):
        for side, size in (("row", row), ("col", col)):
            if size < 0:
                raise RuntimeError(f"{side} must be non-negative, got {size}")
        if dtype is not None and (dtype.is_floating_point or dtype is dtypes.bool_):
            raise NotImplementedError(f"\"{name}\" not implemented for '{KIND_NAMES[dtype.name]}'")
        right = creation.arange(col, device=device) - creation.arange(row, device=device).unsqueeze(1)
        found = TABLE["nonzero"].apply(right >= offset if upper else right <= offset)
        return found if dtype is None else found.to(dtype)

    function.__name__ = name
    function.__doc__ = f"The rows and columns of a matrix's {'upper' if upper else 'lower'} triangle, in order."
    export(name)(function)


_indices("tril_indices", False)
_indices("triu_indices", True)


# ---------------------------------------------------------------- one view replaced


def _replaced(op, input, src, view, *rest):
    shape = view.apply(input.detach(), *rest).array.shape
    if src.array.shape != shape:
        raise RuntimeError(
            f"{op}: expected src to have a size equal to the slice of self. src size = {list(src.array.shape)}, slice "
            f"size = {list(shape)}"
        )
    return ViewScatter.apply(input, src, view, rest)


@export("diagonal_scatter", "Tensor.diagonal_scatter")
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy of `input` with `src` along a diagonal."""
    Diagonal.call(input.detach(), offset, dim1, dim2)
    dims = [wrap_dim(dim, input.array.ndim) for dim in (dim1, dim2)]
    return _replaced("diagonal_scatter", input, src, Diagonal, offset, *dims)


@export("select_scatter", "Tensor.select_scatter")
def select_scatter(input, src, dim, index):
    """A copy of `input` with `src` at one index of dimension `dim`."""
    Select.call(input.detach(), dim, index)
    key = (*(slice(None),) * wrap_dim(dim, input.array.ndim), index, ...)
    return _replaced("select_scatter", input, src, Select, key)


@export("slice_scatter", "Tensor.slice_scatter")
@takes_out
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy of `input` with `src` at the indices start, start + step, ... below `end` of dimension `dim`."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    key = (*(slice(None),) * wrap_dim(dim, input.array.ndim), slice(start, end, step), ...)
    return _replaced("slice_scatter", input, src, Slice, key)


@export("as_strided_scatter", "Tensor.as_strided_scatter")
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """A copy of `input` with `src` at the places of a view by strides."""
    copied = input.contiguous()
    where = AsStrided.call(copied.detach(), size, stride, storage_offset).view_of.rest
    return _replaced("as_strided_scatter", copied, src, AsStrided, *where)
