"""Images resampled along each dimension by a table of weights: interpolation, adaptive means, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op, device_of
from tritorch.ops.batching import folded
from tritorch.ops.layout import element_strides, empty_by, format_order, in_order, needs_64_bits, out_of_order
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import block_space, triton_dtype
from tritorch.ops.pooling.max_pool import volume_strides
from tritorch.ops.pooling.place import place_of, reciprocals, windows_default
from tritorch.ops.pooling.shape import volume
from tritorch.ops.resample import maps as tables
from tritorch.runtime import tl

_EXACT = 1 << 24  # integers that float32 holds
_DENSE = 512  # elements of a dimension up to which a product with a matrix that is mostly zeros is the quicker way


@kernel
def _whole(pointer, known, TOGETHER: tl.constexpr, WIDE: tl.constexpr):
    """An index of the table, which holds floating-point numbers; the compiler knows of it only what it is told."""
    number = tl.load(pointer, mask=known, other=-1)
    number = number.to(tl.int64) if WIDE else number.to(tl.int32)
    return tl.max_constancy(number, TOGETHER) if TOGETHER > 1 else number


@kernel(space=block_space(least=1, most=16), default=windows_default, key=("taps", "INNERMOST", "TOGETHER", "WIDE"))
def _resample(
    x,  # images: (images, channels, *size) by x_strides
    tables,  # tuple of pairs of an index and its weight, for each dimension: (places, taps, 2)
    out,  # as INNERMOST says: (images, channels, *out_size)
    count,
    channels,
    out_size,  # depth, height, width
    taps,  # of a place along each dimension
    x_strides,
    by,  # what `place_of` divides by
    INNERMOST: tl.constexpr,  # the channels of the result lie innermost
    TOGETHER: tl.constexpr,  # how many neighbours are channels of one place
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = index < count
    image, channel, back, down, across = place_of(index, channels, out_size, by, INNERMOST, WIDE)
    x += image * x_strides[0] + channel * x_strides[1]
    layers = tables[0] + back * taps[0] * 2
    rows = tables[1] + down * taps[1] * 2
    columns = tables[2] + across * taps[2] * 2
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(taps[0]):
        layer = _whole(layers + 2 * i, known, TOGETHER, WIDE)
        deep = tl.load(layers + 2 * i + 1, mask=known, other=0).to(COMPUTE)
        for j in range(taps[1]):
            row = _whole(rows + 2 * j, known, TOGETHER, WIDE)
            weight = deep * tl.load(rows + 2 * j + 1, mask=known, other=0).to(COMPUTE)
            for k in range(taps[2]):
                column = _whole(columns + 2 * k, known, TOGETHER, WIDE)
                inside = (layer >= 0) & (row >= 0) & (column >= 0)
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                value = tl.load(x + offset, mask=inside, other=0).to(COMPUTE)
                total += value * weight * tl.load(columns + 2 * k + 1, mask=known, other=0).to(COMPUTE)
    tl.store(out + index, total.to(out.dtype.element_ty), mask=known)


class Resample(Op):
    """Along each dimension, a weighted sum of elements, as the `maps` say: one for each dimension after the channels.

    The gradient is the same op with the maps transposed, which sums for each element the places that read it, in
    their order. Integers are only read, by maps of one tap and weight 1.
    """

    batch = folded
    widens = True

    @staticmethod
    def reference(input, maps):
        for axis, each in enumerate(maps, 2):
            input = _along(input, axis, each)
        return input

    @staticmethod
    def fast(input, maps):
        """A product with each matrix where dimensions are short; of growing dimensions the last comes first."""
        order = format_order(input)
        first, floating = 2 if order is None else 1, input.dtype.kind == "f"
        growth = {axis: len(each.index) / each.size for axis, each in enumerate(maps, first)}
        out = in_order(input, order)
        for axis in sorted(growth, key=lambda axis: (growth[axis], -axis if growth[axis] > 1 else axis)):
            each = maps[axis - first]
            short = max(each.size, len(each.index)) <= _DENSE
            # Whole rows are copied faster than they are multiplied, single elements are not.
            multiplies = floating and short and (each.index.shape[1] > 1 or axis == input.ndim - 1)
            if not each.is_identity:
                out = (_multiplied if multiplies else _along)(out, axis, each)
        # What is not finite spoils a whole row of a product.
        whole = not floating or np.isfinite(out.sum())
        return out_of_order(out if whole else in_order(Resample.reference(input, maps), order), order)

    def forward(self, input, maps):
        """One launch over the elements of the result; the tables travel before the first, and stay."""
        order = format_order(input)
        out = empty_by(input, (*input.shape[:2], *(len(each.index) for each in maps)), order)
        if out.size:
            compute = accumulator(input.dtype)
            double = compute.itemsize == 8 or max(each.size for each in maps) > _EXACT
            kind, device = np.dtype(np.float64 if double else np.float32), device_of(input)
            pairs = volume([each.table_on(device, kind) for each in maps], tables.IDENTITY.table_on(device, kind))
            taps = volume([each.index.shape[1] for each in maps])
            wide = out.size >= 2**31 or needs_64_bits(input.shape, [element_strides(input)])
            together = 16 if order is not None and input.shape[1] % 16 == 0 else 1
            facts = {"INNERMOST": order is not None, "TOGETHER": together, "WIDE": wide}
            config = _resample.config((input, *pairs, out), count=out.size, taps=math.prod(taps), **facts)
            _resample[(cdiv(out.size, config["BLOCK"]),)](
                input, pairs, out, out.size, input.shape[1], volume(out.shape[2:]), taps,
                volume_strides(input), reciprocals(input.shape[1], volume(out.shape[2:])),
                COMPUTE=triton_dtype(compute), **facts, **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """By the transposed maps."""
        return (Resample.apply(grad, tuple([each.transposed for each in self.inputs[1]])),)

    @staticmethod
    def samples(draw):
        kind = np.float64 if draw.dtype == np.float64 else np.float32
        bilinear = tables.linear(4, 9, None, False, kind), tables.linear(5, 10, 2.0, False, kind)
        nearest, cubic = tables.nearest(4, 7, None, False), tables.cubic(5, 3, None, False, kind)
        corners, mean = tables.linear(3, 5, None, True, kind), tables.evenly_averaged(4, 3)
        smooth = [tables.antialiased(8, 4, None, False, kind, mode) for mode in ("bicubic", "bilinear")]
        yield draw(2, 3, 4, 5), bilinear
        yield draw(2, 5, 3, 4).transpose(0, 2, 3, 1), bilinear
        yield draw(1, 4, 5, 16).transpose(0, 3, 1, 2), bilinear
        yield np.broadcast_to(draw(2, 1, 4, 1), (2, 3, 4, 5)), (nearest, cubic)
        yield draw(2, 3, 5)[:, :, ::-2], (corners,)
        yield draw(1, 2, 3, 4, 2), (corners, mean, tables.cubic(2, 5, 2.5, False, kind))
        yield draw(1, 1, 8, 8), tuple(smooth)
        yield draw(2, 3, 3, 19).transpose(0, 3, 1, 2), (corners, tables.nearest(3, 6, None, True))
        yield draw(0, 2, 3), (tables.nearest(3, 6, None, True),)
        yield draw(3, 5, 12, 12), (tables.nearest(12, 24, 2.0, False),) * 2  # past a block of 1024
        yield draw.integers(0, 255, 2, 3, 5), (tables.nearest(5, 9, None, True),)

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, P=112, Q=112):
        kind = np.float64 if draw.dtype == np.float64 else np.float32
        return draw(N, C, H, W), tuple([tables.linear(*each, None, False, kind) for each in ((H, P), (W, Q))])


def _along(x, axis, each):
    """One map along one axis."""
    total = None
    for index, weight in zip(each.index.T, each.weights.T, strict=True):
        value = np.take(x, np.maximum(index, 0), axis)
        if x.dtype.kind == "f" and not each.only_reads:
            shape = (-1, *(1,) * (x.ndim - axis - 1))
            value = np.where((index >= 0).reshape(shape), value * weight.reshape(shape).astype(x.dtype), 0)
        total = value if total is None else total + value
    return total


def _multiplied(x, axis, each):
    """One map along one axis, as a product with its matrix."""
    matrix = each.dense.astype(x.dtype)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if not after:
        found = np.matmul(x.reshape(math.prod(before), each.size), matrix)
    else:
        found = np.matmul(matrix.T, x.reshape(*before, each.size, math.prod(after)))
    return found.reshape(*before, matrix.shape[1], *after)
