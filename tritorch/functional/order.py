"""What is built from sorting: argsort, medians, modes, quantiles."""

from __future__ import annotations

import math

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.functional.shapes import movedim
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import TABLE, export, write_out
from tritorch.ops.batching import by_example
from tritorch.ops.guard import need_tensors
from tritorch.ops.index.gathering import Gather
from tritorch.ops.named_results import returns
from tritorch.ops.reduction.family import dim_of
from tritorch.ops.scan.extremes import Cummax
from tritorch.ops.shape.joining import Cat
from tritorch.ops.sort.order import Sort, with_a_dimension
from tritorch.ops.sort.selection import MedianOfAll, without_bools
from tritorch.runtime import dtypes

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


@export("argsort", "Tensor.argsort")
def argsort(input, dim=-1, descending=False, *, stable=False):
    """The indices that put the elements in order along `dim`; equal ones keep their order."""
    return Sort.call(input, dim, descending)[1]


@export("msort", "Tensor.msort")
def msort(input, *, out=None):
    """The elements in order along the first dimension."""
    found = Sort.call(input, 0)[0]
    return found if out is None else write_out(out, found)


Median = returns("median", "values", "indices")
NanMedian = returns("nanmedian", "values", "indices")
Mode = returns("mode", "values", "indices")


@export("median", "Tensor.median")
def median(input, dim=None, keepdim=False, *, out=None):
    """The lower median of all elements, or along `dim` with its index; NaN where there is one."""
    need_tensors("median", input=input)
    without_bools("median", input)
    if dim is None:
        return _of_all(input)
    found = Median(*_along("median", input, dim, keepdim, _lower_middle))
    return found if out is None else write_out(out, found)


@export("nanmedian", "Tensor.nanmedian")
@by_example
def nanmedian(input, dim=None, keepdim=False, *, out=None):
    """The lower median of what is not NaN: of all elements, or along `dim` with its index."""
    need_tensors("nanmedian", input=input)
    without_bools("median", input)
    if dim is None:
        return _of_all(input[input == input] if input.is_floating_point() else input)
    found = NanMedian(*_along("nanmedian", input, dim, keepdim, _lower_middle_of_numbers))
    return found if out is None else write_out(out, found)


def _of_all(input):
    if input.array.size:
        return MedianOfAll.apply(input, None, False)
    return input.new_full((), math.nan if input.is_floating_point() else -(2**63))


def _lower_middle(nans, size):
    return TABLE["where"].apply(nans > 0, size - nans, (size - 1) // 2)


def _lower_middle_of_numbers(nans, size):
    return ((size - 1) - nans).clamp(min=0) // 2


def _along(op, input, dim, keepdim, place):
    """The element of each row whose place in the order `place` says, and its index."""
    dim = dim_of(op, input, dim)
    if input.array.ndim and input.array.shape[dim] == 0:
        raise IndexError(f"{op}(): Expected reduction dim {dim} to have non-zero size.")

    def choose(rows):
        values, indices = Sort.apply(rows, dim, False)
        at = place((rows != rows).sum(dim, True), rows.array.shape[dim])
        found = Gather.apply(values, dim, at), Gather.apply(indices, dim, at)
        return found if keepdim else tuple(each.squeeze(dim) for each in found)

    return with_a_dimension(choose, input)


def run_starts(values, dim):
    """Whether each element differs from the one before it along `dim`, as the first always does."""
    size = values.array.shape[dim]
    shape = [min(each, 1) if at == dim else each for at, each in enumerate(values.array.shape)]
    first = values.new_ones(shape, dtype=dtypes.bool_)
    if size < 2:
        return first
    return Cat.call((first, values.narrow(dim, 1, size - 1) != values.narrow(dim, 0, size - 1)), dim)


@export("mode", "Tensor.mode")
def mode(input, dim=-1, keepdim=False, *, out=None):
    """The most frequent element along `dim`, the smallest of several, and the last index it is at."""
    dim = dim_of("mode", input, dim)
    if input.array.ndim and input.array.shape[dim] == 0:
        raise IndexError(f"mode(): Expected reduction dim {dim} to have non-zero size.")

    def choose(rows):
        values, indices = Sort.apply(rows.detach(), dim, False)
        size = rows.array.shape[dim]
        places = creation.arange(size, device=rows.device).reshape((-1,) + (1,) * (rows.array.ndim - 1 - dim))
        starts = Cummax.apply(TABLE["where"].apply(run_starts(values, dim), places, 0), dim)[0]
        at = Gather.apply(indices, dim, (places - starts).argmax(dim, True))
        found = Gather.apply(rows, dim, at), at
        return found if keepdim else tuple(each.squeeze(dim) for each in found)

    found = Mode(*with_a_dimension(choose, input))
    return found if out is None else write_out(out, found)


@export("quantile", "Tensor.quantile", autocast=FLOAT32_ON_CPUS)
@by_example
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """What a share `q` of the elements along `dim` is below, between two of them as `interpolation` says."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, out, False)


@export("nanquantile", "Tensor.nanquantile", autocast=FLOAT32_ON_CPUS)
@by_example
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear", out=None):
    """The quantile of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, out, True)


