"""Normalisations in NumPy, fast: sums by BLAS, rows in pieces that stay in the cache, few passes over memory.

What varies along an axis of the pieces is spread to their shape first (by BLAS, or repeated): NumPy's inner loops are
short where it broadcasts, and that costs more than the memory.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_PIECE = 1 << 17  # elements
_BLOCK = 1 << 16  # where more arrays take part
_LARGEST_MEAN = 4  # the square of a mean over the variance


@functools.lru_cache(maxsize=32)
def _ones(count, dtype):
    return np.ones(count, dtype)


def _outer(column, row, more=None):
    """column[:, None] * row + more, by BLAS: NumPy leaves it products of two terms, but not of one."""
    columns, rows = np.ones((column.size, 2), column.dtype), np.zeros((2, row.size), row.dtype)
    columns[:, 0], rows[0] = column, row.reshape(-1)
    if more is not None:
        rows[1] = more.reshape(-1)
    return columns @ rows


def _scale(variance, eps):
    return 1 / np.sqrt(variance + variance.dtype.type(eps))


def _pieces(rows, columns):
    step = max(1, _PIECE // max(columns, 1))
    return [slice(start, start + step) for start in range(0, rows, step)]


def has_weight_by_place(layout):
    """Whether each place of a row has a weight of its own, rather than each of several channels."""
    return layout.groups == (1, layout.count)


def _near_zero(x, mean, variance):
    """Rows, and the mean of each: x itself unless a mean is so large that squares or products would cancel."""
    if mean is None:
        return x, np.zeros(len(x), x.dtype)
    if (mean * mean <= _LARGEST_MEAN * variance).all():
        return x, mean
    return x - mean[:, None], np.zeros(len(x), x.dtype)


def _moments(x, centred):
    """The mean (or zero) and the variance of each row."""
    count = x.dtype.type(x.shape[1])
    square = np.vecdot(x, x) / count
    if not centred:
        return np.zeros(len(x), x.dtype), square
    mean = x @ _ones(x.shape[1], x.dtype) / count
    variance = square - mean * mean
    apart, middle = _near_zero(x, mean, variance)
    return mean, variance if middle is mean else np.vecdot(apart, apart) / count


def norm_on_host(input, weight, bias, layout, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    rows, columns = layout.rows, layout.count
    x, result = input.reshape(rows, columns), np.empty(input.shape, input.dtype)
    out, mean, variance = result.reshape(x.shape), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    by_place = has_weight_by_place(layout)
    weights = weight.reshape(-1) if by_place and weight is not None else _ones(columns, x.dtype)
    for piece in _pieces(rows, columns):
        part = out[piece]
        mean[piece], variance[piece] = _moments(x[piece], centred)
        own, middle = _near_zero(x[piece], mean[piece] if centred else None, variance[piece])
        scale = _scale(variance[piece], eps)
        np.multiply(own, _outer(scale, weights), part)
        if centred or bias is not None:
            part += _outer(-middle * scale, weights, bias if by_place else None)
    out = out.reshape(layout.shape)
    if not by_place:
        if weight is not None:
            out *= weight.reshape(layout.channels)
        if bias is not None:
            out += bias.reshape(layout.channels)
    return (result, *((mean,) if centred else ()), variance)


def norm_backward_on_host(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by rows."""
    rows, columns = layout.rows, layout.count
    by_place = has_weight_by_place(layout)
    if weight is not None and not by_place:
        grad = grad.reshape(layout.shape) * weight.reshape(layout.channels)
    grad, x, scale = grad.reshape(rows, columns), input.reshape(rows, columns), _scale(variance, eps)
    one, count = _ones(columns, x.dtype), x.dtype.type(columns)
    weights = weight.reshape(-1) if by_place and weight is not None else one
    result = np.empty(input.shape, input.dtype)
    out = result.reshape(x.shape)
    for piece in _pieces(rows, columns):
        g, part, factor = grad[piece], out[piece], scale[piece]
        own, middle = _near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
        np.multiply(g, _outer(factor, weights), part)
        total = g @ weights * factor if mean is not None else middle
        slope = (middle * total - np.vecdot(part, own)) * factor * factor / count
        part += own * _outer(slope, one)
        if mean is not None:
            part += _outer(-total / count - middle * slope, one)
    return result


