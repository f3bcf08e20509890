"""group_norm in NumPy where channels lie innermost: image by image, as rows that are places and columns channels."""

from __future__ import annotations

import numpy as np

from tritorch.ops.layout import empty_by, format_order, in_order
from tritorch.ops.normalization.moments import scale_of
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.rowwise.host import sums_of_columns


class _Images:
    """A tensor with channels innermost, as (images, places, channels), and its groups of channels."""

    def __init__(self, input, layout):
        self.order, (self.groups, self.span) = format_order(input), layout.groups
        self.shape = input.shape[0], layout.count // max(self.span, 1), input.shape[1]
        self.pieces = pieces_of(self.shape[0], self.shape[1] * self.shape[2])

    def places(self, array):
        """An array as (images, places, channels): a view of one that lies as the input does."""
        return in_order(array, self.order).reshape(self.shape)

    def each(self, work):
        """Call `work` on the number of each image, several at a time."""
        for_each(lambda piece: [work(image) for image in range(piece.start, piece.stop)], self.pieces)

    def by_group(self, channels):
        """Sums over the channels of each group."""
        return channels.reshape(self.groups, self.span).sum(1)

    def by_channel(self, groups):
        """What each group has, for each of its channels."""
        return np.repeat(groups, self.span)


def group_norm_by_place(input, weight, bias, layout, eps):
    """Groups of channels of each image normalised: the result, means and variances."""
    images, kind, count = _Images(input, layout), input.dtype, input.dtype.type(layout.count)
    result = empty_by(input, input.shape, images.order)
    x, out = images.places(input), images.places(result)
    mean, variance = (np.empty((images.shape[0], images.groups), kind) for _ in range(2))

    def work(image):
        mean[image] = images.by_group(sums_of_columns(x[image])) / count
        part = np.subtract(x[image], images.by_channel(mean[image]), out[image])
        variance[image] = images.by_group(sums_of_columns(part, part)) / count
        scale = images.by_channel(scale_of(variance[image], eps))
        part *= scale if weight is None else scale * weight
        if bias is not None:
            part += bias

    images.each(work)
    return result, mean.reshape(-1), variance.reshape(-1)


def group_slope_by_place(grad, input, weight, mean, variance, layout, eps):
    """scale (g - mean g - x mean(g x)) by groups of each image, where g = grad weight."""
    images, count = _Images(input, layout), input.dtype.type(layout.count)
    result = empty_by(input, input.shape, images.order)
    g, x, out = (images.places(each) for each in (grad, input, result))
    mean, scale = (each.reshape(images.shape[0], images.groups) for each in (mean, scale_of(variance, eps)))

    def work(image):
        part = np.multiply(g[image], 1 if weight is None else weight, out[image])
        apart = np.subtract(x[image], images.by_channel(mean[image]), scratch(part))
        level = images.by_group(sums_of_columns(part)) / count
        slope = images.by_group(sums_of_columns(part, apart)) / count * scale[image] ** 2
        part -= images.by_channel(level)
        apart *= images.by_channel(slope)
        part -= apart
        part *= images.by_channel(scale[image])

    images.each(work)
    return result


def group_sums_by_place(grad, input, mean, variance, layout, eps):
    """For each channel the sum of the gradient times the normalised input, and the sum of the gradient."""
    images = _Images(input, layout)
    g, x = images.places(grad), images.places(input)
    mean, scale = (each.reshape(images.shape[0], images.groups) for each in (mean, scale_of(variance, eps)))
    products, sums = np.empty((2, images.shape[0], images.shape[2]), input.dtype)

    def work(image):
        apart = np.subtract(x[image], images.by_channel(mean[image]), scratch(x[image]))
        products[image] = sums_of_columns(apart, g[image]) * images.by_channel(scale[image])
        sums[image] = sums_of_columns(g[image])

    images.each(work)
    return tuple(each.sum(0, dtype=np.float64).astype(input.dtype) for each in (products, sums))
