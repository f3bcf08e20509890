"""Histograms: bincount, histc, histogram, histogramdd. Counts are of integers, weights are summed in a fixed order."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.functional.ranges import linspace
from tritorch.ops.base import TABLE, export, write_out
from tritorch.ops.batching import by_example
from tritorch.ops.guard import need_tensors
from tritorch.ops.index.gathering import Scatter
from tritorch.ops.named_results import returns
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.sort.counting import CountEach
from tritorch.ops.sort.search import FindPlace
from tritorch.runtime import dtypes

Histogram = returns("histogram", "hist", "bin_edges")
HistogramDD = returns("histogramdd", "hist", "bin_edges")


@export("bincount", "Tensor.bincount")
@by_example
def bincount(input, weights=None, minlength=0):
    """How often 0, 1, ... up to the largest occur in a vector of integers, or the sums of their weights."""
    need_tensors("bincount", input=input)
    if input.dtype.is_floating_point or input.dtype is dtypes.bool_:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    size = input.array.size
    largest = int(input.max().item()) if size else -1
    if input.array.ndim != 1 or (size and int(input.min().item()) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.array.shape != input.array.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    bins = max(largest + 1, minlength)
    if weights is None or not size:
        return CountEach.apply(input, bins)
    return _sums(input, weights if weights.dtype is dtypes.float32 else weights.double(), bins)


def _sums(places, weights, bins):
    return Scatter.apply(weights.new_zeros((bins,)), 0, True, places.to(dtypes.int64), weights.detach())


@export("histc", "Tensor.histc")
@by_example
def histc(input, bins=100, min=0, max=0, *, out=None):
    """How many elements are in each of `bins` equal parts of [min, max], by default of all that there are."""
    need_tensors("histc", input=input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")
    flat = input.detach().reshape(-1)
    first, last = _range("torch.histc", flat, min, max)
    if first == last:
        first, last = first - 1, last + 1
    wide = flat.to(dtypes.of(flat.dtype.compute))
    place = ((wide - first) * bins / (last - first)).clamp(max=bins - 1).to(dtypes.int64)
    inside = (wide >= first) & (wide <= last)
    found = CountEach.apply(TABLE["where"].apply(inside, place, -1), bins).to(input.dtype)
    return found if out is None else write_out(out, found)


def _range(op, flat, first, last):
    """The ends of a histogram: as given or, where they are equal, of the data."""
    if first == last and flat.array.size:
        first, last = float(flat.amin().item()), float(flat.amax().item())
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"{op}: range of [{first:g}, {last:g}] is not finite")
    return first, last


@export("histogram", "Tensor.histogram")
@by_example
def histogram(input, bins, *, range=None, weight=None, density=False, out=None):
    """How many elements, or what weight of them, each bin has, and the edges; `bins` is a number or the edges.

    With `density`, as a density: over the total and the width of each bin.
    """
    need_tensors("histogram", input=input)
    edges = [bins] if isinstance(bins, Variable) else None
    rows = input.detach().reshape((-1, 1))
    weight = None if weight is None else weight.detach().reshape(-1)
    counts, edges = _histogram(rows, edges or (int(bins),), range, weight, density)
    found = Histogram(counts, edges[0])
    return found if out is None else write_out(out, found)


@export("histogramdd")
@by_example
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """The histogram of points, the rows of the last dimension, over a grid; and the edges along each dimension."""
    need_tensors("histogramdd", input=input)
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    bins = (bins,) * shape[-1] if isinstance(bins, int) else tuple(bins)
    if len(bins) != shape[-1]:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    if weight is not None and weight.array.shape != shape[:-1]:
        raise _weight_shape(shape, weight.array.shape)
    rows = input.detach().reshape((-1, shape[-1]))
    return HistogramDD(*_histogram(rows, bins, range, None if weight is None else weight.reshape(-1), density))


def _weight_shape(given, weight):
    return RuntimeError(
        "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor excluding "
        f"its innermost dimension, but got input with shape {list(given)} and weight with shape {list(weight)}"
    )


def _histogram(rows, bins, ends, weight, density):
    """The counts of points over a grid, and the edges along each of its dimensions."""
    _check(rows, bins, ends, weight)
    edges = _edges(rows, bins, ends)
    sizes = [each.array.size - 1 for each in edges]
    place = inside = None
    for dim, (edge, size) in enumerate(zip(edges, sizes, strict=True)):
        values = rows[:, dim].contiguous()
        at = FindPlace.apply(edge, values, True, np.dtype(np.int64), None) - 1
        here = (values >= edge[0]) & (values <= edge[size])
        at = at.clamp(max=size - 1)  # the last edge is its bin's
        place = at if place is None else place * size + at
        inside = here if inside is None else inside & here
    count = math.prod(sizes)
    place = TABLE["where"].apply(inside, place, count)  # what is outside has a bin of its own
    found = CountEach.apply(place, count + 1) if weight is None else _sums(place, weight, count + 1)
    found = found[:count].reshape(sizes).to(rows.dtype)
    return (_density(found, edges) if density else found), tuple(edges)


def _density(found, edges):
    found = found / found.sum()
    for dim, edge in enumerate(edges):
        widths = edge[1:] - edge[:-1]
        found = found / widths.reshape((-1,) + (1,) * (len(edges) - 1 - dim))
    return found


def _check(rows, bins, ends, weight):
    if rows.dtype.name not in ("float32", "float64"):
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{KIND_NAMES[rows.dtype.name]}'")
    for dim, each in enumerate(bins):
        if not isinstance(each, Variable):
            if each <= 0:
                raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {each} for dimension {dim}")
        elif each.array.ndim != 1:
            raise RuntimeError(
                f"torch.histogramdd: bins tensor should have one dimension, but got {each.array.ndim} dimensions in "
                f"the bins tensor for dimension {dim}"
            )
        elif each.dtype is not rows.dtype:
            raise RuntimeError(
                "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input with dtype "
                f"{_c_name(rows)} and bins for dimension {dim} with dtype {_c_name(each)}"
            )
    if weight is not None and weight.array.shape != rows.array.shape[:1]:
        raise _weight_shape(rows.array.shape, weight.array.shape)
    if weight is not None and weight.dtype is not rows.dtype:
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should have the same "
            f"dtype, but got input({_c_name(rows)}), and weight({_c_name(weight)})"
        )
    if ends is not None:
        _check_ends(ends, len(bins))


def _check_ends(ends, dims):
    if len(ends) != 2 * dims:
        raise RuntimeError(
            f"torch.histogramdd: for a {dims}-dimensional histogram range should have {2 * dims} elements, but got "
            f"{len(ends)}"
        )
    for dim, (first, last) in enumerate(zip(ends[::2], ends[1::2], strict=True)):
        if first > last:
            raise RuntimeError(
                f"torch.histogramdd: min should not exceed max, but got min {first:g} max {last:g} for dimension {dim}"
            )


_C_NAMES = {"float32": "float", "float64": "double"}


def _c_name(tensor):
    return _C_NAMES.get(tensor.dtype.name, tensor.dtype.name)


def _edges(rows, bins, ends):
    """The edges along each dimension: those given, or equal steps from end to end."""
    edges = []
    for dim, each in enumerate(bins):
        if isinstance(each, Variable):
            edges.append(each.detach().contiguous())
            continue
        if ends is None:
            first, last = _range("torch.histogramdd", rows[:, dim], 0, 0) if rows.array.size else (0, 1)
        else:
            first, last = ends[2 * dim : 2 * dim + 2]
        if first == last:
            first, last = first - 0.5, last + 0.5
        edges.append(linspace(first, last, each + 1, dtype=rows.dtype, device=rows.device))
    return edges
