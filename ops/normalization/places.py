"""batch_norm in NumPy where channels lie innermost: a row is a place of an image, a column a channel.

Where channels are few, places that lie one after the other make up a longer row, with what each channel has repeated
along it: NumPy's inner loops are over a row.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.layout import empty_by, format_order
from tritorch.ops.normalization.moments import are_near_zero, scale_of
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.rowwise.host import sums_of_columns

_LONG = 1024  # elements, from which on a row is long enough


def lies_by_place(input):
    """Whether a tensor's channels lie innermost."""
    return format_order(input) is not None


class _Places:
    """A tensor with channels innermost as rows of whole places, and what goes by channel repeated along a row."""

    def __init__(self, input):
        self.order, self.channels = format_order(input), input.shape[1]
        places, self.together = input.size // max(self.channels, 1), 1
        while 2 * self.together * self.channels <= _LONG and places % (2 * self.together) == 0:
            self.together *= 2
        self.pieces = pieces_of(places // self.together, self.together * self.channels)

    def rows(self, array):
        """An array as rows: a view of one that lies as the input does."""
        return array.transpose(self.order).reshape(-1, self.together * self.channels)

    def along(self, *values):
        """What each channel has, along a row."""
        return [np.tile(each, self.together) for each in values]

    def sums(self, count, measure):
        """`count` sums for each channel over all rows, of which `measure` gives those of a piece."""
        found = np.empty((len(self.pieces), count, self.together * self.channels))

        def fill(number):
            found[number] = measure(self.pieces[number])

        for_each(fill, list(range(len(self.pieces))))
        return found.sum(0).reshape(count, self.together, self.channels).sum(1)


def batch_norm_by_place(input, weight, bias, layout, eps):
    """Each channel of a batch normalised: the result, mean and variance."""
    places = _Places(input)
    x, kind = places.rows(input), input.dtype.type
    sums, squares = places.sums(2, lambda piece: [sums_of_columns(x[piece]), sums_of_columns(x[piece], x[piece])])
    mean = sums / layout.count
    variance = squares / layout.count - mean * mean
    mean = mean.astype(kind)
    if not are_near_zero(mean, variance):
        (middle,) = places.along(mean)

        def measure(piece):
            apart = np.subtract(x[piece], middle, scratch(x[piece]))
            return [sums_of_columns(apart, apart)]

        variance = places.sums(1, measure)[0] / layout.count
    variance = variance.astype(kind)
    return batch_inference_by_place(input, weight, bias, mean, variance, eps), mean, variance


def batch_inference_by_place(input, weight, bias, mean, variance, eps):
    """Each channel of a batch normalised by a mean and a variance: x scale + level."""
    places, scale = _Places(input), scale_of(variance, eps)
    scale = scale if weight is None else scale * weight
    factor, level = places.along(scale, -mean * scale if bias is None else bias - mean * scale)
    result = empty_by(input, input.shape, places.order)
    x, out = places.rows(input), places.rows(result)

    def fill(piece):
        np.multiply(x[piece], factor, out[piece])
        out[piece] += level

    for_each(fill, places.pieces)
    return result


def channel_sums_by_place(grad, input, mean, variance, eps):
    """For each channel the sum of the gradient times the normalised input, and the sum of the gradient."""
    places, near = _Places(input), are_near_zero(mean, variance)
    g, x, (middle,) = places.rows(grad), places.rows(input), places.along(mean)

    def measure(piece):
        apart = x[piece] if near else np.subtract(x[piece], middle, scratch(x[piece]))
        return [sums_of_columns(apart, g[piece]), sums_of_columns(g[piece])]

    products, sums = places.sums(2, measure)
    products = products - mean * sums if near else products
    return (products * scale_of(variance, eps)).astype(input.dtype), sums.astype(input.dtype)


def batch_slope_by_place(grad, input, weight, mean, variance, products, sums, layout, eps):
    """scale (g - mean g - x mean(g x)) by channels, as g scale + x slope + level."""
    places, scale = _Places(input), scale_of(variance, eps)
    count, factor = input.dtype.type(layout.count), scale if weight is None else scale * weight
    slope = -factor * scale * products / count
    factor, slope, level = places.along(factor, slope, -factor * sums / count - mean * slope)
    result = empty_by(input, input.shape, places.order)
    g, x, out = places.rows(grad), places.rows(input), places.rows(result)

    def fill(piece):
        part = np.multiply(x[piece], slope, out[piece])
        part += level
        part += np.multiply(g[piece], factor, scratch(part))

    for_each(fill, places.pieces)
    return result
