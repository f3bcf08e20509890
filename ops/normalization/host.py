"""Normalisations in NumPy, fast: sums by BLAS, rows in pieces that stay in the cache, few passes over memory.

What varies along an axis of the pieces is spread to their shape first (by BLAS, or repeated): NumPy's inner loops are
short where it broadcasts, and that costs more than the memory.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.rowwise.host import ones

_PIECE = 1 << 16  # elements
_LARGEST_MEAN = 4  # the square of a mean over the variance


class _Outer:
    """column[:, None] * row + more, some rows at a time: by BLAS, faster than broadcasting where rows are short."""

    def __init__(self, column, row, more=None):
        # NumPy leaves to BLAS what has two terms, but not what has one.
        self.columns, self.rows = np.ones((column.size, 2), column.dtype), np.zeros((2, row.size), row.dtype)
        self.columns[:, 0], self.rows[0] = column, row
        if more is not None:
            self.rows[1] = more

    def __call__(self, piece, out):
        return np.matmul(self.columns[piece], self.rows, out)


def _scale(variance, eps):
    return 1 / np.sqrt(variance + variance.dtype.type(eps))


def _pieces(x):
    """Slices of rows that lie in the cache, each with an array of its shape to write over."""
    rows, columns = x.shape
    step = max(1, min(rows, _PIECE // max(columns, 1)))
    scratch = np.empty((step, columns), x.dtype)
    for start in range(0, rows, step):
        yield slice(start, start + step), scratch[: rows - start]


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
    mean = x @ ones(x.shape[1], x.dtype) / count
    variance = square - mean * mean
    apart, middle = _near_zero(x, mean, variance)
    return mean, variance if middle is mean else np.vecdot(apart, apart) / count


def norm_on_host(input, weight, bias, layout, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    rows, columns = layout.rows, layout.count
    x, result = input.reshape(rows, columns), np.empty(input.shape, input.dtype)
    mean, variance = _moments(x, centred)
    own, middle = _near_zero(x, mean if centred else None, variance)
    scale = _scale(variance, eps)
    if has_weight_by_place(layout):
        weights = ones(columns, x.dtype) if weight is None else weight.reshape(-1)
        factors = _Outer(scale, weights)
        levels = _Outer(-middle * scale, weights, None if bias is None else bias.reshape(-1))
        out = result.reshape(x.shape)
        for piece, scratch in _pieces(x):
            part = out[piece]
            np.multiply(own[piece], factors(piece, scratch), part)
            if centred or bias is not None:
                part += levels(piece, scratch)
    else:
        factor = _by_plane(scale, layout) * (1 if weight is None else weight)
        level = (0 if bias is None else bias) - _by_plane(middle, layout) * factor
        _combine_planes(_planes(result, layout), level, (_planes(own, layout), factor))
    return (result, *((mean,) if centred else ()), variance)


def norm_backward_on_host(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by rows, as g scale + x slope + level, where g = grad weight."""
    rows, columns = layout.rows, layout.count
    x, scale, result = input.reshape(rows, columns), _scale(variance, eps), np.empty(input.shape, input.dtype)
    own, middle = _near_zero(x, mean, variance)
    if not has_weight_by_place(layout):
        weights = np.ones((), x.dtype) if weight is None else weight
        g, planes = _planes(grad, layout), _planes(own, layout)
        total, along = (
            scale * (each * weights).reshape(rows, layout.groups[1]).sum(1) for each in (_sums(g), _products(g, planes))
        )
        slope, level = _slope_and_level(middle, scale, total, along, columns)
        slope, level, factor = (_by_plane(each, layout) for each in (slope, level, scale))
        _combine_planes(_planes(result, layout), level, (planes, slope), (g, factor * weights))
        return result
    grad, out, one = grad.reshape(rows, columns), result.reshape(rows, columns), ones(columns, x.dtype)
    along, total = np.empty(rows, x.dtype), np.zeros(rows, x.dtype)
    factors = _Outer(scale, one if weight is None else weight.reshape(-1))
    for piece, scratch in _pieces(x):
        np.multiply(grad[piece], factors(piece, scratch), out[piece])
        np.vecdot(out[piece], own[piece], along[piece])
        if mean is not None:
            np.matmul(out[piece], one, total[piece])
    slopes, levels = (_Outer(each, one) for each in _slope_and_level(middle, scale, total, along, columns))
    for piece, scratch in _pieces(x):
        part = out[piece]
        part += np.multiply(own[piece], slopes(piece, scratch), scratch)
        if mean is not None:
            part += levels(piece, scratch)
    return result


