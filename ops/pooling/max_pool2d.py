"""Maximum pooling with indices, and its gradient, which reads for each element the windows that cover it."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, choices, kernel, powers
from tritorch.ops.base import Op, export
from tritorch.ops.convolution.shape import check_pool, pool_arguments, pool_size, taps_of
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import as_contiguous, element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import pointwise_default, triton_dtype
from tritorch.runtime import tl

_PIECE = 1 << 17  # elements of the gradient made at a time on the host
_BLOCKS = {"BLOCK": powers(256, 4096), "num_warps": choices(2, 4, 8)}


@kernel(space=Space(**_BLOCKS), default=pointwise_default)
def _max_pool(
    x,  # images: (images, channels, height, width) by x_strides
    out,  # the largest of each window, contiguous: (images, channels, out height, out width)
    indices,  # where in its plane it is, contiguous: as out
    count,
    channels,
    size,  # of x: height, width
    out_size,
    x_strides,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    COMPUTE: tl.constexpr,
    LOWEST: tl.constexpr,  # what padding counts as
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    across, down = index % out_size[1], index // out_size[1] % out_size[0]
    plane = index // (out_size[0] * out_size[1])
    row, column = down * STRIDE[0] - PADDING[0], across * STRIDE[1] - PADDING[1]
    x += plane // channels * x_strides[0] + plane % channels * x_strides[1]
    best = tl.full([BLOCK], LOWEST, COMPUTE)
    found = tl.full([BLOCK], -1, tl.int64)
    for i in range(KERNEL[0]):
        for j in range(KERNEL[1]):
            at_row, at_column = row + i * DILATION[0], column + j * DILATION[1]
            inside = (index < count) & (at_row >= 0) & (at_row < size[0]) & (at_column >= 0) & (at_column < size[1])
            value = tl.load(x + at_row * x_strides[2] + at_column * x_strides[3], mask=inside, other=0).to(COMPUTE)
            better = inside & ((value > best) | (value != value) | (found < 0))
            best = tl.where(better, value, best)
            found = tl.where(better, (at_row * size[1] + at_column).to(tl.int64), found)
    tl.store(out + index, best.to(out.dtype.element_ty), mask=index < count)
    tl.store(indices + index, found, mask=index < count)


def _lowest(dtype):
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -float("inf")


class MaxPool2d(Op):
    """The largest element of each window, the first of equals, NaN before all; and where in its plane it is."""

    widens = True

    @staticmethod
    def reference(input, kernel_size, stride, padding, dilation, ceil_mode):
        out = pool_size(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
        shape = (*input.shape[:2], *out)
        best, found = np.full(shape, _lowest(input.dtype), input.dtype), np.full(shape, -1, np.int64)
        for rows, columns, part in taps_of(input.shape[2:], out, kernel_size, stride, padding, dilation):
            value, place = input[:, :, rows, columns], _places(rows, columns, input.shape[3])
            target = (slice(None), slice(None), *part)
            better = (value > best[target]) | (value != value) | (found[target] < 0)
            best[target] = np.where(better, value, best[target])
            found[target] = np.where(better, place, found[target])
        return best, found

    @staticmethod
    def fast(input, kernel_size, stride, padding, dilation, ceil_mode):
        """The maximum over a slab for each tap, and the last tap that raised it; NaN takes the plain way."""
        width, out = input.shape[3], pool_size(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
        taps = list(taps_of(input.shape[2:], out, kernel_size, stride, padding, dilation))
        number_type, first = np.min_scalar_type(len(taps)).type, np.full(out, -1)
        for number, (_, _, part) in enumerate(taps):
            np.copyto(first[part], number, where=first[part] < 0)
        best = np.full((*input.shape[:2], *out), _lowest(input.dtype), input.dtype)
        tap = np.empty(best.shape, number_type)
        tap[...] = first
        for number, (rows, columns, part) in enumerate(taps):
            slab, here = input[:, :, rows, columns], (slice(None), slice(None), *part)
            raised, largest = tap[here], best[here]
            np.maximum(raised, (slab > largest).view(np.uint8) * number_type(number), out=raised)
            np.maximum(largest, slab, out=largest)
        if best.dtype.kind == "f" and np.isnan(best).any():
            return MaxPool2d.reference(input, kernel_size, stride, padding, dilation, ceil_mode)
        starts = [
            (rows.start - down.start * stride[0]) * width + columns.start - across.start * stride[1]
            for rows, columns, (down, across) in taps
        ]
        indices = np.take(np.array(starts, np.int64), tap)
        indices += np.arange(out[0])[:, None] * (stride[0] * width) + np.arange(out[1]) * stride[1]
        return best, indices

    def forward(self, input, kernel_size, stride, padding, dilation, ceil_mode):
        """One launch that looks at every tap of its windows."""
        out_size = pool_size(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
        out = empty_like(input, (*input.shape[:2], *out_size))
        indices = empty_like(input, out.shape, np.dtype(np.int64))
        if out.size:
            strides = element_strides(input)
            config = _max_pool.config(out, count=out.size)
            _max_pool[(cdiv(out.size, config["BLOCK"]),)](
                input, out, indices, out.size, input.shape[1], tuple(input.shape[2:]), out_size, strides,
                KERNEL=kernel_size, STRIDE=stride, PADDING=padding, DILATION=dilation,
                COMPUTE=triton_dtype(accumulator(input.dtype)), LOWEST=_lowest(input.dtype),
                WIDE=out.size >= 2**31 or needs_64_bits(input.shape, [strides]), **config,
            )  # fmt: skip
        return out, indices

    saves = ("output",)

    def backward(self, grad, _=None):
        """To each window's largest element, the window's gradient."""
        _, kernel_size, stride, padding, dilation, _ = self.inputs
        return (
            MaxPool2dBackward.apply(
                grad, self.outputs[1], self.edges[0][2][2:], kernel_size, stride, padding, dilation
            ),
        )

    @staticmethod
    def samples(draw):
        for shape, rest in pools():
            yield draw.apart(*shape), *rest
        yield draw.apart(5, 3, 6, 2).transpose(3, 1, 0, 2), (2, 3), (1, 2), (1, 1), (1, 1), False
        yield draw.integers(0, 3, 2, 3, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False  # equal elements: the first


def _places(rows, columns, width):
    return np.arange(rows.start, rows.stop, rows.step)[:, None] * width + np.arange(
        columns.start, columns.stop, columns.step
    )


def pools():
    """Shapes with (kernel, stride, padding, dilation, ceil_mode) for the samples."""
    yield (2, 3, 8, 6), ((2, 2), (2, 2), (0, 0), (1, 1), False)
    yield (2, 3, 7, 9), ((3, 3), (2, 2), (1, 1), (1, 1), False)
    yield (1, 2, 7, 9), ((3, 2), (1, 2), (1, 0), (2, 1), False)
    yield (2, 1, 5, 5), ((2, 2), (2, 2), (0, 0), (1, 1), True)
    yield (1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1), False)
    yield (1, 2, 9, 4), ((2, 2), (3, 3), (0, 0), (1, 1), False)  # elements that no window covers
    yield (0, 2, 4, 4), ((2, 2), (2, 2), (0, 0), (1, 1), False)
    yield (3, 5, 20, 18), ((2, 2), (2, 2), (0, 0), (1, 1), False)  # past a block of 1024


@kernel(space=Space(**_BLOCKS), default=pointwise_default)
def _max_pool_backward(
    grad,  # (images, channels, out height, out width) by grad_strides
    indices,  # where each window's largest element is in its plane, contiguous: as grad
    out,  # (images, channels, height, width), contiguous
    count,
    channels,
    size,  # of out: height, width
    out_size,  # of grad
    grad_strides,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place, plane = index % (size[0] * size[1]), index // (size[0] * size[1])
    row, column = place // size[1] + PADDING[0], place % size[1] + PADDING[1]
    grad += plane // channels * grad_strides[0] + plane % channels * grad_strides[1]
    indices += plane * out_size[0] * out_size[1]
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(KERNEL[0]):
        for j in range(KERNEL[1]):
            at_row, at_column = row - i * DILATION[0], column - j * DILATION[1]
            down, across = at_row // STRIDE[0], at_column // STRIDE[1]
            covers = (index < count) & (at_row >= 0) & (at_column >= 0) & (down < out_size[0]) & (across < out_size[1])
            covers = covers & (down * STRIDE[0] == at_row) & (across * STRIDE[1] == at_column)
            largest = tl.load(indices + down * out_size[1] + across, mask=covers, other=-1)
            mine = covers & (largest == place)
            total += tl.load(grad + down * grad_strides[2] + across * grad_strides[3], mask=mine, other=0).to(COMPUTE)
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


class MaxPool2dBackward(Op):
    """The gradient of max_pool2d: each window's gradient goes to its largest element; the same bits at every call."""

    saves = ("indices",)
    widens = True

    @staticmethod
    def reference(grad, indices, size, kernel_size, stride, padding, dilation):
        planes = grad.shape[0] * grad.shape[1]
        out = np.zeros((planes, size[0] * size[1]), grad.dtype)
        flat = (planes, grad.shape[2] * grad.shape[3])
        np.add.at(out, (np.arange(planes)[:, None], indices.reshape(flat)), grad.reshape(flat))
        return out.reshape(*grad.shape[:2], *size)

    @staticmethod
    def fast(grad, indices, size, kernel_size, stride, padding, dilation):
        """Sums by index, a few planes at a time, so that they stay in the cache."""
        planes, area = grad.shape[0] * grad.shape[1], size[0] * size[1]
        windows = (planes, grad.shape[2] * grad.shape[3])
        places, values = indices.reshape(windows), grad.reshape(windows)
        out = np.empty((planes, area), grad.dtype)
        step = max(1, _PIECE // area)
        begin = np.arange(step)[:, None] * area
        for start in range(0, planes, step):
            here = slice(start, start + step)
            target = out[here]
            flat = (places[here] + begin[: len(target)]).reshape(-1)
            target[...] = np.bincount(flat, values[here].reshape(-1), target.size).reshape(target.shape)
        return out.reshape(*grad.shape[:2], *size)

    def forward(self, grad, indices, size, kernel_size, stride, padding, dilation):
        """One launch over the elements of the result."""
        out = empty_like(grad, (*grad.shape[:2], *size))
        if out.size:
            strides = element_strides(grad)
            config = _max_pool_backward.config(out, count=out.size)
            _max_pool_backward[(cdiv(out.size, config["BLOCK"]),)](
                grad, as_contiguous(indices), out, out.size, grad.shape[1], tuple(size), tuple(grad.shape[2:]), strides,
                KERNEL=kernel_size, STRIDE=stride, PADDING=padding, DILATION=dilation,
                COMPUTE=triton_dtype(accumulator(grad.dtype)),
                WIDE=out.size >= 2**31 or needs_64_bits(grad.shape, [strides]), **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """What the new gradient holds at the largest elements."""
        indices = self.inputs[1]
        return (grad.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape),)

    @staticmethod
    def samples(draw):
        for shape, rest in pools():
            _, indices = MaxPool2d.reference(draw.apart(*shape), *rest)
            yield draw(*indices.shape), indices, shape[2:], *rest[:-1]


@export("nn.functional.max_pool2d")
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of (N, C, H, W) or (C, H, W), and with `return_indices` where it is."""
    need_tensors("max_pool2d", input=input)
    arguments = pool_arguments("max_pool2d", kernel_size, stride, padding, dilation)
    check_pool("max_pool2d", input.array, *arguments, ceil_mode)
    batched = input if input.array.ndim == 4 else input.unsqueeze(0)
    values, indices = MaxPool2d.apply(batched, *arguments, bool(ceil_mode))
    if input.array.ndim == 3:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if return_indices else values


@export("max_pool2d")
def max_pool2d_values(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest element of each window of (N, C, H, W) or (C, H, W)."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
