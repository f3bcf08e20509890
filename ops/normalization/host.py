"""Normalisations in NumPy, fast: rows in pieces that stay in the cache, several at a time, few passes over memory.

What varies along an axis of the pieces is repeated to their shape first: NumPy's inner loops are short where it
broadcasts, and that costs more than the memory.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.normalization.group_places import group_sums_by_place
from tritorch.ops.normalization.layout import written_order
from tritorch.ops.normalization.moments import are_near_zero, moments_of, near_zero, scale_of, slope_and_level
from tritorch.ops.normalization.places import (
    batch_inference_by_place,
    batch_norm_by_place,
    batch_slope_by_place,
    channel_sums_by_place,
    lies_by_place,
)
from tritorch.ops.normalization.row_host import (
    are_few,
    gradients_of_rows,
    has_weight_by_place,
    norm_gradients_of_few,
    norm_of_few,
    norm_of_rows,
    sums_of_rows_by_place,
)
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.rowwise.host import products_of_rows, sums_of_rows


def _weights_of_rows(weight, layout):
    """A function of a piece: the weight of each channel of its rows, ones where there is none."""
    groups, channels = layout.groups
    weight = np.ones(groups * channels, np.float32) if weight is None else weight
    own, group = weight.reshape(groups, channels), np.arange(layout.rows) % groups
    return lambda piece: own[group[piece]]


def norm_on_host(input, weight, bias, layout, eps, centred):
    """Rows normalised: the result, the mean where `centred`, and the variance."""
    x = input.reshape(layout.rows, layout.count)
    if not has_weight_by_place(layout):
        result, *statistics = _norm_of_groups(x, weight, bias, layout, eps)
    else:
        norm = norm_of_few if are_few(layout) else norm_of_rows
        result, *statistics = norm(x, weight, bias, eps, centred)
    return result.reshape(input.shape), *statistics


def _norm_of_groups(x, weight, bias, layout, eps):
    """Rows of several channels normalised: the result, the mean and the variance."""
    result, mean, variance = np.empty_like(x), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    weights = _weights_of_rows(weight, layout)
    level = None if bias is None else _weights_of_rows(bias, layout)

    def fill(piece):
        mean[piece], variance[piece], own, middle = moments_of(x[piece], True)
        factor = scale_of(variance[piece], eps)[:, None] * weights(piece)
        more = -middle[:, None] * factor
        _by_channel(own, factor, result[piece], more if level is None else more + level(piece))

    for_each(fill, pieces_of(*x.shape))
    return result, mean, variance


def _by_channel(x, factor, out, level=None):
    """Rows times a factor for each channel, and a level added, to `out`."""
    channels = (*factor.shape, -1) if x.size else (*factor.shape, 0)
    out = out.reshape(channels)
    np.multiply(x.reshape(channels), factor[..., None], out)
    if level is not None:
        out += level[..., None]


def norm_backward_on_host(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by rows, as g scale + x slope + level, where g = grad weight."""
    x = input.reshape(layout.rows, layout.count)
    g = grad.reshape(x.shape)
    if has_weight_by_place(layout):
        return gradients_of_rows(g, x, weight, mean, variance, eps, sums=False)[0].reshape(input.shape)
    result, weights = np.empty_like(x), _weights_of_rows(weight, layout)

    def fill(piece):
        part, scale = result[piece], scale_of(variance[piece], eps)
        own, middle = near_zero(x[piece], mean[piece], variance[piece])
        _by_channel(g[piece], scale[:, None] * weights(piece), part)
        slope, level = slope_and_level(
            middle, scale, sums_of_rows(part), products_of_rows(part, own), layout.count
        )  # fmt: skip
        part += np.multiply(own, slope[:, None], scratch(part))
        part += level[:, None]

    for_each(fill, pieces_of(*x.shape))
    return result.reshape(input.shape)


def norm_gradients_on_host(grad, input, weight, mean, variance, layout, eps):
    """The gradients by the input, the weight and the bias, where each place has a weight."""
    if are_few(layout):
        return norm_gradients_of_few(grad, input, weight, mean, variance, layout, eps)
    x = input.reshape(layout.rows, layout.count)
    slope, *sums = gradients_of_rows(grad.reshape(x.shape), x, weight, mean, variance, eps)
    return slope.reshape(input.shape), *sums


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
        grad, x = (each.reshape(layout.rows, layout.count) for each in (grad, input))
        return sums_of_rows_by_place(grad, x, mean, variance, eps)
    if layout.axes == layout.summed and lies_by_place(input):
        return channel_sums_by_place(grad, input, mean, variance, eps)
    if written_order(input, layout) is not None:
        return group_sums_by_place(grad, input, mean, variance, layout, eps)
    near, grad, x = are_near_zero(mean, variance), _planes(grad, layout), _planes(input, layout)
    mean = _by_plane(mean, layout)
    sums, products = (np.empty(grad.shape[:2], grad.dtype) for _ in range(2))
    same = layout.axes == layout.summed  # each channel has one mean

    def measure(block):
        here, *middle = block
        sums[here] = _sums(grad[here])
        if near:
            products[here] = _products(x[here], grad[here])
            return
        apart = np.subtract(x[here], middle[0] if same else mean[here][..., None], scratch(x[here]))
        products[here] = _products(apart, grad[here])

    if len(x):  # an empty batch has no planes to measure, and sums of nothing are zeros
        for_each(measure, _blocks(x, *((mean[0],) if same and not near else ())))
    if near:
        products -= mean * sums
    products *= _by_plane(scale_of(variance, eps), layout)
    return tuple(_over_batch(each).astype(x.dtype) for each in (products, sums))


def batch_norm_on_host(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    if lies_by_place(input):
        return batch_norm_by_place(input, weight, bias, layout, eps)
    x = _planes(input, layout)
    sums, squares = np.empty((2, *x.shape[:2]), x.dtype)
    count = x.shape[0] * x.shape[2]

    def measure(block):
        sums[block[0]], squares[block[0]] = _sums(x[block[0]]), _products(x[block[0]], x[block[0]])

    for_each(measure, _blocks(x))
    mean = _over_batch(sums) / count
    variance = _over_batch(squares) / count - mean * mean
    mean = mean.astype(x.dtype)
    if not are_near_zero(mean, variance):

        def measure_apart(block):
            here, middle = block
            apart = np.subtract(x[here], middle, scratch(x[here]))
            squares[here] = _products(apart, apart)

        for_each(measure_apart, _blocks(x, mean))
        variance = _over_batch(squares) / count
    variance = variance.astype(x.dtype)
    return batch_inference_on_host(input, weight, bias, mean, variance, layout, eps), mean, variance


def batch_inference_on_host(input, weight, bias, mean, variance, layout, eps):
    """Each channel of a batch normalised by a mean and a variance: x scale + level, piece by piece."""
    if lies_by_place(input):
        return batch_inference_by_place(input, weight, bias, mean, variance, eps)
    x, scale = _planes(input, layout), scale_of(variance, eps)
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
    g, x, scale = _planes(grad, layout), _planes(input, layout), scale_of(variance, eps)
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
