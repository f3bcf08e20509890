"""Patches of images as columns of a matrix (unfold), and their sums where they came from (fold).

Each is linear and the transpose of the other, so each is the other's gradient. The rows of the matrix are channels
times taps, its columns the places of the window.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.base import Op
from tritorch.ops.batching import folded
from tritorch.ops.convolution.arguments import check_columns, check_image, out_size, window_of
from tritorch.ops.convolution.windows import padded, taps_of
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.runtime import tl


def tile_default(device, *, rows, columns):
    """1024 elements, along the columns where there are so many; few large tiles interpreted."""
    if device.kind == "interpreter":
        width = min(next_power_of_2(columns), 4096)
        return {"ROWS": min(next_power_of_2(cdiv(rows, 4)), 65536 // width), "COLUMNS": width, "num_warps": 4}
    width = min(next_power_of_2(columns), 1024)
    height = min(1024 // width, next_power_of_2(rows))
    return {"ROWS": height, "COLUMNS": width, "num_warps": 4 if height * width > 256 else 1}


def _no_larger(ROWS, COLUMNS, rows, columns):
    return ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)


def _elements_a_thread(ROWS, COLUMNS, num_warps):
    """Up to 16, at least 2 unless a warp is one too many already."""
    return ROWS * COLUMNS <= 16 * 32 * num_warps and (num_warps == 1 or ROWS * COLUMNS >= 2 * 32 * num_warps)


def _warp_in_a_row(ROWS, COLUMNS, columns):
    """Neighbours in memory to the threads of a warp, where there are as many."""
    return COLUMNS >= min(32, next_power_of_2(columns))


_SPACE = Space(
    ROWS=powers(1, 1024, default=1), COLUMNS=powers(1, 4096, default=1024), num_warps=warps(1, 8),
    where=(_no_larger, _elements_a_thread, _warp_in_a_row),
)  # fmt: skip


@kernel
def tile_at(rows, columns, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The rows and columns of a program's tile."""
    program, across = tl.program_id(0), tl.cdiv(columns, COLUMNS)
    if WIDE:
        program = program.to(tl.int64)
    return program // across * ROWS + tl.arange(0, ROWS), program % across * COLUMNS + tl.arange(0, COLUMNS)


