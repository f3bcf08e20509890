"""Convolutions of images of few channels: a row of a window, which lies in one piece, stands for the channels.

Images are copied once, channels innermost, padded along the last dimension and to a number of channels for which every
window starts at a multiple of 16 bytes. Then what the taps of a row read, taps times channels, are neighbours: seen
as the channels of overlapping places it leaves a convolution with one tap along the last dimension. What lies behind a
row, up to a multiple of 8 elements, is the next pixel: kernels read zeros there, as zero times infinity is no number.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.autotune import cdiv, kernel
from tritorch.ops.convolution.reach import Windows, far, split_in_three, steps_of
from tritorch.ops.layout import element_strides, empty_like, needs_64_bits
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.pointwise.kernel import block_space, pointwise_default
from tritorch.runtime import tl
from tritorch.runtime.specialise import ALIGNMENT
from tritorch.runtime.views import as_strided

_UNIT = 8  # what the number of channels seen is a multiple of
OWN_UNIT = 4  # what the number of those is a multiple of that are a window's own


class Rows(NamedTuple):
    """How the rows of windows are seen."""

    channels: int  # of the copy
    own: int  # elements of a row of a window, taps and channels
    inner: int  # the same to a multiple of 8
    width: int  # of the copy, in places


def rows_of_windows(x, windows):
    """The Rows for images `x`, or None where there are too many channels or the taps of a row have gaps."""
    channels, by, taps = x.shape[1], windows.stride[2], windows.taps[2]
    if channels >= _UNIT or taps == 1 or windows.dilation[2] > 1 or x.shape[0] == 0:
        return None
    enough = [each for each in (1, 2, 4, 8) if each >= channels and each * by * x.itemsize % ALIGNMENT == 0]
    wide = next(each for each in enough if taps * each % _UNIT == 0 or each % OWN_UNIT == 0)
    inner = cdiv(taps * wide, _UNIT) * _UNIT
    return Rows(wide, taps * wide, inner, (windows.places[2] - 1) * by + cdiv(inner, wide))


@kernel(space=block_space(), default=pointwise_default, key=("WIDE",))
def pad_kernel(
    x,  # images: (images, channels, *size) by strides
    out,  # contiguous, with zeros around: (images, *size but the last, width, wide)
    count,  # elements of out
    channels,
    wide,
    size,
    places,  # the size of out
    first,  # how many places of zeros there are before the first
    strides,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = index < count
    if not WIDE:
        index = index.to(tl.int32)
    channel, place = index % wide, index // wide
    image, place0, place1, place2 = split_in_three(place, places)
    place2 -= first
    inside = known & (channel < channels) & (place2 >= 0) & (place2 < size[2])
    at = far(image, WIDE) * strides[0] + far(channel, WIDE) * strides[1] + far(place0, WIDE) * strides[2]
    at += far(place1, WIDE) * strides[3] + far(place2, WIDE) * strides[4]
    tl.store(out + index, tl.load(x + at, mask=inside, other=0), mask=known)


def padded(x, wide, first, width):
    """A copy as (images, *size but the last, width, wide), with zeros before the first place and after the rest."""
    images, channels, *size, _ = x.shape
    out = empty_like(x, (images, *size, width, wide))
    narrow = needs_64_bits(out.shape, [element_strides(out)]) or needs_64_bits(x.shape, [element_strides(x)])
    config = pad_kernel.config((x, out), count=out.size, WIDE=narrow)
    pad_kernel[(cdiv(out.size, config["BLOCK"]),)](
        x, out, out.size, channels, wide, (*(1,) * (5 - x.ndim), *x.shape[2:]),
        (*(1,) * (5 - x.ndim), *size, width), first, steps_of(x), WIDE=narrow, **config,
    )  # fmt: skip
    return out


def seen_by_rows(x, windows, rows):
    """The images as (images, inner, *size, places), and the Windows of the convolution that is left."""
    images, _, *size, _ = x.shape
    copy = padded(x, rows.channels, windows.before[2], rows.width)
    image, *outer, place, channel = copy.strides
    seen = as_strided(
        copy, (images, rows.inner, *size, windows.places[2]), (image, channel, *outer, windows.stride[2] * place)
    )
    left = Windows(
        (*windows.size[:2], windows.places[2]), windows.places, (*windows.taps[:2], 1), (*windows.stride[:2], 1),
        (*windows.before[:2], 0), (*windows.dilation[:2], 1),
    )  # fmt: skip
    return seen, left


def filters_by_rows(weight, rows):
    """Filters (features, channels, *taps) as (features, inner, *taps but the last, 1), channels innermost."""
    features, _, *taps, _ = weight.shape
    copy = padded(weight, rows.channels, 0, rows.inner // rows.channels)
    rank = weight.ndim
    return copy.reshape((features, *taps, 1, rows.inner)).transpose((0, rank - 1, *range(1, rank - 1)))


def filters_from_rows(found, out, rows):
    """Copy a gradient by filters seen so, (features, *taps but the last, inner), to that by the filters themselves."""
    features, channels, *taps, last = out.shape
    feature, *steps, step = found.strides
    there = as_strided(found, (features, channels, *taps, last), (feature, step, *steps, rows.channels * step))
    copy_elements(there, out)
