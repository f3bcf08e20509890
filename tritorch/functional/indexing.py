"""Indexing by name: what is composed of the ops that pick and place elements."""

from __future__ import annotations

from tritorch.functional.shapes import broadcast_tensors
from tritorch.ops.base import TABLE, export
from tritorch.ops.batching import by_example
from tritorch.ops.dimensions import as_sizes, wrap_dim
from tritorch.ops.guard import kind_of
from tritorch.ops.index.gathering import at_least_one
from tritorch.ops.index.indexing import Index
from tritorch.ops.outputs import takes_out
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.views import reshape
from tritorch.runtime import dtypes


@export("nonzero", "Tensor.nonzero", out=True)
def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not zero: one row for each, or a tensor for each dimension."""
    if as_tuple:
        found = TABLE["nonzero"].apply(at_least_one(input))
        return tuple([found[dim] for dim in range(found.array.shape[0])])
    return TABLE["nonzero"].apply(input).t()


@export("nonzero_static", "Tensor.nonzero_static")
@by_example
def nonzero_static(input, *, size, fill_value=-1):
    """The first `size` positions of elements that are not zero; rows that are left over hold `fill_value`."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = nonzero(input)[:size]
    made = found.new_full((size, input.array.ndim), fill_value)
    made[: found.array.shape[0]] = found
    return made


@export("unravel_index")
def unravel_index(indices, shape):
    """The position along each dimension of `shape` of elements counted through it: a tuple of tensors."""
    if indices.array.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    shape = as_sizes((shape,))
    if min(shape, default=0) < 0:
        raise ValueError(f"'shape' cannot have negative values, but got {list(shape)}")
    found = []
    for size in reversed(shape):
        found.append(indices.remainder(size))
        indices = indices.floor_divide(size)
    return tuple(reversed(found))


@export("argwhere", "Tensor.argwhere")
def argwhere(input):
    """The positions of the elements that are not zero, one row for each."""
    return nonzero(input)


@export("masked_select", "Tensor.masked_select")
@takes_out
def masked_select(input, mask):
    """The elements where `mask` is True, in one dimension."""
    if mask.array.dtype.kind != "b":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    if input.array.shape != mask.array.shape:
        mask, input = broadcast_tensors(mask, input)
    return input[mask]


@export("index_select", "Tensor.index_select")
@takes_out
def index_select(input, dim, index):
    """The indices `index`, a vector, of dimension `dim`."""
    dim = wrap_dim(dim, input.array.ndim)
    if index.array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.array.dtype.name not in ("int64", "int32"):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if not input.array.ndim:
        if index.array.size != 1:
            raise IndexError("index_select(): Index to scalar can have only 1 value, got 0 or more")
        input = input.reshape(1)
        check_positions(input, 0, index, "index out of range in self")
        return Index.apply(input, (0,), index.reshape(-1)).reshape(())
    check_positions(input, dim, index, "index out of range in self")
    return Index.apply(input, (dim,), at_least_one(index))


def check_positions(input, dim, index, text):
    """Refuse positions outside of dimension `dim`; an index on a GPU is not waited for."""
    if not input.device.is_cuda:
        array, size = index.on_host(), input.array.shape[dim]
        if array.size and not 0 <= array.min() <= array.max() < size:
            raise IndexError(text)


@export("take", "Tensor.take")
@takes_out
def take(input, index):
    """The elements at positions counted through the whole tensor, negative ones from its end."""
    check_places("take", input, index)
    return Index.apply(reshape(input, (-1,)), (0,), index)


def check_places(op, input, index):
    """Refuse positions, counted through the whole tensor, that are no int64 or outside of it."""
    if index.array.dtype.name != "int64":
        raise RuntimeError(f"{op}(): Expected a long tensor for index, but got {KIND_NAMES[index.array.dtype.name]}")
    size = input.array.size
    if not size and index.array.size:
        raise IndexError(f"{op}(): tried to {op} elements {'from' if op == 'take' else 'into'} an empty tensor")
    if not input.device.is_cuda:
        array = index.on_host()
        if array.size and not -size <= array.min() <= array.max() < size:
            wrong = array[(array < -size) | (array >= size)].reshape(-1)[0]
            raise IndexError(f"out of range: tried to access index {wrong} on a tensor of {size} elements.")


@export("take_along_dim", "Tensor.take_along_dim")
@takes_out
def take_along_dim(input, indices, dim=None):
    """gather along `dim` with the other dimensions broadcast; without `dim`, of all elements in one dimension."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    if not input.array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    ranks = input.array.ndim, indices.array.ndim
    if ranks[0] != ranks[1]:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{ranks[0]} dimensions for input, and {ranks[1]} dimensions for indices"
        )
    dim = wrap_dim(dim, input.array.ndim)
    shapes = [[1 if at == dim else size for at, size in enumerate(each.array.shape)] for each in (input, indices)]
    common = [max(sizes) if 0 not in sizes else 0 for sizes in zip(*shapes, strict=True)]
    whole = [(*common[:dim], each.array.shape[dim], *common[dim + 1 :]) for each in (input, indices)]
    wrapped = indices.remainder(input.array.shape[dim]) if indices.array.size else indices
    return input.expand(whole[0]).gather(dim, wrapped.expand(whole[1]))


# ---------------------------------------------------------------- tables


@export("nn.functional.one_hot")
def one_hot(tensor, num_classes=-1):
    """Zeros with a one at each class number, in a new last dimension."""
    if not hasattr(num_classes, "__index__"):
        raise TypeError(f"one_hot(): argument 'num_classes' (position 2) must be int, not {kind_of(num_classes)}")
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype.name}.")
    if tensor.array.size:
        if int(tensor.on_host().min()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        largest = int(tensor.on_host().max())
        if num_classes >= 0 and largest >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    elif num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    classes = largest + 1 if num_classes < 0 else num_classes
    zeros = tensor.new_zeros((*tensor.array.shape, classes))
    return zeros.scatter(-1, tensor.unsqueeze(-1), value=1)
