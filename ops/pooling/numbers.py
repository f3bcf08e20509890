"""The number of an element in its window, which a byte holds, and where in its plane that is."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tritorch.ops.base import TABLE
from tritorch.ops.layout import format_order, in_order, out_of_order
from tritorch.ops.pooling.shape import flat


def numbered(kernel_size):
    """Whether a byte holds the number of each element of a window."""
    return math.prod(kernel_size) <= 256


def places_from(taps, image, kernel_size, stride, padding, dilation):
    """Where in its plane each window's largest element is, from its number in the window; on the host."""
    order, out = format_order(taps), taps.shape[2:]
    starts = [
        flat([at * step - pad for at, step, pad in zip(number, dilation, padding, strict=True)], image)
        for number in itertools.product(*map(range, kernel_size))
    ]
    indices = out_of_order(np.take(np.array(starts, np.int64), in_order(taps, order)), order)
    indices += flat(np.ix_(*[np.arange(places) * by for places, by in zip(out, stride, strict=True)]), image)
    return indices


def composed_places(taps, image, kernel_size, stride, padding, dilation):
    """The same of Tensors, composed of ops."""
    number, place, ndim = taps.long(), 0, len(image)
    for dim, (size, by, pad, step) in enumerate(zip(image, stride, padding, dilation, strict=True)):
        count = taps.array.shape[dim - ndim]
        first = TABLE["arange"].apply(0, by, count, np.dtype(np.int64), taps.device) - pad
        at = number // math.prod(kernel_size[dim + 1 :]) % kernel_size[dim]
        place = place * size + first.reshape((-1, *(1,) * (ndim - 1 - dim))) + at * step
    return place
