"""Indexing by name: what is composed of the ops that pick and place elements."""

from __future__ import annotations

import tritorch.indexing as indexing
from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.functional.shapes import broadcast_tensors
from tritorch.ops.base import TABLE, export, write_out
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.index.gathering import Scatter, at_least_one, check_index
from tritorch.ops.index.indexing import Index, IndexPut, pick
from tritorch.ops.shape.views import reshape
from tritorch.runtime import dtypes


@export("nonzero", "Tensor.nonzero")
def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not zero: one row for each, or a tensor for each dimension."""
    if as_tuple:
        found = TABLE["nonzero"].apply(at_least_one(input))
        return tuple([found[dim] for dim in range(found.array.shape[0])])
    return TABLE["nonzero"].apply(input).t()


@export("argwhere", "Tensor.argwhere")
def argwhere(input):
    """The positions of the elements that are not zero, one row for each."""
    return nonzero(input)


@export("masked_select", "Tensor.masked_select")
def masked_select(input, mask, *, out=None):
    """The elements where `mask` is True, in one dimension."""
    if mask.array.dtype.kind != "b":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    if input.array.shape != mask.array.shape:
        input, mask = broadcast_tensors(input, mask)
    found = input[mask]
    return found if out is None else write_out(out, found)


@export("index_select", "Tensor.index_select")
def index_select(input, dim, index, *, out=None):
    """The indices `index`, a vector, of dimension `dim`."""
    found = _selected(input, dim, index)
    return found if out is None else write_out(out, found)


def _selected(input, dim, index):
    dim = wrap_dim(dim, input.array.ndim)
    if index.array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.array.dtype.name not in ("int64", "int32"):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if not input.array.ndim:
        if index.array.size != 1:
            raise IndexError("index_select(): Index to scalar can have only 1 value, got 0 or more")
        input = input.reshape(1)
        _check_range(input, 0, index, "index out of range in self")
        return Index.apply(input, (0,), index.reshape(-1)).reshape(())
    _check_range(input, dim, index, "index out of range in self")
    return Index.apply(input, (dim,), at_least_one(index))


def _check_range(input, dim, index, text):
    if not input.device.is_cuda:
        array, size = index.array, input.array.shape[dim]
        if array.size and not 0 <= array.min() <= array.max() < size:
            raise IndexError(text)


@export("take", "Tensor.take")
def take(input, index):
    """The elements at positions counted through the whole tensor."""
    flat = reshape(input, (-1,))
    if not input.device.is_cuda:
        array, size = index.array, flat.array.shape[0]
        if array.size and not -size <= array.min() <= array.max() < size:
            wrong = array[(array < -size) | (array >= size)].reshape(-1)[0]
            raise IndexError(f"out of range: tried to access index {wrong} on a tensor of {size} elements.")
    return Index.apply(flat, (0,), index)


@export("take_along_dim", "Tensor.take_along_dim")
def take_along_dim(input, indices, dim=None):
    """gather along `dim` with the other dimensions broadcast; without `dim`, of all elements in one dimension."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    dim = wrap_dim(dim, input.array.ndim)
    shapes = [[1 if at == dim else size for at, size in enumerate(each.array.shape)] for each in (input, indices)]
    common = [max(sizes) if 0 not in sizes else 0 for sizes in zip(*shapes, strict=True)]
    whole = [(*common[:dim], each.array.shape[dim], *common[dim + 1 :]) for each in (input, indices)]
    return input.expand(whole[0]).gather(dim, indices.expand(whole[1]))


# ---------------------------------------------------------------- placing


@export("index_put", "Tensor.index_put")
def index_put(input, indices, values, accumulate=False):
    """The tensor with `values` written, or added, at positions given by a tuple of tensors and masks."""
    _, advanced = indexing.parse(input, tuple(indices))
    if len(advanced) != len(indices):
        raise IndexError("index_put(): indices must be tensors of positions or masks")
    dims, found = indexing.resolve(input, advanced)
    shape = pick(input.array, dims, [each.array for each in found]).shape
    return IndexPut.apply(input, indexing.puttable(values, input, shape), accumulate, dims, *found)