def _slope_and_level(middle, scale, total, along, count):
    """What x is multiplied with and what is added, by row, from sums of g scale and of g scale x."""
    count = scale.dtype.type(count)
    slope = (middle * total - along) * scale * scale / count
    return slope, -total / count - middle * slope


def _combine_planes(out, level, *terms):
    """The sum of arrays, each times a factor for each channel of each item, and of a level for each of those."""
    step = max(1, _PIECE // max(out.shape[1] * out.shape[2], 1))
    for start in range(0, len(out), step):
        piece = slice(start, start + step)
        part, (first, factor) = out[piece], terms[0]
        np.multiply(first[piece], factor[piece, :, None], part)
        part += level[piece, :, None]
        for more, factor in terms[1:]:
            part += more[piece] * factor[piece, :, None]


def _planes(array, layout):
    """A tensor as (batch, channels, elements of a channel)."""
    size = math.prod([layout.shape[axis] for axis in layout.summed if axis])
    return array.reshape(layout.shape[0], math.prod(layout.channels), size)


def _blocks(x):
    """Channels a few at a time, each time with all items of the batch a few at a time: pieces that lie in the cache."""
    batch, channels, size = x.shape
    wide = max(1, min(channels, _PIECE // max(size, 1)))
    tall = max(1, _PIECE // max(wide * size, 1))
    pieces = [slice(start, start + tall) for start in range(0, batch, tall)]
    for start in range(0, channels, wide):
        yield slice(start, start + wide), pieces


def _sums(x):
    """The sum of each channel of each item."""
    return x[..., 0] if x.shape[2] == 1 else x @ ones(x.shape[2], x.dtype)


def _products(x, y):
    """The sum of products of each channel of each item."""
    return (x * y)[..., 0] if x.shape[2] == 1 else np.vecdot(x, y)


def _over_batch(values):
    """The sum over the batch, which may be long, in float64."""
    return values.sum(0, dtype=np.float64)


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
        own, middle = _near_zero(x, mean, variance)
        products = -(scale * middle) @ grad
        for piece, scratch in _pieces(x):
            products += scale[piece] @ np.multiply(grad[piece], own[piece], scratch)
        return products, ones(rows, x.dtype) @ grad
    grad, x, mean = _planes(grad, layout), _planes(input, layout), _by_plane(mean, layout)
    sums, products = _sums(grad), np.empty(grad.shape[:2], grad.dtype)
    for channels, pieces in _blocks(x):
        same = layout.axes == layout.summed  # each channel has one mean
        middle = _spread(mean[0, channels], x) if same else None
        for piece in pieces:
            apart = x[piece, channels] - (middle if same else mean[piece, channels, None])
            products[piece, channels] = _products(apart, grad[piece, channels])
    products *= _by_plane(_scale(variance, eps), layout)
    return tuple(_over_batch(each).astype(x.dtype) for each in (products, sums))


def batch_norm_on_host(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    x = _planes(input, layout)
    batch, channels, size = x.shape
    mean = (_over_batch(_sums(x)) / (batch * size)).astype(x.dtype)
    variance = np.zeros(channels)
    for own, pieces in _blocks(x):
        middle = _spread(mean[own], x)
        for piece in pieces:
            apart = x[piece, own] - middle
            variance[own] += _over_batch(_products(apart, apart))
    variance = (variance / (batch * size)).astype(x.dtype)
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