def _quantile(op, input, q, dim, keepdim, interpolation, out, skips):
    need_tensors(op, input=input)
    shares = _shares(op, input, q, interpolation)
    ndim = input.array.ndim
    if dim is None:
        rows, at = input.reshape(-1), 0
    else:
        at = dim_of(op, input, dim)
        rows = movedim(input, at, -1) if ndim else input.reshape(1)
    if not rows.array.size:
        raise RuntimeError(f"{op}() input tensor must be non-empty")
    found = movedim(_between(rows, shares.reshape(-1), interpolation, skips), -1, 0)
    if keepdim and ndim:
        found = found.reshape((found.array.shape[0], *(1,) * ndim)) if dim is None else found.unsqueeze(at + 1)
    if not shares.array.ndim:
        found = found.squeeze(0)
    return found if out is None else write_out(out, found)


def _shares(op, input, q, interpolation):
    """`q` as a tensor like `input`, checked."""
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"{op}() input tensor must be either float or double dtype")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{op}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if not isinstance(q, Variable):
        if not isinstance(q, (int, float)):
            raise TypeError(
                f"{op}() received an invalid combination of arguments - got ({type(q).__name__}), but expected a "
                "number or a Tensor for q"
            )
        if not 0 <= q <= 1:
            raise RuntimeError(f"{op}() q must be in the range [0, 1] but got {q:g}")
        return creation.tensor(q, dtype=input.dtype, device=input.device)
    if q.array.ndim > 1:
        raise RuntimeError(f"{op}() q must be a scalar or 1D tensor")
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{op}() q tensor must be same dtype as the input tensor")
    if q.device is not input.device:
        raise RuntimeError(f"{op}() q tensor must be on the same device as the input tensor")
    if not q.device.is_cuda and q.array.size and not ((q.array >= 0) & (q.array <= 1)).all():
        raise RuntimeError(f"{op}() q values must be in the range [0, 1]")
    return q


def _between(rows, shares, interpolation, skips):
    """The quantiles along the last dimension, one for each of `shares`."""
    where, size = TABLE["where"].apply, rows.array.shape[-1]
    ordered = Sort.apply(rows, rows.array.ndim - 1, False)[0]
    nans = (rows != rows).sum(-1, True)
    if skips:
        rank = shares * (size - 1 - nans).clamp(min=0).to(shares.dtype)
    else:
        rank = where(nans > 0, float(size - 1), shares * (size - 1))  # where the NaN are
    if interpolation in ("lower", "higher", "nearest"):
        rounded = {"lower": rank.floor, "higher": rank.ceil, "nearest": rank.round}[interpolation]()
        return Gather.apply(ordered, rows.array.ndim - 1, rounded.to(dtypes.int64))
    below = rank.floor()
    first, second = (Gather.apply(ordered, rows.array.ndim - 1, each.to(dtypes.int64)) for each in (below, rank.ceil()))
    weight = 0.5 if interpolation == "midpoint" else rank - below
    return first + weight * (second - first)
