"""Softmax and its relatives in NumPy along the last dimension, in pieces that stay in the cache, several at a time.

Exponentials are taken as they are: the maximum of a row is only subtracted where some sum is too large for that, or too
small.
"""

from __future__ import annotations

import functools

import numpy as np

from tritorch.ops.parallel import for_each, pieces_of

_LEAST, _MOST = 1e-6, 1e26  # sums of exponentials


@functools.lru_cache(maxsize=32)
def ones(count, dtype):
    """An array of ones: a matrix times it is the sums of its rows."""
    return np.ones(count, dtype)


def sums_of_rows(x):
    """The sum along the last dimension: row by row in BLAS, which starts no threads of its own for that."""
    return np.vecdot(x, ones(x.shape[-1], x.dtype))


def sums_of_many_rows(x):
    """The sum of each row of a matrix, several pieces of rows at a time; not for what runs in a piece already."""
    found = np.empty(len(x), x.dtype)
    one, pieces = ones(x.shape[1], x.dtype), pieces_of(*x.shape, times=4)
    for_each(lambda piece: np.vecdot(x[piece], one, out=found[piece]), pieces)
    return found


def products_of_rows(x, y):
    """The sum of products along the last dimension, likewise; einsum takes two to three times as long."""
    return np.vecdot(x, y)


def sums_of_columns(x, y=None):
    """For each column the sum, or the sum of products with another matrix's, in the order of rows.

    BLAS would take half the time, and start threads of its own.
    """
    return np.einsum("ij->j", x) if y is None else np.einsum("ij,ij->j", x, y)


def as_rows(*arrays):
    """Contiguous arrays of one shape as matrices whose rows are the last dimension."""
    return [each.reshape(-1, each.shape[-1]) for each in arrays]


def are_rows(dim, *arrays):
    """Whether arrays have elements that lie in order, `dim` last."""
    return all(each.size and dim == each.ndim - 1 and each.flags.c_contiguous for each in arrays)


def exponentials(x, out):
    """exp(x - c) to `out`, their sums, and c by row, which is None for zero."""
    with np.errstate(over="ignore"):
        np.exp(x, out)
        total = sums_of_rows(out)
    if total.min() > _LEAST and total.max() < _MOST:
        return total, None
    highest = np.maximum.reduce(x, 1)
    np.exp(np.subtract(x, highest[:, None], out), out)
    return sums_of_rows(out), highest


def log_sum_exp(x, out):
    """log sum exp of each row; `out` is written over."""
    total, highest = exponentials(x, out)
    return np.log(total) if highest is None else np.log(total) + highest


def softmax_of_rows(input):
    """exp(x - max x) / sum exp(x - max x) along the last dimension."""
    result = np.empty(input.shape, input.dtype)
    x, out = as_rows(input, result)

    def fill(piece):
        part = out[piece]
        part *= (1 / exponentials(x[piece], part)[0])[:, None]

    for_each(fill, pieces_of(*x.shape))
    return result


def log_softmax_of_rows(input):
    """x - log sum exp x along the last dimension."""
    result = np.empty(input.shape, input.dtype)
    x, out = as_rows(input, result)

    def fill(piece):
        total, highest = exponentials(x[piece], out[piece])
        own = x[piece] if highest is None else x[piece] - highest[:, None]
        np.subtract(own, np.log(total)[:, None], out[piece])

    for_each(fill, pieces_of(*x.shape))
    return result


def softmax_gradient_of_rows(grad, output):
    """y (grad - sum grad y) along the last dimension."""
    result = np.empty(output.shape, output.dtype)
    g, y, out = as_rows(grad, output, result)

    def fill(piece):
        part = out[piece]
        np.subtract(g[piece], products_of_rows(g[piece], y[piece])[:, None], part)
        part *= y[piece]

    for_each(fill, pieces_of(*y.shape))
    return result


def log_softmax_gradient_of_rows(grad, output):
    """grad - exp(y) sum grad along the last dimension."""
    result = np.empty(output.shape, output.dtype)
    g, y, out = as_rows(grad, output, result)

    def fill(piece):
        part = out[piece]
        np.exp(y[piece], part)
        part *= sums_of_rows(g[piece])[:, None]
        np.subtract(g[piece], part, part)

    for_each(fill, pieces_of(*y.shape))
    return result