def _planes(array, layout):
    """A tensor as (batch, channels, elements of a channel)."""
    size = math.prod([layout.shape[axis] for axis in layout.summed if axis])
    return array.reshape(layout.shape[0], math.prod(layout.channels), size)


def _blocks(x):
    """Channels a few at a time, each time with all items of the batch a few at a time: pieces that lie in the cache."""
    batch, channels, size = x.shape
    wide = max(1, min(channels, _BLOCK // max(size, 1)))
    tall = max(1, _BLOCK // max(wide * size, 1))
    pieces = [slice(start, start + tall) for start in range(0, batch, tall)]
    for start in range(0, channels, wide):
        yield slice(start, start + wide), pieces


def _spread(values, x):
    """What each channel has, repeated for all its elements in an item of the batch."""
    return np.repeat(values, x.shape[2]).reshape(-1, x.shape[2])


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
        for piece in _pieces(rows, columns):
            g, factor = grad[piece], scale[piece]
            own, middle = _near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
            products += factor @ (g * own) - (factor * middle) @ g
            sums += _ones(len(g), x.dtype) @ g
        return products, sums
    grad, x, mean = _planes(grad, layout), _planes(input, layout), _by_plane(mean, layout)
    sums, products = grad @ _ones(grad.shape[2], grad.dtype), np.empty(grad.shape[:2], grad.dtype)
    for channels, pieces in _blocks(x):
        same = layout.axes == layout.summed  # each channel has one mean
        middle = _spread(mean[0, channels], x) if same else None
        for piece in pieces:
            apart = x[piece, channels] - (middle if same else mean[piece, channels, None])
            products[piece, channels] = np.vecdot(apart, grad[piece, channels])
    products *= _by_plane(_scale(variance, eps), layout)
    return products.sum(0), sums.sum(0)


def batch_norm_on_host(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    x = _planes(input, layout)
    batch, channels, size = x.shape
    kind, count = x.dtype, x.dtype.type(batch * size)
    mean, variance = (x @ _ones(size, kind)).sum(0) / count, np.zeros(channels, kind)
    for own, pieces in _blocks(x):
        middle = _spread(mean[own], x)
        for piece in pieces:
            apart = x[piece, own] - middle
            variance[own] += np.vecdot(apart, apart).sum(0)
    variance /= count
    return batch_inference_on_host(input, weight, bias, mean, variance, layout, eps), mean, variance


def batch_inference_on_host(input, weight, bias, mean, variance, layout, eps):
    """Each channel of a batch normalised by a mean and a variance: x scale + level, piece by piece."""
    x, scale = _planes(input, layout), _scale(variance, eps)
    scale = scale if weight is None else scale * weight
    level = -mean * scale if bias is None else bias - mean * scale
    result = np.empty(input.shape, x.dtype)
    out = result.reshape(x.shape)
    for channels, pieces in _blocks(x):
        factor, more = _spread(scale[channels], x), _spread(level[channels], x)
        for piece in pieces:
            part = out[piece, channels]
            np.multiply(x[piece, channels], factor, part)
            part += more
    return result


def batch_slope_on_host(grad, input, weight, mean, variance, products, sums, layout, eps):
    """scale (g - mean g - x mean(g x)) by channels, as g scale + x slope + level."""
    g, x, scale = _planes(grad, layout), _planes(input, layout), _scale(variance, eps)
    count, factor = x.dtype.type(layout.count), scale if weight is None else scale * weight
    slope = -factor * scale * products / count
    level = -factor * sums / count - mean * slope
    result = np.empty(input.shape, x.dtype)
    out = result.reshape(x.shape)
    for channels, pieces in _blocks(x):
        of_x, of_grad, more = (_spread(each[channels], x) for each in (slope, factor, level))
        for piece in pieces:
            part = out[piece, channels]
            np.multiply(x[piece, channels], of_x, part)
            part += more
            part += g[piece, channels] * of_grad
    return result
