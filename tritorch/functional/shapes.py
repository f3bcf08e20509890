"""Shapes: views that are composed of view ops, and parts of tensors."""

from __future__ import annotations

import math
import warnings

from tritorch.autograd.inplace import alias, bump
from tritorch.autograd.variable import Variable
from tritorch.ops.base import TABLE, Op, export
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.shape.strided_views import AsStrided
from tritorch.ops.shape.views import (
    Expand,
    Permute,
    Slice,
    Squeeze,
    T,
    Transpose,
    Unsqueeze,
    alias_view,
    permute,
    reshape,
)
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
    if not shape:
        raise RuntimeError(f"unflatten: dimension specified as {dim} but tensor has no dimensions")
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
    source, destination = as_sizes((source,)), as_sizes((destination,))
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number "
            f"of dims as destination ({list(destination)} dims)"
        )
    for name, dims in (("source", source), ("destination", destination)):
        if len(set(dims)) < len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    source, destination = wrap_dims(source, ndim), wrap_dims(destination, ndim)
    placed = dict(zip(destination, source, strict=True))
    rest = iter([dim for dim in range(ndim) if dim not in source])
    return Permute.apply(input, tuple([placed[dim] if dim in placed else next(rest) for dim in range(ndim)]))


@export("adjoint", "Tensor.adjoint")
def adjoint(input):
    """The last two dimensions swapped."""
    return Transpose.function()(input, -2, -1)


def _reversed(self):
    if self.array.ndim != 2:
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it will "
            "throw an error in a future release. Consider `x.mT` to transpose batches of matrices or "
            "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor."
            if self.array.ndim
            else "Tensor.T is deprecated on 0-D tensors. This function is the identity in these cases.",
            stacklevel=2,
        )
    return permute(self, tuple(range(self.array.ndim - 1, -1, -1)))


def _matrix_transpose(self):
    if not self.array.ndim:
        return alias_view(self)
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
    common = ()
    for index, each in enumerate(as_sizes((shape,)) for shape in shapes):
        for place in range(-len(each), 0):
            length = common[place] if -place <= len(common) else 1
            if each[place] not in (1, length) and length != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {each[place]} at {place}! Mismatching argument at "
                    f"index {index} had {shapes[index]}; but expected shape should be broadcastable to {list(common)}"
                )
        common = broadcast_shape("broadcast_shapes", common, each)
    return Size(common)


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
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
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


def _become(tensor, view):
    """Make a tensor what a view of it is: the same memory under another shape, with the view's history."""
    tensor.array = view.array
    tensor.node, tensor.slot, tensor.requires = view.node, view.slot, view.requires
    if tensor.view_of is not None:
        tensor.view_of = view.view_of
    bump(tensor)
    return tensor


def _in_place(name, function):
    def method(self, *args, **kwargs):
        before = alias(self)
        before.view_of = self.view_of
        return _become(self, function(before, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form: {function.__doc__}"
    return export(f"Tensor.{name}")(method)


_resizing: tuple[type[Op], ...] = (Squeeze, Unsqueeze, Transpose, T)
for _op in _resizing:
    _in_place(f"{_op.op_name}_", _op.function())
for _name in ("swapaxes_", "swapdims_"):
    _in_place(_name, Transpose.function())
export("as_strided_")(_in_place("as_strided_", AsStrided.function()))
