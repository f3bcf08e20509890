"""Normalisations in NumPy, fast: rows in pieces that stay in the cache, several at a time, few passes over memory.

What varies along an axis of the pieces is spread to their shape first (by BLAS, or repeated): NumPy's inner loops are
short where it broadcasts, and that costs more than the memory.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.ops.normalization.group_places import group_sums_by_place
from tritorch.ops.normalization.layout import written_order
from tritorch.ops.normalization.places import (
    batch_inference_by_place,
    batch_norm_by_place,
    batch_slope_by_place,
    channel_sums_by_place,
    lies_by_place,
)
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.rowwise.host import ones, products_of_rows, sums_of_rows

_SMALL = 1 << 17  # elements, up to which BLAS is quicker than broadcasting, and does not start threads of its own
_TINY = 1 << 14  # elements, up to which fewer calls are quicker than fewer passes
_LARGEST_MEAN = 4  # the square of a mean over the variance


def _outer(column, row, out, more=None):
    """column[:, None] * row + more, to `out`: by BLAS, faster than broadcasting where rows are short."""
    # NumPy leaves to BLAS what has two terms, but not what has one.
    columns, rows = np.ones((column.size, 2), column.dtype), np.empty((2, row.size), row.dtype)
    columns[:, 0], rows[0], rows[1] = column, row, 0 if more is None else more
    return np.matmul(columns, rows, out)


def _scaled(x, scale, weights, out):
    """Rows times a factor for each, and one for each place unless None, to `out`."""
    if x.size > _SMALL:
        np.multiply(x, scale[:, None], out)
        return out if weights is None else np.multiply(out, weights, out)
    return np.multiply(x, _outer(scale, ones(x.shape[1], x.dtype) if weights is None else weights, out), out)


def _affine(x, scale, level, weights, bias, out):
    """(x scale + level) weights + bias: the first two by row, the others by place, and all but scale may be None."""
    if x.size > _SMALL:
        np.multiply(x, scale[:, None], out)
        if level is not None:
            out += level[:, None]
        if weights is not None:
            out *= weights
        if bias is not None:
            out += bias
        return
    _scaled(x, scale, weights, out)
    if level is not None or bias is not None:
        level = np.zeros_like(scale) if level is None else level
        out += _outer(level, ones(x.shape[1], x.dtype) if weights is None else weights, scratch(out), bias)


def _scale(variance, eps):
    return 1 / np.sqrt(variance + variance.dtype.type(eps))


@functools.lru_cache(maxsize=256)
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
    """The mean (or None) and the variance of each row; and rows near zero with the mean of each."""
    count = x.dtype.type(x.shape[1])
    square = products_of_rows(x, x) / count
    if not centred:
        return None, square, *_near_zero(x, None, square)
    mean = sums_of_rows(x) / count
    variance = square - mean * mean
    own, middle = _near_zero(x, mean, variance)
    return mean, variance if middle is mean else products_of_rows(own, own) / count, own, middle


def _weights_of_rows(weight, layout):
    """A function of a piece: the weight of each channel of its rows, ones where there is none."""
    groups, channels = layout.groups
    weight = np.ones(groups * channels, np.float32) if weight is None else weight
    own, group = weight.reshape(groups, channels), np.arange(layout.rows) % groups
    return lambda piece: own[group[piece]]


def _norm_of_few(x, weight, bias, eps, centred):
    """Rows with a weight for each place normalised as the formula says, where calls take longer than passes."""
    count, statistics = x.dtype.type(x.shape[1]), ()
    if centred:
        mean = sums_of_rows(x) / count
        x, statistics = x - mean[:, None], (mean,)
    variance = products_of_rows(x, x) / count
    out = x * _scale(variance, eps)[:, None]
    if weight is not None:
        out *= weight.reshape(-1)
    if bias is not None:
        out += bias.reshape(-1)
    return out, *statistics, variance


def norm_on_host(input, weight, bias, layout, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    rows, columns = layout.rows, layout.count
    x = input.reshape(rows, columns)
    if are_few(layout):
        out, *statistics = _norm_of_few(x, weight, bias, eps, centred)
        return out.reshape(input.shape), *statistics
    result = np.empty(input.shape, input.dtype)
    out, mean, variance = result.reshape(x.shape), np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    if has_weight_by_place(layout):
        weights, level = (None if each is None else each.reshape(-1) for each in (weight, bias))
    else:
        weights = _weights_of_rows(weight, layout)
        level = None if bias is None else _weights_of_rows(bias, layout)

    def fill(piece):
        means, variance[piece], own, middle = _moments(x[piece], centred)
        part, scale = out[piece], _scale(variance[piece], eps)
        if centred:
            mean[piece] = means
        if has_weight_by_place(layout):
            _affine(own, scale, -middle * scale if centred else None, weights, level, part)
        else:
            factor = scale[:, None] * weights(piece)
            more = -middle[:, None] * factor
            _by_channel(own, factor, part, more if level is None else more + level(piece))

    for_each(fill, pieces_of(*x.shape))
    return (result, *((mean,) if centred else ()), variance)


def _by_channel(x, factor, out, level=None):
    """Rows times a factor for each channel, and a level added, to `out`."""
    channels = (*factor.shape, -1) if x.size else (*factor.shape, 0)
    out = out.reshape(channels)
    np.multiply(x.reshape(channels), factor[..., None], out)
    if level is not None:
        out += level[..., None]


def norm_backward_on_host(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by rows, as g scale + x slope + level, where g = grad weight."""
    rows, columns = layout.rows, layout.count
    x, result = input.reshape(rows, columns), np.empty(input.shape, input.dtype)
    g, out, one = grad.reshape(x.shape), result.reshape(x.shape), ones(columns, x.dtype)
    by_place = has_weight_by_place(layout)
    weights = _weights_of_rows(weight, layout) if not by_place else None if weight is None else weight.reshape(-1)

    def fill(piece):
        part, scale = out[piece], _scale(variance[piece], eps)
        own, middle = _near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
        if by_place:
            _scaled(g[piece], scale, weights, part)
        else:
            _by_channel(g[piece], scale[:, None] * weights(piece), part)
        total = sums_of_rows(part) if mean is not None else np.zeros_like(scale)
        slope, level = _slope_and_level(middle, scale, total, products_of_rows(part, own), columns)
        more = _scaled(own, slope, None, scratch(part))
        part += more
        if mean is not None:
            part += level[:, None] if part.size > _SMALL else _outer(level, one, more)

    for_each(fill, pieces_of(*x.shape))
    return result


