"""Elements placed, added and combined by index: index_put and the scatter and index_* families."""

from __future__ import annotations

import numpy as np

import tritorch.indexing as indexing
from tritorch import creation
from tritorch.autograd.inplace import apply_inplace
from tritorch.autograd.variable import Variable
from tritorch.functional.indexing import check_places, check_positions
from tritorch.functional.shapes import broadcast_tensors
from tritorch.ops.autocast import WIDEST_ON_CPUS, WIDEST_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.batching import by_example
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.index.gathering import Scatter, at_least_one, check_index
from tritorch.ops.index.indexing import IndexPut, pick
from tritorch.ops.index.scatter_reductions import ScatterAmax, ScatterAmin, ScatterProd
from tritorch.ops.outputs import refuse_repeated, refuse_shared, takes_out, tensors_in
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.views import reshape
from tritorch.runtime import dtypes


@export("index_put", "Tensor.index_put", autocast=WIDEST_ON_GPUS)
def index_put(input, indices, values, accumulate=False):
    """The tensor with `values` written, or added, at positions given by a tuple of tensors and masks."""
    _, advanced = indexing.parse(input, tuple(indices))
    if len(advanced) != len(indices):
        raise IndexError("index_put(): indices must be tensors of positions or masks")
    dims, found = indexing.resolve(input, advanced)
    shape = pick(input.array, dims, [each.array for each in found]).shape
    return IndexPut.apply(input, indexing.puttable(values, input, shape), accumulate, dims, *found)


@export("put", "Tensor.put")
def put(input, index, source, accumulate=False):
    """The tensor with `source` written, or added, at positions counted through the whole tensor."""
    check_places("put_", input, index)
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {_kind(input)} and "
            f"source.dtype = {_kind(source)}"
        )
    if source.array.size != index.array.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.array.size}, index.numel() = {index.array.size}"
        )
    values, index = reshape(source, (-1,)), reshape(index, (-1,))
    return IndexPut.apply(reshape(input, (-1,)), values, accumulate, (0,), index).view(input.array.shape)


def _kind(tensor):
    return KIND_NAMES[tensor.array.dtype.name]


@export("masked_scatter", "Tensor.masked_scatter")
@by_example
def masked_scatter(input, mask, source):
    """The tensor with the elements of `source`, in order, where `mask` is True."""
    if mask.array.dtype.kind != "b":
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {_kind(mask)}")
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {_kind(input)} and {_kind(source)}"
        )
    if mask.array.shape != input.array.shape:
        input, mask = broadcast_tensors(input, mask)
    found = TABLE["nonzero"].apply(at_least_one(mask))
    rows, count = found.array.shape
    if count > source.array.size:
        raise RuntimeError("masked_scatter: expected number of elements of source >= number of ones in mask")
    values = reshape(source, (-1,))[:count]
    positions = [found[row] for row in range(rows)]
    made = IndexPut.apply(at_least_one(input), values, False, tuple(range(rows)), *positions)
    return made if input.array.ndim else made.reshape(())


# ---------------------------------------------------------------- along one dimension, by a vector


def _check_rows(op, input, dim, index, source, misfit=RuntimeError):
    """Refuse what index_add, index_copy and index_reduce refuse, in their words; `misfit` is for wrong numbers."""
    if index.array.ndim > 1:
        raise IndexError(
            f"{op}(): Index is supposed to be a vector, but got dim: {index.array.ndim} with type: {_kind(index)} and "
            f"size: {list(index.array.shape)}"
        )
    if index.array.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{op}(): Expected dtype int32/int64 for index but got: {_kind(index)}")
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"{op}(): self and source expected to have the same dtype, but got (self) {_kind(input)} and (source) "
            f"{_kind(source)}"
        )
    rows, own = at_least_one(source).array.shape, at_least_one(input).array.shape
    if len(rows) == len(own) and rows[dim] != index.array.size:
        raise misfit(
            f"{op}(): Number of indices ({index.array.size}) should be equal to source.size(dim): ({rows[dim]}), for "
            f"dim: {dim}"
        )
    if len(rows) != len(own) or any(a != b for at, (a, b) in enumerate(zip(rows, own, strict=True)) if at != dim):
        raise (RuntimeError if len(rows) == len(own) else misfit)(
            f"{op}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got "
            f"self.shape = {list(input.array.shape)} source.shape = {list(source.array.shape)}"
        )
    check_positions(at_least_one(input), dim, index, "index out of range in self")


