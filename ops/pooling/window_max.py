"""Maximum pooling over windows that are given one by one, as adaptive and fractional pooling have them."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import TABLE, Op
from tritorch.ops.layout import as_contiguous, element_strides, empty_by, format_order, lying_by, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.pooling.max_pool import BLOCKS, lowest
from tritorch.ops.pooling.place import place_of, reciprocals, windows_default
from tritorch.ops.pooling.shape import evenly, flat
from tritorch.runtime import tl


@kernel(space=BLOCKS, default=windows_default, key=("taps", "INNERMOST", "WIDE"))
def _window_max(
    x,  # images: (images, channels, *size) by x_strides
    bounds,  # for each place along each dimension, where its window begins and ends: (planes or 1, places, 2)
    out,  # the largest of each window, as INNERMOST says: (images, channels, *out_size)
    indices,  # where in its plane it is: as out
    count,
    channels,
    size,  # of x: depth, height, width
    out_size,
    x_strides,
    by,  # what `place_of` divides by
    step,  # from plane to plane in bounds; 0 where all planes have the same windows
    longest,  # window, along each dimension
    COMPUTE: tl.constexpr,
    LOWEST: tl.constexpr,
    INNERMOST: tl.constexpr,  # the channels of the results lie innermost
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = index < count
    image, channel, back, down, across = place_of(index, channels, out_size, by, INNERMOST, WIDE)
    x += image * x_strides[0] + channel * x_strides[1]
    bounds += (image * channels + channel) * step
    first_layer = tl.load(bounds + back * 2, mask=known, other=0)
    last_layer = tl.load(bounds + back * 2 + 1, mask=known, other=0)
    first_row = tl.load(bounds + (out_size[0] + down) * 2, mask=known, other=0)
    last_row = tl.load(bounds + (out_size[0] + down) * 2 + 1, mask=known, other=0)
    first_column = tl.load(bounds + (out_size[0] + out_size[1] + across) * 2, mask=known, other=0)
    last_column = tl.load(bounds + (out_size[0] + out_size[1] + across) * 2 + 1, mask=known, other=0)
    best = tl.full([BLOCK], LOWEST, COMPUTE)
    found = tl.full([BLOCK], -1, tl.int64)
    for i in range(longest[0]):
        layer = first_layer + i
        for j in range(longest[1]):
            row = first_row + j
            line = known & (layer < last_layer) & (row < last_row)
            for k in range(longest[2]):
                column = first_column + k
                inside = line & (column < last_column)
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                value = tl.load(x + offset, mask=inside, other=0).to(COMPUTE)
                better = inside & ((value > best) | (value != value) | (found < 0))
                best = tl.where(better, value, best)
                found = tl.where(better, ((layer * size[1] + row) * size[2] + column).to(tl.int64), found)
    tl.store(out + index, best.to(out.dtype.element_ty), mask=known)
    tl.store(indices + index, found, mask=known)


class WindowMax(Op):
    """The largest element of each window of (images, channels, depth, height, width), and where in its volume it is.

    The first of equals, NaN before all.

    bounds   where windows begin and end: (images * channels or 1, all places, 2), dimension after dimension
    places   how many windows there are along each dimension
    longest  window along each dimension
    """

    widens = True
    saves = ("output",)
    saved_results = (1,)  # the values may be written over

    @staticmethod
    def reference(input, bounds, places, longest):
        image, planes = input.shape[2:], input.shape[0] * input.shape[1]
        x = input.reshape(planes, math.prod(image))
        layers, rows, columns = np.split(bounds, np.cumsum(places)[:-1], 1)
        # Where windows along a dimension begin and end, to broadcast against those along the others.
        parts = layers[:, :, None, None], rows[:, None, :, None], columns[:, None, None]
        best = np.full((planes, *places), lowest(input.dtype), input.dtype)
        found = np.full(best.shape, -1, np.int64)
        for tap in itertools.product(*map(range, longest)):
            at = [part[..., 0] + step for part, step in zip(parts, tap, strict=True)]
            inside = np.bool_(True)
            for here, part in zip(at, parts, strict=True):
                inside = inside & (here < part[..., 1])
            place = np.broadcast_to(np.where(inside, flat(at, image), 0), best.shape)
            value = np.take_along_axis(x, place.reshape(planes, math.prod(places)), 1).reshape(best.shape)
            better = inside & ((value > best) | (value != value) | (found < 0))
            best, found = np.where(better, value, best), np.where(better, place, found)
        shape, order = (*input.shape[:2], *places), format_order(input)
        return tuple(lying_by(each.reshape(shape), order) for each in (best, found))

    def forward(self, input, bounds, places, longest):
        """One launch over the windows."""
        order = format_order(input)
        out = empty_by(input, (*input.shape[:2], *places), order)
        indices = empty_by(input, out.shape, order, np.dtype(np.int64))
        if out.size:
            step = 0 if bounds.shape[0] == 1 else 2 * bounds.shape[1]
            bounds, wide = as_contiguous(bounds), out.size >= 2**31
            wide = wide or needs_64_bits(input.shape, [element_strides(input)])
            facts = {"INNERMOST": order is not None, "WIDE": wide}
            config = _window_max.config((input, bounds, out, indices), count=out.size, taps=math.prod(longest), **facts)
            _window_max[(cdiv(out.size, config["BLOCK"]),)](
                input, bounds, out, indices, out.size, input.shape[1], tuple(input.shape[2:]), places,
                element_strides(input), reciprocals(input.shape[1], places), step, longest,
                COMPUTE=triton_dtype(accumulator(input.dtype)), LOWEST=lowest(input.dtype), **facts, **config,
            )  # fmt: skip
        return out, indices

    def backward(self, grad, _=None):
        """Added up where the largest elements are."""
        shape, indices = self.edges[0][2], self.outputs[0]
        (images, channels), area, scatter = shape[:2], math.prod(shape[2:]), TABLE["scatter"]
        if format_order(indices.array) is None:
            zeros = grad.new_zeros((images, channels, area))
            return scatter.apply(zeros, 2, True, indices.flatten(2), grad.flatten(2)).reshape(shape), None
        zeros = grad.new_zeros((images, area, channels))  # as it is to lie
        places, values = (each.flatten(2).transpose(1, 2) for each in (indices, grad))
        return scatter.apply(zeros, 1, True, places, values).transpose(1, 2).reshape(shape), None

    @classmethod
    def batch(cls, call):
        """A batch of batches is a larger batch."""
        images, channels = call.shape(0)[:2]
        if call.batched[1] or call.shape(1)[0] != 1:  # a table for each plane
            rows = call.front(1).expand(call.size, images * channels, *call.shape(1)[1:]).flatten(0, 1)
            found = cls.apply(*call.folded(0), rows, *call.args[2:])
        else:
            found = cls.apply(*call.folded(0), *call.args[1:])
        return call.unfolded(found, images)

    @staticmethod
    def fitted(input, bounds, places, longest):
        """Windows that lie in the image and are no longer than said."""
        size, most = (np.repeat(each, places) for each in (input.shape[2:], longest))
        begin = np.clip(bounds.min(-1), 0, size - 1)
        return (
            input,
            np.stack([begin, np.clip(bounds.max(-1), begin + 1, np.minimum(begin + most, size))], -1),
            places,
            longest,
        )

    @staticmethod
    def samples(draw):
        bounds = np.array([[0, 2], [1, 3], [3, 4], [0, 3], [2, 5], [0, 1], [1, 4]])  # 2 + 3 + 2 places
        yield draw.apart(2, 3, 3, 5, 4), bounds[None], (2, 3, 2), (2, 3, 3)
        across = draw.apart(2, 5, 3, 4).transpose(0, 2, 3, 1)[:, :, None]
        yield across, _evenly((1, 4, 5), (1, 3, 3)), (1, 3, 3), (1, 2, 3)
        each = draw.integers(0, 3, 6, 7, dtype=np.int64)
        yield draw.apart(2, 3, 5, 5, 5), np.stack([each, each + 2], -1), (2, 2, 3), (2, 2, 2)
        yield draw.integers(0, 2, 2, 40, 1, 1, 40), _evenly((1, 1, 40), (1, 1, 17)), (1, 1, 17), (1, 1, 4)
        yield draw.apart(2, 1, 5, 4, 3).transpose(0, 4, 1, 2, 3), _evenly((1, 5, 4), (1, 2, 3)), (1, 2, 3), (1, 3, 2)
        yield draw.apart(0, 2, 1, 4, 4), _evenly((1, 4, 4), (1, 2, 2)), (1, 2, 2), (1, 2, 2)

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, P=7, Q=7):
        bounds, places = _evenly((1, H, W), (1, P, Q)), (1, P, Q)
        longest = [int(np.diff(each, axis=-1).max()) for each in np.split(bounds[0], np.cumsum(places)[:-1])]
        return draw(N, C, 1, H, W), bounds, places, tuple(longest)


def _evenly(image, places):
    return np.concatenate([evenly(*pair) for pair in zip(image, places, strict=True)])[None]