def are_few(layout):
    """Whether rows with a weight for each place are so few that fewer calls are quicker than fewer passes."""
    return math.prod(layout.shape) <= _TINY and has_weight_by_place(layout)


def norm_gradients_of_few(grad, input, weight, mean, variance, layout, eps):
    """The gradients by the input, the weight and the bias of few rows, as the formulas say."""
    x = input.reshape(layout.rows, layout.count)
    g, scale, count = grad.reshape(x.shape), _scale(variance, eps)[:, None], x.dtype.type(layout.count)
    hat = (x if mean is None else x - mean[:, None]) * scale
    products, sums = np.add.reduce(g * hat), np.add.reduce(g)
    own = g if weight is None else g * weight.reshape(-1)
    slope = own - hat * (products_of_rows(own, hat) / count)[:, None]
    if mean is not None:
        slope -= (sums_of_rows(own) / count)[:, None]
    slope *= scale
    return slope.reshape(input.shape), products, sums


def _slope_and_level(middle, scale, total, along, count):
    """What x is multiplied with and what is added, by row, from sums of g scale and of g scale x."""
    count = scale.dtype.type(count)
    slope = (middle * total - along) * scale * scale / count
    return slope, -total / count - middle * slope


def _planes(array, layout):
    """A tensor as (batch, channels, elements of a channel)."""
    size = math.prod([layout.shape[axis] for axis in layout.summed if axis])
    return array.reshape(layout.shape[0], math.prod(layout.channels), size)


def _blocks(x, *values):
    """Pieces that lie in the cache: where each is among items and channels, and its part of what each channel has.

    That is repeated for all elements of a channel in an item of the batch.
    """
    batch, channels, size = x.shape
    found = []
    for own in pieces_of(channels, size):
        spread = [np.repeat(each[own], size).reshape(-1, size) for each in values]
        found += [((items, own), *spread) for items in pieces_of(batch, (own.stop - own.start) * size)]
    return found


def _sums(x):
    """The sum of each channel of each item."""
    return x[..., 0] if x.shape[2] == 1 else sums_of_rows(x)


def _products(x, y):
    """The sum of products of each channel of each item."""
    return (x * y)[..., 0] if x.shape[2] == 1 else products_of_rows(x, y)


def _over_batch(values):
    """The sum over the batch, which may be long, in float64."""
    return values.sum(0, dtype=np.float64)


def _by_plane(statistic, layout):
    """A mean or variance for each channel of each item of the batch."""
    places = [1 if axis in layout.summed and axis else size for axis, size in enumerate(layout.shape)]
    spread = np.broadcast_to(statistic.reshape(layout.statistics), places)
    return spread.reshape(layout.shape[0], math.prod(layout.channels))