def _put_rows(input, dim, index, source, accumulate):
    made = IndexPut.apply(at_least_one(input), source, accumulate, (dim,), at_least_one(index))
    return made if input.array.ndim else made.reshape(())


def index_add(input, dim, index, source, *, alpha=1):
    """The tensor with alpha * source added at the indices `index` of dimension `dim`."""
    dim = wrap_dim(dim, input.array.ndim)
    _check_rows("index_add_", input, dim, index, source)
    if alpha != 1:
        source = (source * alpha).to(source.dtype)
    return _put_rows(input, dim, index, source, True)


def index_copy(input, dim, index, source):
    """The tensor with `source` written at the indices `index` of dimension `dim`."""
    dim = wrap_dim(dim, input.array.ndim)
    _check_rows("index_copy_", input, dim, index, source, IndexError)
    return _put_rows(input, dim, index, source, False)


def index_fill(input, dim, index, value):
    """The tensor with one value at the indices `index` of dimension `dim`; negative ones count from the end."""
    dim = wrap_dim(dim, input.array.ndim)
    if index.array.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if index.array.dtype.name != "int64":
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if isinstance(value, Variable) and value.array.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.array.ndim} dimension(s)."
        )
    if not input.array.size:
        return input.clone()
    if not input.device.is_cuda:
        indexing.check_bounds(at_least_one(input).array.shape, (dim,), (index,))
    rows = at_least_one(input)
    size, ndim = rows.array.shape[dim], rows.array.ndim
    chosen = index.new_zeros(size, dtype=dtypes.bool_)
    chosen = IndexPut.apply(chosen, _number(True, chosen), False, (0,), at_least_one(index))
    made = rows.masked_fill(chosen.reshape((*(1,) * dim, size, *(1,) * (ndim - dim - 1))), value)
    return made if input.array.ndim else made.reshape(())


def _number(value, like):
    if isinstance(value, Variable):
        return value.to(like.device, like.dtype)
    return creation.tensor(value, dtype=like.dtype, device=like.device)


