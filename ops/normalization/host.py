"""Normalisations in NumPy, fast: sums by BLAS, rows in pieces that stay in the cache, few passes over memory.

Whatever the mean, it is subtracted first, so that nothing cancels.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_PIECE = 1 << 17  # elements


@functools.lru_cache(maxsize=32)
def _ones(count, dtype):
    return np.ones(count, dtype)


def _outer(column, row):
    """column[:, None] * row, which BLAS does faster than broadcasting does for short rows."""
    return column.reshape(-1, 1) @ row.reshape(1, -1)


def _scale(variance, eps):
    return 1 / np.sqrt(variance + variance.dtype.type(eps))


def _rows_at_once(columns):
    return max(1, _PIECE // max(columns, 1))


def _pieces(rows, columns):
    step = _rows_at_once(columns)
    return [slice(start, start + step) for start in range(0, rows, step)]


def has_weight_by_place(layout):
    """Whether each place of a row has a weight of its own, rather than each of several channels."""
    return layout.groups == (1, layout.count)


def _distances(x, mean, out):
    """The rows of x less the mean of each, or x itself where that is None."""
    return x if mean is None else np.subtract(x, _outer(mean, _ones(x.shape[1], x.dtype)), out)


def norm_on_host(input, weight, bias, layout, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    rows, columns = layout.rows, layout.count
    x = input.reshape(rows, columns)
    out, mean, variance = np.empty_like(x, order="C"), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    by_place, one, count = has_weight_by_place(layout), _ones(columns, x.dtype), x.dtype.type(columns)
    weights = weight.reshape(-1) if by_place and weight is not None else one
    for piece in _pieces(rows, columns):
        part, own = out[piece], x[piece]
        if centred:
            mean[piece] = own @ one / count
        apart = _distances(own, mean[piece] if centred else None, part)
        variance[piece] = np.vecdot(apart, apart) / count
        np.multiply(apart, _outer(_scale(variance[piece], eps), weights), part)
        if by_place and bias is not None:
            part += _outer(_ones(len(part), x.dtype), bias)
    out = out.reshape(layout.shape)
    if not by_place:
        if weight is not None:
            out *= weight.reshape(layout.channels)
        if bias is not None:
            out += bias.reshape(layout.channels)
    return (out.reshape(input.shape), *((mean,) if centred else ()), variance)


def norm_backward_on_host(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by rows."""
    rows, columns = layout.rows, layout.count
    by_place = has_weight_by_place(layout)
    if weight is not None and not by_place:
        grad = grad.reshape(layout.shape) * weight.reshape(layout.channels)
    grad, x, scale = grad.reshape(rows, columns), input.reshape(rows, columns), _scale(variance, eps)
    one, count = _ones(columns, x.dtype), x.dtype.type(columns)
    weights = weight.reshape(-1) if by_place and weight is not None else one
    out = np.empty_like(x, order="C")
    apart = np.empty((min(rows, _rows_at_once(columns)), columns), x.dtype)
    for piece in _pieces(rows, columns):
        part, own = out[piece], scale[piece]
        np.multiply(grad[piece], _outer(own, weights), part)
        hat = _distances(x[piece], None if mean is None else mean[piece], apart[: len(part)])
        along = np.vecdot(part, hat) * own * own / count
        if mean is not None:
            part -= _outer(part @ one / count, one)
        part -= np.multiply(hat, _outer(along, one), apart[: len(part)])
    return out.reshape(input.shape)


def _planes(array, layout):
    """A tensor as (batch, channels, elements of a channel)."""
    size = math.prod([layout.shape[axis] for axis in layout.summed if axis])
    return array.reshape(layout.shape[0], math.prod(layout.channels), size)


def _by_plane(statistic, layout):
    """A mean or variance for each channel of each item of the batch."""
    places = [1 if axis in layout.summed and axis else size for axis, size in enumerate(layout.shape)]
    spread = np.broadcast_to(statistic.reshape(layout.statistics), places)
    return spread.reshape(layout.shape[0], math.prod(layout.channels))


def channel_sums_on_host(grad, input, mean, variance, layout, eps):
    """For each channel the sum of the gradient times the normalised input, and the sum of the gradient."""
    if has_weight_by_place(layout):
        rows, columns = layout.rows, layout.count
        grad, x, scale = grad.reshape(rows, columns), input.reshape(rows, columns), _scale(variance, eps)
        products, sums = np.zeros(columns, x.dtype), np.zeros(columns, x.dtype)
        apart = np.empty((min(rows, _rows_at_once(columns)), columns), x.dtype)
        for piece in _pieces(rows, columns):
            g, part = grad[piece], apart[: len(grad[piece])]
            hat = _distances(x[piece], None if mean is None else mean[piece], part)
            products += scale[piece] @ np.multiply(hat, g, part)
            sums += _ones(len(g), x.dtype) @ g
        return products, sums
    grad, x, mean = _planes(grad, layout), _planes(input, layout), _by_plane(mean, layout)
    sums, products = grad @ _ones(grad.shape[2], grad.dtype), np.empty(grad.shape[:2], grad.dtype)
    for piece in _pieces(len(x), x.shape[1] * x.shape[2]):
        products[piece] = np.vecdot(x[piece] - mean[piece, :, None], grad[piece])
    products *= _by_plane(_scale(variance, eps), layout)
    return products.sum(0), sums.sum(0)


def batch_norm_on_host(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    x = _planes(input, layout)
    batch, channels, size = x.shape
    count, one = x.dtype.type(layout.count), _ones(size, x.dtype)
    mean = (x @ one).sum(0) / count
    variance = np.zeros(channels, x.dtype)
    for piece in _pieces(batch, channels * size):
        apart = x[piece] - mean[:, None]
        variance += np.vecdot(apart, apart).sum(0)
    variance /= count
    return batch_inference_on_host(input, weight, bias, mean, variance, layout, eps), mean, variance


def batch_inference_on_host(input, weight, bias, mean, variance, layout, eps):
    """Each channel of a batch normalised by a mean and a variance: x scale + level, piece by piece."""
    x, scale = _planes(input, layout), _scale(variance, eps)
    scale = scale if weight is None else scale * weight
    level = (-mean * scale if bias is None else bias - mean * scale)[:, None]
    scale, out = scale[:, None], np.empty(x.shape, x.dtype)
    for piece in _pieces(len(x), x.shape[1] * x.shape[2]):
        result = out[piece]
        np.multiply(x[piece], scale, result)
        result += level
    return out.reshape(input.shape)


def batch_slope_on_host(grad, input, weight, mean, variance, products, sums, layout, eps):
    """scale (g - mean g - x mean(g x)) by channels, as g scale + x slope + level."""
    g, x, scale = _planes(grad, layout), _planes(input, layout), _scale(variance, eps)
    count, factor = x.dtype.type(layout.count), scale if weight is None else scale * weight
    slope = -factor * scale * products / count
    level = -factor * sums / count - mean * slope
    factor, slope, level = factor[:, None], slope[:, None], level[:, None]
    out = np.empty(x.shape, x.dtype)
    for piece in _pieces(len(x), x.shape[1] * x.shape[2]):
        result = out[piece]
        np.multiply(g[piece], factor, result)
        result += x[piece] * slope
        result += level
    return out.reshape(input.shape)
