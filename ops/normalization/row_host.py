"""Normalisations of rows in NumPy where each place of a row has a weight: pieces of rows, few passes over memory.

What varies by row and by place is multiplied by BLAS, which is faster than what NumPy broadcasts.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.ops import blas
from tritorch.ops.normalization.moments import moments_of, near_zero, scale_of, slope_and_level
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.rowwise.host import products_of_rows, sums_of_rows

_TINY = 1 << 14  # elements, up to which fewer calls are quicker than fewer passes


@functools.lru_cache(maxsize=256)
def has_weight_by_place(layout):
    """Whether each place of a row has a weight of its own, rather than each of several channels."""
    return layout.groups == (1, layout.count)


def are_few(layout):
    """Whether rows with a weight for each place are so few that fewer calls are quicker than fewer passes."""
    return math.prod(layout.shape) <= _TINY and has_weight_by_place(layout)


def norm_of_few(x, weight, bias, eps, centred):
    """Few rows normalised, as the formula says."""
    count, statistics = x.dtype.type(x.shape[1]), ()
    if centred:
        mean = sums_of_rows(x) / count
        x, statistics = x - mean[:, None], (mean,)
    variance = products_of_rows(x, x) / count
    out = x * scale_of(variance, eps)[:, None]
    if weight is not None:
        out *= weight.reshape(-1)
    if bias is not None:
        out += bias.reshape(-1)
    return out, *statistics, variance


def norm_gradients_of_few(grad, input, weight, mean, variance, layout, eps):
    """The gradients by the input, the weight and the bias of few rows, as the formulas say."""
    x = input.reshape(layout.rows, layout.count)
    g, scale, count = grad.reshape(x.shape), scale_of(variance, eps)[:, None], x.dtype.type(layout.count)
    hat = (x if mean is None else x - mean[:, None]) * scale
    products, sums = np.add.reduce(g * hat), np.add.reduce(g)
    own = g if weight is None else g * weight.reshape(-1)
    slope = own - hat * (products_of_rows(own, hat) / count)[:, None]
    if mean is not None:
        slope -= (sums_of_rows(own) / count)[:, None]
    slope *= scale
    return slope.reshape(input.shape), products, sums


def _weights(first, second, columns, dtype):
    """A matrix of two rows, by place: what is multiplied by a number of each row, and what by the other; or zeros."""
    found = np.zeros((2, columns), dtype)
    found[0] = 1 if first is None else first.reshape(-1)
    if second is not None:
        found[1] = second.reshape(-1)
    return found


def _numbers(first, second=1):
    """A matrix of two columns, by row."""
    found = np.empty((len(first), 2), first.dtype)
    found[:, 0], found[:, 1] = first, second
    return found


def norm_of_rows(x, weight, bias, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    rows, columns = x.shape
    result, mean, variance = np.empty_like(x), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    factors, levels = _weights(weight, None, columns, x.dtype), _weights(weight, bias, columns, x.dtype)

    def fill(piece):
        means, variance[piece], own, middle = moments_of(x[piece], centred)
        part, scale = result[piece], scale_of(variance[piece], eps)
        more = scratch(part)
        blas.multiply(_numbers(scale), factors, more)
        np.multiply(own, more, part)
        if centred:
            mean[piece] = means
        if centred or bias is not None:
            blas.multiply(_numbers(-middle * scale), levels, more)
            part += more

    for_each(fill, pieces_of(rows, columns))
    return result, *((mean,) if centred else ()), variance


def _slope_of_piece(g, x, weights, scale, middle, centred, sums, out):
    """The gradient by some rows, to `out`; and, where `sums`, those of g x scale and of g, for each place."""
    more, found = np.multiply(g, x, scratch(out)), None
    by_place = weights[0]
    if sums:
        found = blas.weighed_sums(_numbers(scale), more)[:1], blas.weighed_sums(_numbers(-middle * scale), g)
    along, total = np.vecdot(more, by_place) * scale, np.zeros_like(scale)
    if centred:
        total = np.vecdot(g, by_place) * scale
    slope, level = slope_and_level(middle, scale, total, along, x.shape[1])
    blas.multiply(_numbers(scale), weights, more)
    np.multiply(g, more, out)
    out += np.multiply(x, slope[:, None], more)
    if centred:
        out += level[:, None]
    return found


def gradients_of_rows(grad, x, weight, mean, variance, eps, sums=True):
    """The gradients by rows, by the weight and by the bias: g scale + x slope + level for g = grad weight, and sums."""
    rows, columns = x.shape
    result, pieces = np.empty_like(x), pieces_of(rows, columns)
    weights, found = _weights(weight, None, columns, x.dtype), np.zeros((len(pieces), 2, columns), x.dtype)

    def fill(number):
        piece = pieces[number]
        own, middle = near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
        scale = scale_of(variance[piece], eps)
        parts = _slope_of_piece(
            grad[piece], own, weights, scale, middle, mean is not None, sums, result[piece]
        )  # fmt: skip
        if sums:
            found[number] = parts[1]
            found[number, 0] += parts[0][0]

    for_each(fill, list(range(len(pieces))))
    products, of_grad = found.sum(0)
    return result, products, of_grad


def sums_of_rows_by_place(grad, x, mean, variance, eps):
    """For each place the sum of the gradient times the normalised input, and the sum of the gradient."""
    pieces = pieces_of(*x.shape)
    found = np.empty((len(pieces), 2, x.shape[1]), x.dtype)

    def measure(number):
        piece = pieces[number]
        own, middle = near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
        scale = scale_of(variance[piece], eps)
        found[number] = blas.weighed_sums(_numbers(-middle * scale), grad[piece])
        found[number, 0] += blas.weighed_sums(_numbers(scale), np.multiply(grad[piece], own, scratch(own)))[0]

    for_each(measure, list(range(len(pieces))))
    products, sums = found.sum(0)
    return products, sums