def _put_rows(op, input, dim, index, source, accumulate):
    dim = wrap_dim(dim, input.array.ndim)
    if index.array.ndim > 1:
        raise IndexError(f"{op}(): Index is supposed to be a vector, but got dim: {index.array.ndim}")
    if isinstance(source, Variable) and source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"{op}(): self and source expected to have the same dtype, but got (self) {input.dtype.name} and (source) "
            f"{source.dtype.name}"
        )
    rows = at_least_one(input)
    _check_range(rows, dim, index, "index out of range in self")
    shape = rows.array.shape
    wanted, index = (*shape[:dim], index.array.size, *shape[dim + 1 :]), at_least_one(index)
    if op != "index_fill" and at_least_one(source).array.shape != wanted:
        raise RuntimeError(
            f"{op}(): source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(input.array.shape)} source.shape = {list(source.array.shape)}"
        )
    made = IndexPut.apply(rows, source, accumulate, (dim,), index)
    return made if input.array.ndim else made.reshape(())


@export("index_add", "Tensor.index_add")
def index_add(input, dim, index, source, *, alpha=1, out=None):
    """The tensor with alpha * source added at the indices `index` of dimension `dim`."""
    made = _put_rows("index_add", input, dim, index, source if alpha == 1 else source * alpha, True)
    return made if out is None else write_out(out, made)


@export("index_copy", "Tensor.index_copy")
def index_copy(input, dim, index, source):
    """The tensor with `source` written at the indices `index` of dimension `dim`."""
    return _put_rows("index_copy", input, dim, index, source, False)


@export("index_fill", "Tensor.index_fill")
def index_fill(input, dim, index, value):
    """The tensor with one value at the indices `index` of dimension `dim`."""
    return _put_rows("index_fill", input, dim, index, _number(value, input), False)


def _number(value, like):
    return value if isinstance(value, Variable) else creation.tensor(value, dtype=like.dtype, device=like.device)


@export("scatter", "Tensor.scatter")
def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """The tensor with `src`, or one value, written at `index` along `dim`; with reduce="add", added."""
    if reduce not in (None, "add"):
        raise NotImplementedError(f"scatter(): reduce={reduce!r} is not supported; it takes None and 'add'")
    return _scatter("scatter", input, dim, index, value if src is None else src, reduce == "add")


@export("scatter_add", "Tensor.scatter_add")
def scatter_add(input, dim, index, src):
    """The tensor with `src` added at `index` along `dim`; repeated positions add up."""
    return _scatter("scatter_add", input, dim, index, src, True)


def _scatter(op, input, dim, index, src, accumulate):
    dim = wrap_dim(dim, input.array.ndim)
    src = _number(src, input)
    if not index.array.size:  # of any dtype and rank
        return input.clone()
    if src.array.dtype != input.array.dtype:
        raise RuntimeError(f"{op}(): Expected self.dtype to be equal to src.dtype")
    if not input.array.ndim:
        done = Scatter.apply(input.reshape(1), 0, accumulate, at_least_one(index), at_least_one(src))
        return done.reshape(())
    limits = {"self": (input.array.shape, False)}
    if src.array.ndim:
        limits["src"] = (src.array.shape, True)
    check_index(op, dim, index, **limits)
    return Scatter.apply(input, dim, accumulate, index, src)


# ---------------------------------------------------------------- tables


@export("nn.functional.one_hot")
def one_hot(tensor, num_classes=-1):
    """Zeros with a one at each class number, in a new last dimension."""
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype.name}.")
    if tensor.array.size:
        if int(tensor.min().item()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        largest = int(tensor.max().item())
        if num_classes >= 0 and largest >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    elif num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    classes = largest + 1 if num_classes < 0 else num_classes
    zeros = tensor.new_zeros((*tensor.array.shape, classes))
    return zeros.scatter(-1, tensor.unsqueeze(-1), value=1)
