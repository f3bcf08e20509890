"""Average pooling and its gradient, two linear ops that are each other's gradient."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import folded
from tritorch.ops.layout import element_strides, empty_by, in_order, needs_64_bits, out_of_order
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.pooling.max_pool import BLOCKS, covers, pools, volume_strides
from tritorch.ops.pooling.place import place_of, reciprocals, windows_default
from tritorch.ops.pooling.shape import places_of, taps_of, volume
from tritorch.runtime import tl
from tritorch.runtime.memory_format import CHANNELS_INNERMOST


@kernel
def _held(place, size, KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, WITH_PADDING: tl.constexpr):
    """How many elements the window at `place` holds along one dimension: of the image, or of it and its padding."""
    start = place * STRIDE - PADDING
    end = tl.minimum(start + KERNEL, size + PADDING)
    return end - start if WITH_PADDING else tl.minimum(end, size) - tl.maximum(start, 0)


@kernel
def _divisor(
    back, down, across, size,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, WITH_PADDING: tl.constexpr,
    DIVISOR: tl.constexpr,
):  # fmt: skip
    """What the sum over a window is divided by."""
    if DIVISOR is not None:
        divisor = back * 0 + DIVISOR
    else:
        layers = _held(back, size[0], KERNEL[0], STRIDE[0], PADDING[0], WITH_PADDING)
        rows = _held(down, size[1], KERNEL[1], STRIDE[1], PADDING[1], WITH_PADDING)
        divisor = layers * rows * _held(across, size[2], KERNEL[2], STRIDE[2], PADDING[2], WITH_PADDING)
    return divisor


AVERAGED = ("KERNEL", "STRIDE", "PADDING", "WITH_PADDING", "DIVISOR", "INNERMOST", "WIDE")


@kernel(space=BLOCKS, default=windows_default, key=AVERAGED)
def _avg_pool(
    x,  # images: (images, channels, *size) by x_strides
    out,  # the mean of each window, as INNERMOST says: (images, channels, *out_size)
    count,
    channels,
    size,  # of x: depth, height, width
    out_size,
    x_strides,
    by,  # what `place_of` divides by
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    WITH_PADDING: tl.constexpr,  # whether padding counts
    DIVISOR: tl.constexpr,  # None, or what to divide by instead
    INNERMOST: tl.constexpr,  # the channels of the result lie innermost
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, channel, back, down, across = place_of(index, channels, out_size, by, INNERMOST, WIDE)
    x += image * x_strides[0] + channel * x_strides[1]
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(KERNEL[0]):
        layer = back * STRIDE[0] - PADDING[0] + i
        for j in range(KERNEL[1]):
            row = down * STRIDE[1] - PADDING[1] + j
            line = (index < count) & (layer >= 0) & (layer < size[0]) & (row >= 0) & (row < size[1])
            for k in range(KERNEL[2]):
                column = across * STRIDE[2] - PADDING[2] + k
                inside = line & (column >= 0) & (column < size[2])
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                total += tl.load(x + offset, mask=inside, other=0).to(COMPUTE)
    divisor = _divisor(back, down, across, size, KERNEL, STRIDE, PADDING, WITH_PADDING, DIVISOR)
    if COMPUTE.is_floating():
        result = total / divisor
    else:  # integers are divided towards zero
        result = tl.where((total < 0) == (divisor < 0), 1, -1) * (tl.abs(total) // tl.abs(divisor))
    tl.store(out + index, result.to(out.dtype.element_ty), mask=index < count)


def _counts(image, out, kernel, stride, padding, with_padding, divisor):
    """What the sum over each window is divided by: one number, or one a place."""
    if divisor is not None:
        return divisor
    counts = np.ones(())
    for size, places, taps, by, pad in zip(image, out, kernel, stride, padding, strict=True):
        starts = np.arange(places) * by - pad
        ends = np.minimum(starts + taps, size + pad)
        held = ends - starts if with_padding else np.minimum(ends, size) - np.maximum(starts, 0)
        counts = np.multiply.outer(counts, held)
    return counts if (counts != counts.flat[0]).any() else int(counts.flat[0])


def _summed(x, axis, kernel, stride, padding, places):
    """The sums over a window that slides along one axis of a contiguous array."""
    out, before = None, (slice(None),) * axis
    for (read,), (part,) in taps_of((x.shape[axis],), (places,), (kernel,), (stride,), (padding,), (1,)):
        if out is None and part == slice(0, places):  # every window has this tap: nothing to add it to
            out = x[*before, read].copy()
            continue
        if out is None:
            out = np.zeros((*x.shape[:axis], places, *x.shape[axis + 1 :]), x.dtype)
        out[*before, part] += x[*before, read]
    return out


def _spread(grad, axis, kernel, stride, padding, size):
    """The reverse of _summed: to each element, the sum of the windows that cover it."""
    out = np.zeros((*grad.shape[:axis], size, *grad.shape[axis + 1 :]), grad.dtype)
    before = (slice(None),) * axis
    for (read,), (part,) in taps_of((size,), (grad.shape[axis],), (kernel,), (stride,), (padding,), (1,)):
        if stride >= kernel:  # one window an element
            out[*before, read] = grad[*before, part]
        else:
            out[*before, read] += grad[*before, part]
    return out


def _same_divisor(image, out, kernel, stride, padding, with_padding, divisor):
    """What all windows are divided by; None where they differ."""
    if divisor is None and with_padding:
        ends = zip(image, out, kernel, stride, padding, strict=True)
        if all((places - 1) * by + taps <= size + 2 * pad for size, places, taps, by, pad in ends):
            return math.prod(kernel)
    return divisor


def lying_order(array, channels_last):
    """The order in memory of the dimensions of a result of images: its own, or with channels innermost."""
    return CHANNELS_INNERMOST[array.ndim] if channels_last else None


class AvgPool(Op):
    """The sum over each window, divided by how many elements it holds, or by `divisor`; integers towards zero.

    The channels of the result, and of the gradient, lie innermost where `channels_last` says so.
    """

    batch = folded
    called_by = ("avg_pool2d",)
    widens = True

    @staticmethod
    def reference(input, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        image, one = input.shape[2:], (1,) * len(kernel_size)
        out = places_of(image, kernel_size, stride, padding, one, ceil_mode)
        total = np.zeros((*input.shape[:2], *out), input.dtype)
        for read, part in taps_of(image, out, kernel_size, stride, padding, one):
            total[:, :, *part] += input[:, :, *read]
        counts = _counts(image, out, kernel_size, stride, padding, with_padding, divisor)
        if total.dtype.kind == "f":
            return (total / counts).astype(input.dtype)
        return (np.abs(total) // np.abs(counts) * np.sign(total) * np.sign(counts)).astype(input.dtype)

    @staticmethod
    def fast(input, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        """Sums along one dimension after the other."""
        if input.dtype.kind != "f":
            return AvgPool.reference(input, kernel_size, stride, padding, ceil_mode, with_padding, divisor)
        image, order = input.shape[2:], lying_order(input, channels_last)
        out = places_of(image, kernel_size, stride, padding, (1,) * len(kernel_size), ceil_mode)
        total, first = in_order(input, order), 2 if order is None else 1
        for axis, (taps, by, pad, places) in enumerate(zip(kernel_size, stride, padding, out, strict=True), first):
            total = _summed(total, axis, taps, by, pad, places)
        counts = np.asarray(_counts(image, out, kernel_size, stride, padding, with_padding, divisor), total.dtype)
        counts = counts if order is None or not counts.ndim else counts[..., None]
        return out_of_order(np.divide(total, counts, out=total), order)

    def forward(self, input, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        """One launch over the windows."""
        out_size = places_of(input.shape[2:], kernel_size, stride, padding, (1,) * len(kernel_size), ceil_mode)
        out = empty_by(input, (*input.shape[:2], *out_size), lying_order(input, channels_last))
        if out.size:
            facts = {
                "KERNEL": volume(kernel_size), "STRIDE": volume(stride), "PADDING": volume(padding, 0),
                "WITH_PADDING": with_padding, "INNERMOST": channels_last,
                "DIVISOR": _same_divisor(
                    input.shape[2:], out_size, kernel_size, stride, padding, with_padding, divisor
                ),
                "WIDE": out.size >= 2**31 or needs_64_bits(input.shape, [element_strides(input)]),
            }  # fmt: skip
            config = _avg_pool.config((input, out), count=out.size, **facts)
            _avg_pool[(cdiv(out.size, config["BLOCK"]),)](
                input, out, out.size, input.shape[1], volume(input.shape[2:]), volume(out_size), volume_strides(input),
                reciprocals(input.shape[1], volume(out_size)), COMPUTE=triton_dtype(accumulator(input.dtype)), **facts,
                **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """To each element its share of the windows that cover it."""
        return (AvgPoolBackward.apply(grad, self.edges[0][2][2:], *self.inputs[1:]),)

    @staticmethod
    def samples(draw):
        for shape, rest in means():
            yield draw(*shape), *rest
        yield draw(5, 3, 6, 2).transpose(3, 1, 0, 2), (2, 3), (1, 2), (1, 1), False, True, None
        yield np.broadcast_to(draw(3, 1, 6), (2, 3, 4, 6)), (2, 3), (1, 2), (1, 1), False, True, None
        yield draw(2, 9, 7, 17).transpose(0, 3, 1, 2), (3, 3), (2, 2), (1, 1), False, False, None, True
        yield draw(2, 5, 4, 3), (2, 2), (2, 1), (1, 0), False, True, None, True
        yield draw.integers(-9, 9, 2, 3, 6, 6), (2, 2), (2, 2), (1, 1), False, False, None
        yield draw.integers(-9, 9, 2, 3, 6, 6), (2, 2), (2, 2), (0, 0), False, True, -3

    @staticmethod
    def sized(draw, N=32, C=64, H=112, W=112, R=3, S=3, stride=2, padding=1):
        return draw(N, C, H, W), (R, S), (stride,) * 2, (padding,) * 2, False, True, None


def means():
    """Shapes with (kernel, stride, padding, ceil_mode, with_padding, divisor) for the samples."""
    for shape, (window, stride, padding, _, ceil_mode) in pools():
        yield shape, (window, stride, padding, ceil_mode, True, None)
    yield (2, 3, 7, 8), ((3, 3), (2, 2), (1, 1), True, False, None)
    yield (2, 3, 7, 8), ((3, 3), (2, 2), (1, 1), True, True, None)
    yield (1, 2, 4, 5), ((2, 2), (1, 2), (0, 0), False, True, 3)
    yield (1, 2, 4, 3, 5), ((2, 2, 3), (1, 2, 2), (1, 1, 1), False, False, None)


@kernel(space=BLOCKS, default=windows_default, key=("COVERS", *AVERAGED))
def _avg_pool_backward(
    grad,  # (images, channels, *out_size) by grad_strides
    out,  # (images, channels, *size), as INNERMOST says
    count,
    channels,
    size,  # of out: depth, height, width
    out_size,  # of grad
    grad_strides,
    by,  # what `place_of` divides by
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    COVERS: tl.constexpr,  # along each dimension, how many windows at most cover an element
    WITH_PADDING: tl.constexpr,
    DIVISOR: tl.constexpr,
    INNERMOST: tl.constexpr,  # the channels of the result lie innermost
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, channel, layer, row, column = place_of(index, channels, size, by, INNERMOST, WIDE)
    layer, row, column = layer + PADDING[0], row + PADDING[1], column + PADDING[2]
    grad += image * grad_strides[0] + channel * grad_strides[1]
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(COVERS[0]):
        back = layer // STRIDE[0] - i
        deep = (index < count) & (back >= 0) & (back < out_size[0]) & (back * STRIDE[0] + KERNEL[0] > layer)
        for j in range(COVERS[1]):
            down = row // STRIDE[1] - j
            line = deep & (down >= 0) & (down < out_size[1]) & (down * STRIDE[1] + KERNEL[1] > row)
            for k in range(COVERS[2]):
                across = column // STRIDE[2] - k
                there = line & (across >= 0) & (across < out_size[2]) & (across * STRIDE[2] + KERNEL[2] > column)
                offset = back * grad_strides[2] + down * grad_strides[3] + across * grad_strides[4]
                value = tl.load(grad + offset, mask=there, other=0).to(COMPUTE)
                if DIVISOR is None:
                    divisor = _divisor(back, down, across, size, KERNEL, STRIDE, PADDING, WITH_PADDING, DIVISOR)
                    value = tl.where(there, value / divisor, 0)
                total += value
    if DIVISOR is not None:
        total = total / DIVISOR
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


class AvgPoolBackward(Op):
    """The gradient of AvgPool by images of `size`: to each element the shares of the windows that cover it."""

    batch = folded
    widens = True

    @staticmethod
    def reference(grad, size, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        places = grad.shape[2:]
        shares = grad / _counts(size, places, kernel_size, stride, padding, with_padding, divisor)
        out = np.zeros((*grad.shape[:2], *size), grad.dtype)
        for read, part in taps_of(size, places, kernel_size, stride, padding, (1,) * len(size)):
            out[:, :, *read] += shares[:, :, *part]
        return out

    @staticmethod
    def fast(grad, size, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        """Spread along one dimension after the other, the last one first: rows of an image are copied whole."""
        counts = _counts(size, grad.shape[2:], kernel_size, stride, padding, with_padding, divisor)
        order = lying_order(grad, channels_last)
        out, first = in_order(grad / np.asarray(counts, grad.dtype), order), 2 if order is None else 1
        for axis in range(len(size) - 1, -1, -1):
            out = _spread(out, axis + first, kernel_size[axis], stride[axis], padding[axis], size[axis])
        return out_of_order(out, order)

    def forward(self, grad, size, kernel_size, stride, padding, ceil_mode, with_padding, divisor, channels_last=False):
        """One launch over the elements of the result."""
        out = empty_by(grad, (*grad.shape[:2], *size), lying_order(grad, channels_last))
        if out.size:
            facts = {
                "KERNEL": volume(kernel_size), "STRIDE": volume(stride), "PADDING": volume(padding, 0),
                "COVERS": volume(covers(kernel_size, stride, (1,) * len(size))), "WITH_PADDING": with_padding,
                "DIVISOR": _same_divisor(size, grad.shape[2:], kernel_size, stride, padding, with_padding, divisor),
                "INNERMOST": channels_last,
                "WIDE": out.size >= 2**31 or needs_64_bits(grad.shape, [element_strides(grad)]),
            }  # fmt: skip
            config = _avg_pool_backward.config((grad, out), count=out.size, **facts)
            _avg_pool_backward[(cdiv(out.size, config["BLOCK"]),)](
                grad, out, out.size, grad.shape[1], volume(size), volume(grad.shape[2:]), volume_strides(grad),
                reciprocals(grad.shape[1], volume(size)), COMPUTE=triton_dtype(accumulator(grad.dtype)), **facts,
                **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """The means of the new gradient."""
        _, _, *rest = self.inputs
        return (AvgPool.apply(grad, *rest),)

    @staticmethod
    def samples(draw):
        for shape, rest in means():
            window, stride, padding, ceil_mode, _, _ = rest
            places = places_of(shape[2:], window, stride, padding, (1,) * len(window), ceil_mode)
            yield draw(*shape[:2], *places), shape[2:], *rest
        yield draw(2, 5, 4, 17).transpose(0, 3, 1, 2), (9, 7), (3, 3), (2, 2), (1, 1), False, False, None, True
        yield draw(2, 5, 3, 3), (5, 4), (2, 2), (2, 1), (1, 0), False, True, None, True

    @staticmethod
    def sized(draw, N=32, C=64, H=112, W=112, R=3, S=3, stride=2, padding=1):
        rest = (R, S), (stride,) * 2, (padding,) * 2
        return draw(N, C, *places_of((H, W), *rest, (1, 1), False)), (H, W), *rest, False, True, None