@kernel(space=_SPACE, default=tile_default, key=("WIDE",))
def _unfold(
    x,  # images: (images, channels, height, width) by x_strides
    out,  # patches, contiguous: (images * channels * taps, places)
    rows,
    columns,
    channels,
    size,  # of x: height, width
    out_size,  # how many places: down, across
    taps,
    stride,
    padding,
    dilation,
    x_strides,
    WIDE: tl.constexpr,  # 64-bit offsets
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row, column = tile_at(rows, columns, WIDE, ROWS, COLUMNS)
    tap, plane = row % (taps[0] * taps[1]), row // (taps[0] * taps[1])
    down, across = column // out_size[1] * stride[0], column % out_size[1] * stride[1]
    at_row = (tap // taps[1] * dilation[0] - padding[0])[:, None] + down[None, :]
    at_column = (tap % taps[1] * dilation[1] - padding[1])[:, None] + across[None, :]
    known = (row < rows)[:, None] & (column < columns)[None, :]
    inside = known & (at_row >= 0) & (at_row < size[0]) & (at_column >= 0) & (at_column < size[1])
    from_plane = plane // channels * x_strides[0] + plane % channels * x_strides[1]
    value = tl.load(x + from_plane[:, None] + at_row * x_strides[2] + at_column * x_strides[3], mask=inside, other=0)
    tl.store(out + row[:, None] * columns + column[None, :], value, mask=known)


@kernel(space=_SPACE, default=tile_default, key=("WIDE",))
def _fold(
    x,  # patches: (images, channels * taps, places) by x_strides
    out,  # images, contiguous: (images * channels, height * width)
    rows,
    columns,
    channels,
    width,
    places,  # how many: down, across
    taps,
    stride,
    padding,
    dilation,
    windows,  # how many places at most reach a pixel: down, across
    x_strides,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row, column = tile_at(rows, columns, WIDE, ROWS, COLUMNS)
    known = (row < rows)[:, None] & (column < columns)[None, :]
    at_row, at_column = column // width + padding[0], column % width + padding[1]
    x += (row // channels * x_strides[0] + row % channels * (taps[0] * taps[1]) * x_strides[1])[:, None]
    total = tl.zeros([ROWS, COLUMNS], COMPUTE)
    for i in range(windows[0]):
        down = at_row // stride[0] - i
        tap_row = (at_row - down * stride[0]) // dilation[0]
        read_down = (down >= 0) & (down < places[0]) & (tap_row < taps[0])
        read_down = read_down & (tap_row * dilation[0] + down * stride[0] == at_row)
        for j in range(windows[1]):
            across = at_column // stride[1] - j
            tap_column = (at_column - across * stride[1]) // dilation[1]
            read = read_down & (across >= 0) & (across < places[1]) & (tap_column < taps[1])
            read = read & (tap_column * dilation[1] + across * stride[1] == at_column)
            at = (tap_row * taps[1] + tap_column) * x_strides[1] + (down * places[1] + across) * x_strides[2]
            total += tl.load(x + at[None, :], mask=known & read[None, :], other=0).to(COMPUTE)
    tl.store(out + row[:, None] * columns + column[None, :], total.to(out.dtype.element_ty), mask=known)


def _launch(tiled, x, out, rows, columns, *rest, **constants):
    """One launch of a kernel over tiles of the contiguous `out`, of (rows, columns)."""
    if out.size:
        steps = element_strides(x)
        wide = needs_64_bits(x.shape, [steps]) or out.size >= 2**31
        config = tiled.config((x, out), rows=rows, columns=columns, WIDE=wide)
        tiled[(cdiv(rows, config["ROWS"]) * cdiv(columns, config["COLUMNS"]),)](
            x, out, rows, columns, *rest, steps, WIDE=wide, **constants, **config
        )
    return out


class Im2Col(Op):
    """Each window of the images as a column: (N, C, H, W) or (C, H, W) to (N, C * taps, places)."""

    batch = folded
    exports = ("nn.functional.unfold",)

    @classmethod
    def call(cls, input, kernel_size, dilation=1, padding=0, stride=1):
        need_tensors("im2col", input=input)
        window = window_of("im2col", kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
        check_image(input.array, *window)
        batched = input if input.array.ndim == 4 else input.unsqueeze(0)
        out = cls.apply(batched, *window)
        return out if batched is input else out.squeeze(0)

    @staticmethod
    def reference(input, kernel_size, dilation, padding, stride):
        ends = [(each, each) for each in padding]
        size = out_size(input.shape[2:], kernel_size, stride, ends, dilation)
        out = np.empty((*input.shape[:2], *kernel_size, *size), input.dtype)
        for tap, patch in taps_of(padded(input, ends), kernel_size, size, stride, dilation):
            out[(slice(None), slice(None), *tap)] = patch
        return out.reshape(len(input), input.shape[1] * np.prod(kernel_size), np.prod(size))

    def forward(self, input, kernel_size, dilation, padding, stride):
        """One launch over the elements of the result."""
        ends = [(each, each) for each in padding]
        size = out_size(input.shape[2:], kernel_size, stride, ends, dilation)
        rows, columns = input.shape[1] * kernel_size[0] * kernel_size[1], size[0] * size[1]
        out = empty_like(input, (input.shape[0], rows, columns))
        return _launch(
            _unfold, input, out, input.shape[0] * rows, columns, input.shape[1], tuple(input.shape[2:]), size,
            kernel_size, stride, padding, dilation,
        )  # fmt: skip

    def backward(self, grad):
        """The sums of what the columns hold of each pixel."""
        return (Col2Im.apply(grad, self.edges[0][2][2:], *self.inputs[1:]),)

    @staticmethod
    def samples(draw):
        for shape, window in windows():
            yield draw(*shape), *window
        yield draw(5, 3, 6, 2).transpose(3, 1, 0, 2), (2, 3), (1, 2), (1, 1), (2, 1)
        yield np.broadcast_to(draw(1, 1, 5, 1), (2, 3, 5, 6))[..., ::-1], (2, 2), (1, 1), (0, 0), (1, 1)

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, R=3, S=3, stride=1, padding=1):
        return draw(N, C, H, W), (R, S), (1, 1), (padding,) * 2, (stride,) * 2

    @staticmethod
    def errors(draw):
        x = draw(2, 3, 6, 7)
        yield (draw(1, 1, 3, 6, 7), 2), {}, RuntimeError, "Expected 3D or 4D (batch mode) tensor with possibly 0 batch"
        yield (draw(2, 0, 6, 7), 2), {}, RuntimeError, "non-zero dimensions for input, but got: [2, 0, 6, 7]"
        yield (x, (2, 2, 2)), {}, RuntimeError, "It is expected kernel_size equals to 2, but got size 3"
        yield (x, 0), {}, RuntimeError, "kernel size should be greater than zero, but got kernel_height: 0 kernel_wid"
        yield (x, 2), {"stride": 0}, RuntimeError, "stride should be greater than zero, but got stride_height: 0"
        yield (x, 2), {"dilation": 0}, RuntimeError, "dilation should be greater than zero, but got dilation_height: 0"
        yield (x, 2), {"padding": -1}, RuntimeError, "padding should be non-negative, but got pad_height: -1 pad_width"
        yield (x, 9), {}, RuntimeError, "calculated shape of the array of sliding blocks as (-2, -1), but its compo"
        yield (x, 2.0), {}, TypeError, "im2col(): argument 'kernel_size' must be tuple of ints, but found element of"
        yield (draw.integers(0, 3, 1, 6, 7), 2), {}, NotImplementedError, "\"im2col\" not implemented for 'Long'"


def windows():
    """Shapes of images with (kernel_size, dilation, padding, stride) for the samples of both ops."""
    yield (2, 3, 6, 7), ((2, 3), (1, 1), (0, 0), (1, 1))
    yield (1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1))
    yield (2, 2, 8, 5), ((3, 2), (2, 1), (1, 2), (2, 3))
    yield (1, 3, 9, 9), ((2, 2), (1, 1), (0, 0), (3, 3))  # pixels that no window reaches
    yield (3, 2, 8, 8), ((4, 4), (1, 1), (0, 0), (4, 4))  # windows side by side
    yield (2, 1, 5, 4), ((3, 3), (3, 2), (4, 3), (2, 2))
    yield (0, 2, 4, 4), ((2, 2), (1, 1), (0, 0), (1, 1))
    yield (1, 5, 33, 35), ((2, 2), (1, 1), (1, 1), (1, 1))  # past a block of 1024


class Col2Im(Op):
    """The sums of columns where their windows reach: (N, C * taps, places) to (N, C, *output_size), or without N."""

    batch = folded
    exports = ("nn.functional.fold",)
    widens = True

    @classmethod
    def call(cls, input, output_size, kernel_size, dilation=1, padding=0, stride=1):
        need_tensors("col2im", input=input)
        size, *window = window_of(
            "col2im",
            output_size=output_size, kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride,
        )  # fmt: skip
        check_columns(input.array, size, *window)
        batched = input if input.array.ndim == 3 else input.unsqueeze(0)
        out = cls.apply(batched, size, *window)
        return out if batched is input else out.squeeze(0)

    @staticmethod
    def reference(input, output_size, kernel_size, dilation, padding, stride):
        ends = [(each, each) for each in padding]
        places = out_size(output_size, kernel_size, stride, ends, dilation)
        channels = input.shape[1] // np.prod(kernel_size)
        patches = input.reshape(len(input), channels, *kernel_size, *places)
        room = [length + 2 * pad for length, pad in zip(output_size, padding, strict=True)]
        out = np.zeros((len(input), channels, *room), input.dtype)
        for tap, patch in taps_of(out, kernel_size, places, stride, dilation):
            patch += patches[(slice(None), slice(None), *tap)]
        inside = [slice(pad, pad + length) for pad, length in zip(padding, output_size, strict=True)]
        return out[(..., *inside)].copy()

    def forward(self, input, output_size, kernel_size, dilation, padding, stride):
        """One launch over the elements of the result, each of which adds up in a fixed order what reaches it."""
        ends = [(each, each) for each in padding]
        places = out_size(output_size, kernel_size, stride, ends, dilation)
        channels = input.shape[1] // (kernel_size[0] * kernel_size[1])
        out = empty_like(input, (input.shape[0], channels, *output_size))
        reached = tuple([
            (taps - 1) * step // by + 1 for taps, step, by in zip(kernel_size, dilation, stride, strict=True)
        ])  # fmt: skip
        return _launch(
            _fold, input, out, input.shape[0] * channels, output_size[0] * output_size[1], channels, output_size[1],
            places, kernel_size, stride, padding, dilation, reached, COMPUTE=triton_dtype(accumulator(input.dtype)),
        )  # fmt: skip

    def backward(self, grad):
        """The windows of the gradient."""
        return (Im2Col.apply(grad, *self.inputs[2:]),)

    @staticmethod
    def samples(draw):
        for shape, (kernel_size, dilation, padding, stride) in windows():
            ends = [(each, each) for each in padding]
            places = out_size(shape[2:], kernel_size, stride, ends, dilation)
            columns = draw(shape[0], shape[1] * kernel_size[0] * kernel_size[1], places[0] * places[1])
            yield columns, shape[2:], kernel_size, dilation, padding, stride
        yield draw(30, 12, 2).T, (6, 7), (2, 2), (1, 1), (0, 0), (1, 1)
        yield np.broadcast_to(draw(1, 12, 1), (2, 12, 30)), (6, 7), (2, 2), (1, 1), (0, 0), (1, 1)

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, R=3, S=3, stride=1, padding=1):
        places = out_size((H, W), (R, S), (stride,) * 2, ((padding, padding),) * 2, (1, 1))
        columns = draw(N, C * R * S, places[0] * places[1])
        return columns, (H, W), (R, S), (1, 1), (padding,) * 2, (stride,) * 2

    @staticmethod
    def errors(draw):
        x = draw(2, 12, 30)
        yield (draw(30), (6, 7), 2), {}, RuntimeError, "Expected 2D or 3D (batch mode) tensor for input with possibly"
        yield (draw(2, 12, 0), (6, 7), 2), {}, RuntimeError, "non-zero dimensions for input, but got: [2, 12, 0]"
        yield (x, (6, 7, 1), 2), {}, RuntimeError, "It is expected output_size equals to 2, but got size 3"
        yield (draw(2, 13, 30), (6, 7), 2), {}, RuntimeError, "but got input.size(1)=13 and kernel_size=(2, 2)"
        yield (
            (draw(2, 12, 31), (6, 7), 2), {}, RuntimeError,
            "to match the calculated number of sliding blocks 5 * 6 = 30, but got input.size(2)=31",
        )  # fmt: skip
        yield (x, (6, 7), 2), {"stride": 0}, RuntimeError, "stride should be greater than zero, but got stride_height"
        yield (x, (6, 7), "two"), {}, TypeError, "col2im(): argument 'kernel_size' must be tuple of ints, but found"
        yield (draw.integers(0, 3, 12, 30), (6, 7), 2), {}, NotImplementedError, "not implemented for 'Long'"