def channel_sums_on_host(grad, input, mean, variance, layout, eps):
    """For each channel the sum of the gradient times the normalised input, and the sum of the gradient."""
    if has_weight_by_place(layout):
        return _sums_by_place(grad, input, mean, variance, layout, eps)
    if layout.axes == layout.summed and lies_by_place(input):
        return channel_sums_by_place(grad, input, mean, variance, eps)
    if written_order(input, layout) is not None:
        return group_sums_by_place(grad, input, mean, variance, layout, eps)
    grad, x, mean = _planes(grad, layout), _planes(input, layout), _by_plane(mean, layout)
    sums, products = np.empty(grad.shape[:2], grad.dtype), np.empty(grad.shape[:2], grad.dtype)
    same = layout.axes == layout.summed  # each channel has one mean

    def measure(block):
        here, *middle = block
        apart = np.subtract(x[here], middle[0] if same else mean[here][..., None], scratch(x[here]))
        sums[here], products[here] = _sums(grad[here]), _products(apart, grad[here])

    if len(x):  # an empty batch has no planes to measure, and sums of nothing are zeros
        for_each(measure, _blocks(x, *((mean[0],) if same else ())))
    products *= _by_plane(_scale(variance, eps), layout)
    return tuple(_over_batch(each).astype(x.dtype) for each in (products, sums))


def _weighed(weights, rows):
    """The sum of rows, each times its weight."""
    return weights @ rows if rows.size <= _SMALL else np.einsum("i,ij->j", weights, rows)


def _sums_by_place(grad, input, mean, variance, layout, eps):
    """The same where each place of a row is a channel."""
    grad, x = (each.reshape(layout.rows, layout.count) for each in (grad, input))
    pieces, scale = pieces_of(*x.shape), _scale(variance, eps)
    found = np.empty((len(pieces), 2, layout.count), x.dtype)

    def measure(number):
        piece = pieces[number]
        own, middle = _near_zero(x[piece], None if mean is None else mean[piece], variance[piece])
        found[number, 0] = _weighed(scale[piece], np.multiply(grad[piece], own, scratch(own)))
        found[number, 0] -= _weighed(scale[piece] * middle, grad[piece])
        found[number, 1] = _weighed(np.ones_like(middle), grad[piece])

    for_each(measure, list(range(len(pieces))))
    products, sums = found.sum(0)
    return products, sums


def batch_norm_on_host(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    if lies_by_place(input):
        return batch_norm_by_place(input, weight, bias, layout, eps)
    x = _planes(input, layout)
    found, count = np.empty(x.shape[:2], x.dtype), x.shape[0] * x.shape[2]

    def measure(block):
        found[block[0]] = _sums(x[block[0]])

    for_each(measure, _blocks(x))
    mean = (_over_batch(found) / count).astype(x.dtype)

    def measure_squares(block):
        here, middle = block
        apart = np.subtract(x[here], middle, scratch(x[here]))
        found[here] = _products(apart, apart)

    for_each(measure_squares, _blocks(x, mean))
    variance = (_over_batch(found) / count).astype(x.dtype)
    return batch_inference_on_host(input, weight, bias, mean, variance, layout, eps), mean, variance


def batch_inference_on_host(input, weight, bias, mean, variance, layout, eps):
    """Each channel of a batch normalised by a mean and a variance: x scale + level, piece by piece."""
    if lies_by_place(input):
        return batch_inference_by_place(input, weight, bias, mean, variance, eps)
    x, scale = _planes(input, layout), _scale(variance, eps)
    scale = scale if weight is None else scale * weight
    level = -mean * scale if bias is None else bias - mean * scale
    result = np.empty(input.shape, x.dtype)
    out = result.reshape(x.shape)

    def fill(block):
        here, factor, more = block
        part = out[here]
        np.multiply(x[here], factor, part)
        part += more

    for_each(fill, _blocks(x, scale, level))
    return result


def batch_slope_on_host(grad, input, weight, mean, variance, products, sums, layout, eps):
    """scale (g - mean g - x mean(g x)) by channels, as g scale + x slope + level."""
    if lies_by_place(input):
        return batch_slope_by_place(grad, input, weight, mean, variance, products, sums, layout, eps)
    g, x, scale = _planes(grad, layout), _planes(input, layout), _scale(variance, eps)
    count, factor = x.dtype.type(layout.count), scale if weight is None else scale * weight
    slope = -factor * scale * products / count
    level = -factor * sums / count - mean * slope
    result = np.empty(input.shape, x.dtype)
    out = result.reshape(x.shape)

    def fill(block):
        here, of_x, of_grad, more = block
        part = out[here]
        np.multiply(x[here], of_x, part)
        part += more
        part += np.multiply(g[here], of_grad, scratch(part))

    for_each(fill, _blocks(x, slope, factor, level))
    return result
