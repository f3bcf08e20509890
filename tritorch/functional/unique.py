"""Distinct elements, by sorting or as they follow each other: unique, unique_consecutive."""

from __future__ import annotations

from tritorch.functional.order import run_starts
from tritorch.ops.base import export
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.guard import need_tensors
from tritorch.ops.index.gathering import Scatter
from tritorch.ops.index.indexing import Index
from tritorch.ops.scan.sums import Cumsum
from tritorch.ops.shape.joining import Cat
from tritorch.ops.sort.order import Sort


@export("unique", "Tensor.unique")
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements in order or, with `dim`, the distinct slices along it in the order of their elements.

    With `return_inverse` also which of them each element is, with `return_counts` also how often each occurs.
    """
    need_tensors("unique", input=input)
    if dim is None:
        flat = input.detach().reshape(-1)
        values, order = Sort.apply(flat, 0, False)
        found, *more = _runs(values, run_starts(values, 0), order, return_inverse, return_counts, input.array.shape)
        found = Index.apply(values, (0,), found)
    else:
        dim, rows = _slices(input, dim)
        values, order = Sort.apply(_ranks(rows), 0, False)
        found, *more = _runs(values, run_starts(values, 0), order, return_inverse, return_counts)
        found = Index.apply(input.detach(), (dim,), Index.apply(order, (0,), found))
    return (found, *more) if more else found


@export("unique_consecutive", "Tensor.unique_consecutive")
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements, or slices along `dim`, without those that equal the one before; otherwise as unique."""
    need_tensors("unique_consecutive", input=input)
    if dim is None:
        flat = input.detach().reshape(-1)
        found, *more = _runs(flat, run_starts(flat, 0), None, return_inverse, return_counts, input.array.shape)
        found = Index.apply(flat, (0,), found)
    else:
        dim, rows = _slices(input, dim)
        found, *more = _runs(rows, run_starts(rows, 0).any(1), None, return_inverse, return_counts)
        found = Index.apply(input.detach(), (dim,), found)
    return (found, *more) if more else found


def _runs(values, begins, order, with_numbers, with_counts, shape=None):
    """Of runs of equal elements: where each begins; if asked, the number of the run of each element; and the lengths.

    `order` says where the elements were before they were sorted, `shape` how their numbers are to lie.
    """
    size = values.array.shape[0]
    starts = begins.nonzero().reshape(-1)
    found = [starts]
    if with_numbers:
        numbers = Cumsum.apply(begins, 0, None, False) - 1
        if order is not None and size:
            numbers = Scatter.apply(numbers.new_empty((size,)), 0, False, order, numbers)
        found.append(numbers if shape is None else numbers.reshape(shape))
    if with_counts:
        ends = Cat.call((starts, starts.new_full((1,), size)))[1:] if size else starts
        found.append(ends - starts)
    return found


def _slices(input, dim):
    """`dim` counted from the front, and the slices along it as rows."""
    if not input.array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, input.array.ndim)
    shape = input.array.shape
    if any(size == 0 for at, size in enumerate(shape) if at != dim):
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    rows = input.detach().movedim(dim, 0)
    return dim, rows.reshape((shape[dim], input.array.size // max(shape[dim], 1)))


def _ranks(rows):
    """Integers, one a row, in the order of the rows: equal for equal ones.

    Elements become ranks; then the ranks of two neighbours in a row become the rank of the pair, until one is left.
    """
    ranks, total = _rank(rows)
    while ranks.array.shape[1] > 1:
        width = ranks.array.shape[1]
        even, odd = ranks[:, : width - width % 2 : 2], ranks[:, 1::2]
        pairs = even * total + odd
        if width % 2:
            pairs = Cat.call((pairs, ranks[:, width - 1 :] * total), 1)
        ranks, total = _rank(pairs)
    return ranks.reshape(-1)


def _rank(rows):
    """How many distinct elements are smaller than each, and how many there are."""
    values, order = Sort.apply(rows.reshape(-1), 0, False)
    starts, numbers = _runs(values, run_starts(values, 0), order, True, False)
    return numbers.reshape(rows.array.shape), starts.array.shape[0]
