"""Shapes: views that are composed of view ops, and parts of tensors."""

from __future__ import annotations

import itertools
import math

from tritorch.autograd.inplace import alias, bump
from tritorch.autograd.variable import Variable
from tritorch.ops.base import TABLE, Op, export
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.shape.views import Expand, Permute, Slice, Squeeze, T, Transpose, Unsqueeze, permute, reshape
from tritorch.tensor import Size


@export("Tensor.view_as")
def view_as(self, other):
    """The tensor viewed under the shape of `other`."""
    return self.view(other.array.shape)


@export("Tensor.reshape_as")
def reshape_as(self, other):
    """The tensor under the shape of `other`."""
    return reshape(self, other.array.shape)


@export("flatten", "Tensor.flatten")
def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions from `start_dim` to `end_dim`, both included, as one."""
    shape = input.array.shape
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    if start == end:
        return input
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@export("ravel", "Tensor.ravel")
def ravel(input):
    """All elements in one dimension."""
    return reshape(input, (-1,))


@export("unflatten", "Tensor.unflatten")
def unflatten(input, dim, sizes):
    """Dimension `dim` split into several of `sizes`, one of which may be -1."""
    shape = input.array.shape
    dim = wrap_dim(dim, len(shape))
    sizes = as_sizes((sizes,))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known and shape[dim] % known == 0:
        sizes = tuple([shape[dim] // known if size == -1 else size for size in sizes])
    if math.prod(sizes) != shape[dim] or min(sizes) < 0:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[dim]}) in the "
            "input tensor"
        )
    return reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


@export("movedim", "moveaxis", "Tensor.movedim", "Tensor.moveaxis")
def movedim(input, source, destination):
    """The dimensions `source` at the places `destination`; the others keep their order."""
    ndim = input.array.ndim
    source, destination = wrap_dims(source, ndim), wrap_dims(destination, ndim)
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number "
            f"of dims as destination ({list(destination)} dims)"
        )
    placed = dict(zip(destination, source, strict=True))
    rest = iter([dim for dim in range(ndim) if dim not in source])
    return Permute.apply(input, tuple([placed[dim] if dim in placed else next(rest) for dim in range(ndim)]))


@export("adjoint", "Tensor.adjoint")
def adjoint(input):
    """The last two dimensions swapped."""
    return Transpose.function()(input, -2, -1)


def _reversed(self):
    return permute(self, tuple(range(self.array.ndim - 1, -1, -1)))


def _matrix_transpose(self):
    if self.array.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {self.array.ndim}-D tensor."
        )
    return adjoint(self)


def _of_matrix(self):
    if self.array.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.array.ndim}-D tensor.")
    return T.apply(self)


export("Tensor.T")(property(_reversed, doc="The view with its dimensions reversed."))
export("Tensor.mT", "Tensor.mH")(property(_matrix_transpose, doc="The view with its last two dimensions swapped."))
export("Tensor.H")(property(_of_matrix, doc="The transpose of a matrix."))


@export("Tensor.expand_as")
def expand_as(self, other):
    """The tensor expanded to the shape of `other`."""
    return self.expand(other.array.shape)


@export("broadcast_to", "Tensor.broadcast_to")
def broadcast_to(input, *size):
    """The tensor expanded to `size`."""
    return Expand.apply(input, Expand.resolve(as_sizes(size), input.array.shape))


@export("broadcast_shapes")
def broadcast_shapes(*shapes):
    """The shape that `shapes` broadcast to."""
    return Size(broadcast_shape("broadcast_shapes", *[as_sizes((each,)) for each in shapes]))


@export("broadcast_tensors")
def broadcast_tensors(*tensors):
    """All tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    shape = broadcast_shape("broadcast_tensors", *[each.array.shape for each in tensors])
    return tuple([Expand.apply(each, shape) for each in tensors])


def slice_dim(input, dim, start, stop, step=1):
    """The view of indices start, start + step, ... below `stop` of a dimension."""
    return Slice.apply(input, (*(slice(None),) * dim, slice(start, stop, step), ...))


@export("narrow", "Tensor.narrow")
def narrow(input, dim, start, length):
    """The `length` indices of dimension `dim` from `start` on."""
    shape = input.array.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Variable) and (start.array.ndim or start.array.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    dim, start, length = wrap_dim(dim, len(shape)), int(start), int(length)
    size = shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size}], but got {start})")
    start = start + size if start < 0 else start
    if start > size - length:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return slice_dim(input, dim, start, start + length)


@export("unbind", "Tensor.unbind")
def unbind(input, dim=0):
    """The tensor's slices along `dim`, without it."""
    shape = input.array.shape
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, len(shape))
    before = (slice(None),) * dim
    select = TABLE["select"].apply
    return tuple([select(input, (*before, index, ...)) for index in range(shape[dim])])


@export("split", "Tensor.split")
def split(tensor, split_size_or_sections=None, dim=0, *, split_size=None):
    """Parts of `split_size` indices (the last may be smaller), or of the sizes in a list."""
    sizes = split_size_or_sections if split_size is None else split_size
    shape = tensor.array.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, len(shape))
    if isinstance(sizes, (tuple, list)):
        return split_with_sizes(tensor, sizes, dim)
    sizes = int(sizes)
    if sizes < 0 or (sizes == 0 and shape[dim]):
        raise RuntimeError(
            f"split expects split_size be non-negative, but got split_size={sizes}" if sizes < 0
            else f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[dim]}"
        )  # fmt: skip
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
        cuts = cuts.tolist()
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        small, larger = divmod(size, cuts)
        cuts = [part * small + min(part, larger) for part in range(1, cuts)]
    edges = [0, *cuts, size]
    return tuple([slice_dim(input, dim, first, last) for first, last in itertools.pairwise(edges)])


def _become(tensor, view):
    """Make a tensor what a view of it is: the same memory under another shape, with the view's history."""
    tensor.array = view.array
    tensor.node, tensor.slot, tensor.requires = view.node, view.slot, view.requires
    bump(tensor)
    return tensor


def _in_place(name, function):
    def method(self, *args, **kwargs):
        return _become(self, function(alias(self), *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form: {function.__doc__}"
    export(f"Tensor.{name}")(method)


_resizing: tuple[type[Op], ...] = (Squeeze, Unsqueeze, Transpose, T)
for _op in _resizing:
    _in_place(f"{_op.op_name}_", _op.function())
