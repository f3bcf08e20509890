"""Which taps of a window are inside an image, worked out in kernels: for a place of the result, or for all of them.

A kernel does the same for forward and, with BACK, for the input gradient. Forward, tap j of place p reads at
p * stride - before + dilation * j. Backward, place p gets the taps first, first + period, ... where p + before -
dilation * tap divides by the stride, and reads the gradient at start - hop * j.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autotune import kernel
from tritorch.ops.layout import element_strides
from tritorch.runtime import tl


@kernel
def far(index, WIDE: tl.constexpr):
    """An index whose offset may need 64 bits."""
    if WIDE:
        index = index.to(tl.int64)
    return index


@kernel
def split_in_three(index, counts):
    """Which image and which of three counters an index stands for, the last counter turning fastest."""
    last, rest = index % counts[2], index // counts[2]
    middle, rest = rest % counts[1], rest // counts[1]
    return rest // counts[0], rest % counts[0], middle, last


@kernel
def reached(place, size, taps, stride, before, dilation, period, hop, BACK: tl.constexpr):
    """Along one dimension: where tap 0 of a place reads, which tap that is, and which taps are inside, from and to."""
    if BACK:
        first = place * 0 + taps
        for tap in range(period):
            first = tl.where((place + before - dilation * tap) % stride == 0, tap, first)
        start = (place + before - dilation * first) // stride
        low = tl.cdiv(tl.maximum(start - size + 1, 0), hop)
        high = tl.minimum(tl.cdiv(taps - first, period), tl.maximum(start + hop, 0) // hop)
    else:
        first = place * 0
        start = place * stride - before
        low = tl.cdiv(tl.maximum(-start, 0), hop)
        high = tl.minimum(first + taps, tl.cdiv(tl.maximum(size - start, 0), hop))
    return start, first, tl.minimum(low, high), high


@kernel
def places_reached(shift, size, places, stride):
    """Along one dimension: from and to which place a tap that reads at place * stride + shift is inside."""
    low = tl.cdiv(tl.maximum(-shift, 0), stride)
    high = tl.minimum(shift * 0 + places, tl.cdiv(tl.maximum(size - shift, 0), stride))
    return tl.minimum(low, high), high


@kernel
def stepped(offset, last, middle, first, step, length, last_low, last_high, middle_low, middle_high):
    """An offset `step` further; at `length` from 0 again, with the next of three nested counters, the last fastest."""
    offset += step
    ended = offset >= length
    last += ended.to(tl.int32)
    turned = last >= last_high
    middle += turned.to(tl.int32)
    over = middle >= middle_high
    return (
        tl.where(ended, 0, offset),
        tl.where(turned, last_low, last),
        tl.where(over, middle_low, middle),
        first + over.to(tl.int32),
    )


def periods(stride, dilation, back):
    """For each dimension: how many taps on is the next that a place gets, and how far on it reads."""
    if not back:
        return (1,) * len(stride), tuple(dilation)
    period = tuple([by // math.gcd(by, step) for by, step in zip(stride, dilation, strict=True)])
    return period, tuple([step * each // by for by, step, each in zip(stride, dilation, period, strict=True)])


def in_three(values, fill):
    """One value for each of three spatial dimensions, of one for each of up to three: kernels know no other number."""
    return (fill,) * (3 - len(values)) + tuple(values)


class Windows(NamedTuple):
    """What describes the windows of a convolution, each along three spatial dimensions."""

    size: tuple  # of what is read
    places: tuple  # of the result: what is read for them are the windows
    taps: tuple
    stride: tuple
    before: tuple  # padding before the first element
    dilation: tuple

    @property
    def number(self):
        """How many taps there are."""
        return math.prod(self.taps)


def windows(size, places, taps, stride, padding, dilation):
    """The Windows of a convolution over up to three dimensions."""
    before = tuple([ends[0] for ends in padding])
    return Windows(
        in_three(size, 1), in_three(places, 1), in_three(taps, 1), in_three(stride, 1), in_three(before, 0),
        in_three(dilation, 1),
    )  # fmt: skip


def steps_of(array):
    """The strides, in elements, of (images, channels, and three spatial dimensions) of images."""
    image, channel, *rest = element_strides(array)
    return image, channel, *in_three(rest, 0)
