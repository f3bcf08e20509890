"""Maximum pooling with indices, and its gradient, which reads for each element the windows that cover it."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import folded
from tritorch.ops.layout import element_strides, empty_by, format_order, in_order, needs_64_bits, out_of_order
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.parallel import by_items, for_each, pieces_of
from tritorch.ops.pointwise.family import block_space, triton_dtype
from tritorch.ops.pooling.numbers import composed_places, places_from
from tritorch.ops.pooling.place import place_of, reciprocals, windows_default
from tritorch.ops.pooling.shape import flat, numbered_taps_of, places_of, volume
from tritorch.runtime import tl

BLOCKS = block_space(least=1, most=16)


@kernel(
    space=BLOCKS, default=windows_default,
    key=("KERNEL", "STRIDE", "PADDING", "DILATION", "INNERMOST", "TAPS", "WIDE"),
)  # fmt: skip
def _max_pool(
    x,  # images: (images, channels, *size) by x_strides
    out,  # the largest of each window, as INNERMOST says: (images, channels, *out_size)
    indices,  # where in its plane it is, or with TAPS its number in the window: as out
    count,
    channels,
    size,  # of x: depth, height, width
    out_size,
    x_strides,
    by,  # what `place_of` divides by
    TAPS: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    COMPUTE: tl.constexpr,
    LOWEST: tl.constexpr,  # what padding counts as
    INNERMOST: tl.constexpr,  # the channels of the results lie innermost
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, channel, back, down, across = place_of(index, channels, out_size, by, INNERMOST, WIDE)
    x += image * x_strides[0] + channel * x_strides[1]
    first_layer, first_row = back * STRIDE[0] - PADDING[0], down * STRIDE[1] - PADDING[1]
    first_column = across * STRIDE[2] - PADDING[2]
    best = tl.full([BLOCK], LOWEST, COMPUTE)
    found = tl.full([BLOCK], -1, tl.int32 if TAPS else tl.int64)
    for i in range(KERNEL[0]):
        layer = first_layer + i * DILATION[0]
        for j in range(KERNEL[1]):
            row = first_row + j * DILATION[1]
            line = (index < count) & (layer >= 0) & (layer < size[0]) & (row >= 0) & (row < size[1])
            for k in range(KERNEL[2]):
                column = first_column + k * DILATION[2]
                inside = line & (column >= 0) & (column < size[2])
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                value = tl.load(x + offset, mask=inside, other=0).to(COMPUTE)
                better = inside & ((value > best) | (value != value) | (found < 0))
                best = tl.where(better, value, best)
                if TAPS:
                    found = tl.where(better, (i * KERNEL[1] + j) * KERNEL[2] + k, found)
                else:
                    found = tl.where(better, ((layer * size[1] + row) * size[2] + column).to(tl.int64), found)
    tl.store(out + index, best.to(out.dtype.element_ty), mask=index < count)
    tl.store(indices + index, found.to(indices.dtype.element_ty), mask=index < count)


def lowest(dtype):
    """What every number of a NumPy dtype is at least."""
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -float("inf")


def volume_strides(array):
    """The strides of images in elements: image, channel, and three dimensions."""
    image, channel, *rest = element_strides(array)
    return image, channel, *volume(rest, 0)


_BYTE = np.dtype(np.uint8)


def _largest(input, kernel_size, stride, padding, dilation, ceil_mode, taps):
    """The maximum over a slab for each tap, and the last tap that raised it; NaN takes the plain way."""
    image = input.shape[2:]
    out = places_of(image, kernel_size, stride, padding, dilation, ceil_mode)
    reached = list(numbered_taps_of(image, out, kernel_size, stride, padding, dilation))
    number_type, first = np.min_scalar_type(max(math.prod(kernel_size) - 1, 1)).type, np.full(out, -1)
    for number, _, part in reached:
        np.copyto(first[part], number, where=first[part] < 0)
    order = format_order(input)
    best = empty_by(input, (*input.shape[:2], *out), order)
    best[...] = lowest(input.dtype)
    tap = empty_by(best, best.shape, order, number_type)
    tap[...] = first
    for number, read, part in reached:
        slab, here = input[:, :, *read], (slice(None), slice(None), *part)
        raised, largest = tap[here], best[here]
        np.maximum(raised, (slab > largest).view(np.uint8) * number_type(number), out=raised)
        np.maximum(largest, slab, out=largest)
    if best.dtype.kind == "f" and np.isnan(best).any():
        return MaxPool.reference(input, kernel_size, stride, padding, dilation, ceil_mode, taps)
    return best, tap if taps else places_from(tap, image, kernel_size, stride, padding, dilation)


class MaxPool(Op):
    """The largest element of each window, the first of equals, NaN before all; and where in its plane it is.

    With `taps` instead of where it is, its number in the window, a byte: all that the gradient needs.
    """

    batch = folded
    called_by = ("max_pool2d",)
    widens = True

    @staticmethod
    def reference(input, kernel_size, stride, padding, dilation, ceil_mode, taps=False):
        image = input.shape[2:]
        out = places_of(image, kernel_size, stride, padding, dilation, ceil_mode)
        shape = (*input.shape[:2], *out)
        best, found = np.full(shape, lowest(input.dtype), input.dtype), np.full(shape, -1, np.int64)
        for number, read, part in numbered_taps_of(image, out, kernel_size, stride, padding, dilation):
            value, place = input[:, :, *read], flat(np.ix_(*[np.r_[each] for each in read]), image)
            target = (slice(None), slice(None), *part)
            better = (value > best[target]) | (value != value) | (found[target] < 0)
            best[target] = np.where(better, value, best[target])
            found[target] = np.where(better, number if taps else place, found[target])
        return best, found.astype(_BYTE) if taps else found

    @staticmethod
    def fast(input, kernel_size, stride, padding, dilation, ceil_mode, taps=False):
        """Some images at a time."""
        rest = kernel_size, stride, padding, dilation, ceil_mode
        shape, order = (*input.shape[:2], *places_of(input.shape[2:], *rest)), format_order(input)
        results = (shape, input.dtype, order), (shape, _BYTE if taps else np.int64, order)
        return by_items(lambda images: _largest(images, *rest, taps), input, *results)

    def forward(self, input, kernel_size, stride, padding, dilation, ceil_mode, taps=False):
        """One launch that looks at every tap of its windows."""
        out_size = places_of(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
        order = format_order(input)
        out = empty_by(input, (*input.shape[:2], *out_size), order)
        indices = empty_by(input, out.shape, order, _BYTE if taps else np.dtype(np.int64))
        if out.size:
            facts = {
                "KERNEL": volume(kernel_size), "STRIDE": volume(stride), "PADDING": volume(padding, 0),
                "DILATION": volume(dilation), "INNERMOST": order is not None, "TAPS": taps,
                "WIDE": out.size >= 2**31 or needs_64_bits(input.shape, [element_strides(input)]),
            }  # fmt: skip
            config = _max_pool.config((input, out, indices), count=out.size, **facts)
            _max_pool[(cdiv(out.size, config["BLOCK"]),)](
                input, out, indices, out.size, input.shape[1], volume(input.shape[2:]), volume(out_size),
                volume_strides(input), reciprocals(input.shape[1], volume(out_size)),
                COMPUTE=triton_dtype(accumulator(input.dtype)), LOWEST=lowest(input.dtype), **facts, **config,
            )  # fmt: skip
        return out, indices

    saves = ("output",)
    saved_results = (1,)  # the values may be written over

    def backward(self, grad, _=None):
        """To each window's largest element, the window's gradient."""
        kernel_size, stride, padding, dilation = self.inputs[1:5]
        size = self.edges[0][2][2:]
        return (MaxPoolBackward.apply(grad, self.outputs[0], size, kernel_size, stride, padding, dilation),)

    @staticmethod
    def samples(draw):
        for shape, rest in pools():
            yield draw.apart(*shape), *rest
            yield draw.apart(*shape), *rest, True
        yield draw.apart(5, 3, 6, 2).transpose(3, 1, 0, 2), (2, 3), (1, 2), (1, 1), (1, 1), False
        yield draw.integers(0, 3, 2, 3, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False  # equal elements: the first
        for taps in (False, True):
            yield draw.apart(2, 9, 7, 17).transpose(0, 3, 1, 2), (3, 3), (2, 2), (1, 1), (1, 1), False, taps

    @staticmethod
    def sized(draw, N=32, C=64, H=112, W=112, R=3, S=3, stride=2, padding=1):
        return draw(N, C, H, W), (R, S), (stride,) * 2, (padding,) * 2, (1, 1), False, True


def pools():
    """Shapes with (kernel, stride, padding, dilation, ceil_mode) for the samples."""
    yield (2, 3, 8, 6), ((2, 2), (2, 2), (0, 0), (1, 1), False)
    yield (2, 3, 7, 9), ((3, 3), (2, 2), (1, 1), (1, 1), False)
    yield (1, 2, 7, 9), ((3, 2), (1, 2), (1, 0), (2, 1), False)
    yield (2, 1, 5, 5), ((2, 2), (2, 2), (0, 0), (1, 1), True)
    yield (1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1), False)
    yield (1, 2, 9, 4), ((2, 2), (3, 3), (0, 0), (1, 1), False)  # elements that no window covers
    yield (0, 2, 4, 4), ((2, 2), (2, 2), (0, 0), (1, 1), False)
    yield (2, 3, 11), ((3,), (2,), (1,), (1,), True)
    yield (1, 2, 5, 4, 6), ((2, 3, 2), (2, 1, 3), (1, 0, 1), (1, 1, 1), False)
    yield (3, 5, 20, 18), ((2, 2), (2, 2), (0, 0), (1, 1), False)  # past a block of 1024


@kernel(
    space=BLOCKS, default=windows_default,
    key=("KERNEL", "STRIDE", "PADDING", "DILATION", "COVERS", "INNERMOST", "TAPS", "WIDE"),
)  # fmt: skip
def _max_pool_backward(
    grad,  # (images, channels, *out_size) by grad_strides
    indices,  # where each window's largest element is in its plane, or its number: as grad, by index_strides
    out,  # (images, channels, *size), as INNERMOST says
    count,
    channels,
    size,  # of out: depth, height, width
    out_size,  # of grad
    grad_strides,
    index_strides,
    by,  # what `place_of` divides by
    TAPS: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    COVERS: tl.constexpr,  # along each dimension, how many windows at most cover an element
    INNERMOST: tl.constexpr,  # the channels of the result lie innermost
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, channel, layer, row, column = place_of(index, channels, size, by, INNERMOST, WIDE)
    if not TAPS:
        place = (layer * size[1] + row) * size[2] + column
    last_back, last_down = (layer + PADDING[0]) // STRIDE[0], (row + PADDING[1]) // STRIDE[1]
    last_across = (column + PADDING[2]) // STRIDE[2]
    grad += image * grad_strides[0] + channel * grad_strides[1]
    indices += image * index_strides[0] + channel * index_strides[1]
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(COVERS[0]):
        back = last_back - i
        for j in range(COVERS[1]):
            down = last_down - j
            line = (index < count) & (back >= 0) & (back < out_size[0]) & (down >= 0) & (down < out_size[1])
            for k in range(COVERS[2]):
                across = last_across - k
                there = line & (across >= 0) & (across < out_size[2])
                at = back * index_strides[2] + down * index_strides[3] + across * index_strides[4]
                if TAPS:
                    # The number that the element has in this window, if it is one that the window looks at.
                    deep, low = layer + PADDING[0] - back * STRIDE[0], row + PADDING[1] - down * STRIDE[1]
                    right = column + PADDING[2] - across * STRIDE[2]
                    there = there & (deep % DILATION[0] == 0) & (low % DILATION[1] == 0) & (right % DILATION[2] == 0)
                    deep, low, right = deep // DILATION[0], low // DILATION[1], right // DILATION[2]
                    there = there & (deep < KERNEL[0]) & (low < KERNEL[1]) & (right < KERNEL[2])
                    place = (deep * KERNEL[1] + low) * KERNEL[2] + right
                largest = tl.load(indices + at, mask=there, other=0)
                offset = back * grad_strides[2] + down * grad_strides[3] + across * grad_strides[4]
                value = tl.load(grad + offset, mask=there, other=0).to(COMPUTE)  # whole vectors, where channels are
                total += tl.where(there & (largest == place), value, 0)
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


def covers(kernel_size, stride, dilation):
    """How many windows at most cover an element, along each dimension."""
    each = zip(kernel_size, stride, dilation, strict=True)
    return tuple([cdiv((taps - 1) * step + 1, by) for taps, by, step in each])


class MaxPoolBackward(Op):
    """The gradient of MaxPool: each window's gradient goes to its largest element; the same bits at every call.

    indices  where that is in its plane, int64; or its number in the window, uint8
    """

    batch = folded
    saves = ("indices",)
    widens = True

    @staticmethod
    def reference(grad, indices, size, kernel_size, stride, padding, dilation):
        planes = grad.shape[0] * grad.shape[1]
        if indices.dtype == _BYTE:
            indices = places_from(indices, size, kernel_size, stride, padding, dilation)
        out = np.zeros((planes, np.prod(size)), grad.dtype)
        windows = (planes, np.prod(grad.shape[2:], dtype=int))
        np.add.at(out, (np.arange(planes)[:, None], indices.reshape(windows)), grad.reshape(windows))
        return out.reshape(*grad.shape[:2], *size)

    @staticmethod
    def fast(grad, indices, size, kernel_size, stride, padding, dilation):
        """Sums by index, a few planes at a time, to stay in the cache; plain writes where windows are apart."""
        if indices.dtype == _BYTE:
            indices = places_from(indices, size, kernel_size, stride, padding, dilation)
        order, (images, channels, *places), area = format_order(indices), grad.shape, int(np.prod(size))
        # A row is a plane, or an image whose channels lie innermost.
        rows, each = (images * channels, 1) if order is None else (images, channels)
        shape = rows, int(np.prod(places)), each
        targets, values = (in_order(given, order).reshape(shape) for given in (indices, grad))
        apart = max(covers(kernel_size, stride, dilation)) == 1
        out = (np.zeros if apart else np.empty)((rows, area * each), grad.dtype)
        pieces = pieces_of(rows, area * each)
        begin = np.arange(pieces[0].stop if pieces else 0)[:, None, None] * (area * each) + np.arange(each)

        def fill(here):
            target = out[here]
            into = (targets[here] * each + begin[: len(target)]).reshape(-1)
            if apart:
                target.reshape(-1)[into] = values[here].reshape(-1)
            else:
                target[...] = np.bincount(into, values[here].reshape(-1), target.size).reshape(target.shape)

        for_each(fill, pieces)
        whole = (*grad.shape[:2], *size)
        return out_of_order(out.reshape(whole if order is None else [whole[dim] for dim in order]), order)

    def forward(self, grad, indices, size, kernel_size, stride, padding, dilation):
        """One launch over the elements of the result."""
        order = format_order(indices)
        out = empty_by(grad, (*grad.shape[:2], *size), order)
        if out.size:
            facts = {
                "KERNEL": volume(kernel_size), "STRIDE": volume(stride), "PADDING": volume(padding, 0),
                "DILATION": volume(dilation), "COVERS": volume(covers(kernel_size, stride, dilation)),
                "INNERMOST": order is not None, "TAPS": indices.dtype == _BYTE,
                "WIDE": out.size >= 2**31
                or needs_64_bits(grad.shape, [element_strides(each) for each in (grad, indices)]),
            }  # fmt: skip
            config = _max_pool_backward.config((grad, indices, out), count=out.size, **facts)
            _max_pool_backward[(cdiv(out.size, config["BLOCK"]),)](
                grad, indices, out, out.size, grad.shape[1], volume(size), volume(grad.shape[2:]),
                volume_strides(grad), volume_strides(indices), reciprocals(grad.shape[1], volume(size)),
                COMPUTE=triton_dtype(accumulator(grad.dtype)), **facts, **config,
            )  # fmt: skip
        return out

    @staticmethod
    def fitted(grad, indices, size, *settings):
        """The indices of a pooling of random numbers."""
        values = np.random.default_rng(0).random((*grad.shape[:2], *size), np.float32)
        for ceil_mode in (False, True):
            _, indices = MaxPool.host(values, *settings, ceil_mode, indices.dtype == _BYTE)
            if indices.shape == grad.shape:
                break
        return grad, indices, size, *settings

    def backward(self, grad):
        """What the new gradient holds at the largest elements."""
        indices, *rest = self.inputs[1:7]
        if indices.array.dtype == _BYTE:
            indices = composed_places(indices, *rest)
        return (grad.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape),)

    @staticmethod
    def samples(draw):
        for shape, rest in pools():
            for taps in (False, True):
                _, indices = MaxPool.reference(draw.apart(*shape), *rest, taps)
                yield draw(*indices.shape), indices, shape[2:], *rest[:-1]
        last = draw.apart(2, 9, 7, 17).transpose(0, 3, 1, 2)
        _, indices = MaxPool.fast(last, (3, 3), (2, 2), (1, 1), (1, 1), False)
        yield draw(2, 5, 4, 17).transpose(0, 3, 1, 2), indices, (9, 7), (3, 3), (2, 2), (1, 1), (1, 1)
        yield draw(*indices.shape), indices, (9, 7), (3, 3), (2, 2), (1, 1), (1, 1)

    @staticmethod
    def sized(draw, N=32, C=64, H=112, W=112, R=3, S=3, stride=2, padding=1):
        rest = (R, S), (stride,) * 2, (padding,) * 2, (1, 1)
        taps = []
        for size, places, window in zip((H, W), places_of((H, W), *rest, False), (R, S), strict=True):
            first = np.arange(places) * stride - padding
            taps.append((np.maximum(first, 0), np.minimum(first + window, size)))
        (top, bottom), (left, right) = taps
        shape = N, C, len(top), len(left)
        rows = top[:, None] + draw.integers(0, 1 << 16, *shape) % (bottom - top)[:, None]
        return draw(*shape), rows * W + left + draw.integers(0, 1 << 16, *shape) % (right - left), (H, W), *rest
