"""Statistics of rows in NumPy, and what a gradient is made of by them."""

from __future__ import annotations

import numpy as np

from tritorch.ops.rowwise.host import products_of_rows, sums_of_rows

_LARGEST_MEAN = 4  # the square of a mean over the variance


def scale_of(variance, eps):
    """One over the standard deviation."""
    return 1 / np.sqrt(variance + variance.dtype.type(eps))


def are_near_zero(mean, variance):
    """Whether no mean is so large that squares or products of what it is subtracted from would cancel."""
    return bool((mean * mean <= _LARGEST_MEAN * variance).all())


def near_zero(x, mean, variance):
    """Rows, and the mean of each: x itself unless a mean is large."""
    if mean is None:
        return x, np.zeros(len(x), x.dtype)
    if are_near_zero(mean, variance):
        return x, mean
    return x - mean[:, None], np.zeros(len(x), x.dtype)


def moments_of(x, centred):
    """The mean (or None) and the variance of each row; and rows near zero with the mean of each."""
    count = x.dtype.type(x.shape[1])
    square = products_of_rows(x, x) / count
    if not centred:
        return None, square, *near_zero(x, None, square)
    mean = sums_of_rows(x) / count
    variance = square - mean * mean
    own, middle = near_zero(x, mean, variance)
    return mean, variance if middle is mean else products_of_rows(own, own) / count, own, middle


def slope_and_level(middle, scale, total, along, count):
    """What x is multiplied with and what is added, by row, from sums of g scale and of g scale x."""
    count = scale.dtype.type(count)
    slope = (middle * total - along) * scale * scale / count
    return slope, -total / count - middle * slope
