"""Running extremes with where they are: cummax, cummin.

A NaN is larger and smaller than everything, and of equal elements the last is taken, as in PyTorch.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.index.gathering import key_along
from tritorch.ops.layout import as_contiguous
from tritorch.ops.named_results import returns
from tritorch.ops.parallel import by_items
from tritorch.ops.reduction.family import dim_of
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.reduction.select_kernel import highest, lowest
from tritorch.ops.scan.family import Scan
from tritorch.ops.scan.kernel import launch_run_sums, launch_scan, scanner
from tritorch.runtime import tl

_BLOCK = 64  # elements among which one extreme is looked for
_LONG = 1024  # elements of a row, from which on blocks of it are looked at first


@scanner
def last_larger(a, i, b, j):
    take = (b != b) | ((a == a) & (b >= a))
    return tl.where(take, b, a), tl.where(take, j, i)


@scanner
def last_smaller(a, i, b, j):
    take = (b != b) | ((a == a) & (b <= a))
    return tl.where(take, b, a), tl.where(take, j, i)


def running_of_rows(rows, dim, extreme, keeps):
    """The same as `running` from the places where an extreme is taken, each repeated until the next."""
    if dim < rows.ndim - 1 or not rows.size:
        return running(rows, dim, extreme, keeps)
    values, at = _taken_in_blocks(rows, extreme, keeps) or _taken(rows, extreme, keeps)
    places = np.repeat(at, np.diff(at, append=rows.size)).reshape(rows.shape)
    places -= np.arange(0, rows.size, rows.shape[dim]).reshape(*rows.shape[:-1], 1)
    return values, places


def _taken(rows, extreme, keeps):
    """The running extremes along the last dimension, and where each is taken among all elements."""
    values = extreme.accumulate(rows, -1)
    return values, np.flatnonzero((rows != rows) | keeps(rows, values))


def _taken_in_blocks(rows, extreme, keeps):
    """The same of long rows whose extremes seldom change, else None: most blocks have no part in them."""
    size = math.gcd(rows.shape[-1], _BLOCK)
    if rows.shape[-1] < _LONG or size < _BLOCK // 4 or not rows.flags.c_contiguous:
        return None
    blocks = rows.reshape(-1, rows.shape[-1] // size, size)
    own = extreme.reduce(blocks, 2)
    before = np.concatenate([blocks[:, :1, 0], extreme.accumulate(own, 1)[:, :-1]], 1)
    changed = np.flatnonzero((own != own) | keeps(own, before))
    if 4 * len(changed) > own.size:
        return None
    values = np.repeat(before.reshape(-1), size).reshape(-1, size)
    some = blocks.reshape(-1, size)[changed]
    found = np.concatenate([before.reshape(-1, 1)[changed], some], 1)
    values[changed] = found = extreme.accumulate(found, 1)[:, 1:]
    block, place = np.nonzero((some != some) | keeps(some, found))
    return values.reshape(rows.shape), changed[block] * size + place


def running(input, dim, extreme, keeps):
    """The running extremes of an array and where the last of each is."""
    rows = input.reshape(input.shape or 1)
    values = extreme.accumulate(rows, dim)
    number = np.arange(rows.shape[dim]).reshape((-1,) + (1,) * (rows.ndim - 1 - dim))
    is_new = (rows != rows) | keeps(rows, values)
    places = np.maximum.accumulate(np.where(is_new, number, 0), dim)
    return values.reshape(input.shape), places.reshape(input.shape)


@scanner
def add_alike(a, i, b, j):
    return tl.where(i == j, a + b, b), j


class RunSums(Op):
    """The sum of the elements with each index, ascending along `dim`, at that index: the gradient of choosing them.

    An index is its own first element's: the elements of one are a run.
    """

    batch = shifted("dim")
    saves = ("index",)
    widens = True

    @staticmethod
    def reference(input, index, dim):
        result = np.zeros_like(input)
        np.add.at(result, key_along(input.shape, dim, index), input)
        return result

    @staticmethod
    def fast(input, index, dim):
        rows, numbers = (np.ascontiguousarray(np.moveaxis(each, dim, -1)) for each in (input, index))
        result = np.zeros_like(rows)
        heads = np.flatnonzero(numbers == np.arange(rows.shape[-1]))
        if heads.size:
            result.reshape(-1)[heads] = np.add.reduceat(rows.reshape(-1), heads)
        return np.moveaxis(result, -1, dim)

    def forward(self, input, index, dim):
        """A scan from the end, of which the sums of whole runs are written."""
        rows, numbers = as_contiguous(input), as_contiguous(index)
        return launch_run_sums(rows, numbers, dim, computed_in(input.dtype), add_alike)

    @staticmethod
    def fitted(input, index, dim):
        """An index with runs: where each running largest of other numbers stands."""
        return input, running(index, dim, np.maximum, np.greater_equal)[1], dim

    def backward(self, grad):
        """The gradient at the index."""
        return grad.gather(self.inputs[2], self.inputs[1]), None

    @staticmethod
    def samples(draw):
        for shape, dim in (((5, 7), 1), ((3, 40, 2), 1), ((1030,), 0), ((6, 3), 0), ((2, 0), 1)):
            values = draw.integers(0, 50, *shape)
            yield draw(*shape), running(values, dim, np.maximum, np.greater_equal)[1], dim
        yield draw(4, 6).T, np.zeros((6, 4), np.int64), 0

    @staticmethod
    def sized(draw, M=4096, N=4096):
        _, index = running(draw(M, N), 1, np.maximum, np.greater_equal)
        return draw(M, N), index, 1


class RunningExtreme(Scan, abstract=True):
    """The largest or smallest element up to each along one dimension, with its index."""

    saves = ("output",)
    saved_results = (1,)  # the values may be written over
    widens = True
    choose = last_larger
    limit = staticmethod(lowest)
    result: type
    extreme: np.ufunc
    keeps: np.ufunc  # whether an element takes the place of an extreme

    @classmethod
    def fast(cls, input, dim):
        if not input.ndim:
            return cls.reference(input, dim)
        rest = dim, cls.extreme, cls.keeps
        if not dim:
            return running_of_rows(input, *rest)
        shape = input.shape
        return by_items(lambda part: running_of_rows(part, *rest), input, (shape, input.dtype), (shape, np.int64))

    @classmethod
    def call(cls, input, dim):
        return cls.result(*cls.apply(input, dim_of(cls.op_name, input, dim)))

    def forward(self, input, dim):
        """One launch of the family's kernel, or three where rows are few and long."""
        launch = (input.dtype, computed_in(input.dtype), self.choose, self.limit(input.dtype), True)
        return self.scanned(input, dim, lambda rows, at: launch_scan(rows, at, *launch))

    def backward(self, grad, _=None):
        """The gradient added up where each extreme came from."""
        if not grad.array.ndim:
            return (grad,)
        return (RunSums.apply(grad, self.outputs[0], self.inputs[1]),)

    @staticmethod
    def samples(draw):
        yield draw(), 0
        yield draw.apart(1), 0
        yield draw.apart(5, 7), 0
        yield draw.apart(3, 4, 5), 1
        yield draw.apart(6, 4).T, 1
        yield draw.apart(9, 2)[::-2], 0
        yield draw.apart(1025, gap=1), 0
        yield draw.integers(0, 5, 2, 1030), 1
        yield draw.integers(0, 5, 5, 70, dtype=np.uint8), 1
        yield draw.booleans(5, 7), 0
        yield np.array([1, np.nan, 2, np.nan, 3]).astype(draw.dtype), 0
        yield draw(2, 0), 1

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1


class Cummax(RunningExtreme):
    """The largest element up to each along `dim`, and its index."""

    exports = ("cummax", "Tensor.cummax")
    extreme, keeps = np.maximum, np.greater_equal
    result = returns("cummax", "values", "indices")

    @staticmethod
    def reference(input, dim):
        return running(input, dim, np.maximum, np.greater_equal)


class Cummin(RunningExtreme):
    """The smallest element up to each along `dim`, and its index."""

    exports = ("cummin", "Tensor.cummin")
    choose = last_smaller
    limit = staticmethod(highest)
    extreme, keeps = np.minimum, np.less_equal
    result = returns("cummin", "values", "indices")

    @staticmethod
    def reference(input, dim):
        return running(input, dim, np.minimum, np.less_equal)