def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """The rows of `source` combined ("prod", "mean", "amax" or "amin") with those at `index` of dimension `dim`."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    dim = wrap_dim(dim, input.array.ndim)
    _check_rows("index_reduce_", input, dim, index, source)
    rows, own = at_least_one(source), _with_one(input)
    where = index.reshape((*(1,) * dim, -1, *(1,) * (rows.array.ndim - dim - 1))).expand(rows.array.shape)
    made = _REDUCTIONS[reduce](own, dim, where, rows, include_self)
    return made if input.array.ndim else made.reshape(())


def _with_one(input):
    """As at_least_one, in memory that an in-place form does not write over while a gradient needs it."""
    return input if input.array.ndim else input.clone().reshape(1)


# ---------------------------------------------------------------- along one dimension, each element at its own place


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """The tensor with `src`, or one value, written at `index` along `dim`; added or multiplied by `reduce`."""
    if reduce not in _WRITES:
        raise RuntimeError("reduce argument must be either add or multiply.")
    src = value if src is None else src
    return _scatter(input, dim, index, src if isinstance(src, Variable) else _number(src, input), _WRITES[reduce])


def scatter_add(input, dim, index, src):
    """The tensor with `src` added at `index` along `dim`; repeated positions add up."""
    return _scatter(input, dim, index, src, _added)


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """`src` combined by "sum", "prod", "mean", "amax" or "amin" at `index` along `dim`, with or without the input."""
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    run = _REDUCTIONS[reduce]
    return _scatter(input, dim, index, src, lambda *args: run(*args, include_self))


def _scatter(input, dim, index, src, run):
    """`run` on checked arguments that have dimensions."""
    dim = wrap_dim(dim, input.array.ndim)
    if not index.array.size:  # of any dtype and rank
        return input.clone()
    if src.array.dtype != input.array.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not input.array.ndim:
        return run(_with_one(input), 0, at_least_one(index), at_least_one(src)).reshape(())
    limits = {"self": (input.array.shape, False)}
    if src.array.ndim:
        limits["src"] = (src.array.shape, True)
    check_index("scatter", dim, index, **limits)
    return run(input, dim, index, src)


# ---------------------------------------------------------------- how elements are combined


def _emptied(input, dim, index, value):
    """The input with the neutral `value` at the index, so that it takes no part there."""
    return Scatter.apply(input, dim, False, index, _number(value, input))


def _written(input, dim, index, src):
    return Scatter.apply(input, dim, False, index, src)


def _added(input, dim, index, src, include_self=True):
    return Scatter.apply(input if include_self else _emptied(input, dim, index, 0), dim, True, index, src)


def _multiplied(input, dim, index, src, include_self=True):
    if not src.array.ndim:
        src = src.expand(index.array.shape)
    return ScatterProd.apply(input if include_self else _emptied(input, dim, index, 1), dim, index, src)


def _largest(input, dim, index, src, include_self):
    kept = input if include_self else _emptied(input, dim, index, _least(input.array.dtype))
    return ScatterAmax.apply(kept, dim, index, src)


def _smallest(input, dim, index, src, include_self):
    kept = input if include_self else _emptied(input, dim, index, _most(input.array.dtype))
    return ScatterAmin.apply(kept, dim, index, src)


def _least(dtype):
    return -np.inf if dtype.kind in "fV" else False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _most(dtype):
    return np.inf if dtype.kind in "fV" else True if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _mean(input, dim, index, src, include_self):
    ones = index.new_ones(index.array.shape)
    start = index.new_full(input.array.shape, int(include_self))
    count = Scatter.apply(start, dim, True, index, ones).clamp(min=1)
    total = _added(input, dim, index, src, include_self)
    if input.array.dtype.kind in "iu":
        return total.floor_divide(count.to(total.dtype))
    return (total / count).to(total.dtype)


_WRITES = {None: _written, "add": _added, "multiply": _multiplied}
_REDUCTIONS = {
    "sum": _added, "prod": _multiplied, "mean": _mean, "amax": _largest, "amin": _smallest, "max": _largest,
    "min": _smallest,
}  # fmt: skip


# ---------------------------------------------------------------- with out=, and in place


def _in_place(name, function):
    def method(self, *args, **kwargs):
        refuse_repeated(self)
        refuse_shared(self, tensors_in((*args, *kwargs.values())))
        return apply_inplace(function, name, self, *args, **kwargs)

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In-place form: {function.__doc__}"
    return export(f"Tensor.{name}_")(method)


_CASTS: dict = {index_copy: WIDEST_ON_CPUS, scatter_add: WIDEST_ON_GPUS}
for _function in (index_add, index_copy, index_reduce, scatter, scatter_add, scatter_reduce):
    _name = _function.__name__
    export(_name, f"Tensor.{_name}", autocast=_CASTS.get(_function))(takes_out(_function, over_input=True))
for _function in (index_add, index_copy, index_reduce, scatter, scatter_add, scatter_reduce, put, masked_scatter,
                  index_fill):  # fmt: skip
    _in_place(_function.__name__, _function)
export("index_put_")(_in_place("index_put", index_put))
export("index_fill", "Tensor.index_fill")(index_fill)
