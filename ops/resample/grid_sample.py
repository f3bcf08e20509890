"""Images read at the positions of a grid, and the gradients by image and by grid."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tritorch.autotune import cdiv
from tritorch.ops.base import TABLE, Op, device_of
from tritorch.ops.batching import folded
from tritorch.ops.creation import Full
from tritorch.ops.index.segments import accumulate
from tritorch.ops.layout import as_contiguous, element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.parallel import for_each, pieces_of
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.pooling.max_pool import volume_strides
from tritorch.ops.pooling.shape import volume
from tritorch.ops.resample.grid_kernels import grid_gradient_kernel, grid_rows_kernel, grid_sample_kernel
from tritorch.ops.resample.weights import BORDERS, INTERPOLATIONS, safe


def _contributions(grid, size, interpolation, border, corners, as_index):
    """For each tap: the element it reads of each image, whether there is one, its weights and their slopes.

    Weights and slopes are lists with one entry a dimension. On arrays or Tensors; `as_index` makes integers of
    floating-point numbers.
    """
    dimensions = []
    for number, extent in enumerate(reversed(size)):
        value = grid[..., number]
        at = (value + 1) * 0.5 * (extent - 1) if corners else ((value + 1) * extent - 1) * 0.5
        slope = (extent - int(corners)) * 0.5
        if interpolation.late:
            position = safe(at)
        else:
            slope = border.slope(at, extent, int(corners)) * slope
            position = safe(border.place(at, extent, int(corners)))
        dimensions.insert(0, (position, interpolation.start(position), slope, extent))
    for tap in itertools.product(range(interpolation.taps), repeat=len(size)):
        index, inside, weights, slopes = 0, None, [], []
        for (position, start, slope, extent), step in zip(dimensions, tap, strict=True):
            whole = start + step
            weights.append(interpolation.weight(position - whole))
            slopes.append(interpolation.slope(position - whole) * slope)
            place = safe(border.place(whole, extent, int(corners))) if interpolation.late else whole
            here = (place >= 0) & (place < extent)
            index = index * extent + as_index(place)
            inside = here if inside is None else inside & here
        yield as_index(index * inside), inside, weights, slopes


def _on_host(grid, size, mode, padding, corners):
    """_contributions of a contiguous (images, places, coordinates) on the host."""
    found = _contributions(grid, size, INTERPOLATIONS[mode], BORDERS[padding], corners, lambda x: x.astype(np.int64))
    for index, inside, weights, slopes in found:
        yield index, inside, [np.asarray(each) for each in weights], slopes


def _settings(mode, padding, corners, rank, dtype):
    """The constants that all kernels take."""
    interpolation = INTERPOLATIONS[mode]
    return {
        "START": interpolation.start, "WEIGHT": interpolation.weight, "PLACE": BORDERS[padding].place,
        "LATE": interpolation.late, "CORNERS": int(corners), "TAPS": volume((interpolation.taps,) * rank), "RANK": rank,
        "COMPUTE": triton_dtype(accumulator(dtype)),
    }  # fmt: skip


def _facts(settings):
    """Those of the settings that a config depends on; the others come with them."""
    return {name: settings[name] for name in ("WEIGHT", "PLACE", "CORNERS", "RANK")}


class GridSample(Op):
    """For each place of `grid`, what `input` has at its coordinates, which go from -1 to 1 along each dimension.

    input (N, C, H, W) or (N, C, D, H, W); grid (N, places, 2 or 3), the last dimension's coordinate first; out
    (N, C, places). Source: Jaderberg et al., "Spatial transformer networks", 2015.
    """

    batch = folded
    saves = ("input", "grid")
    widens = True

    @staticmethod
    def reference(input, grid, mode, padding, corners):
        size, x = input.shape[2:], input.reshape(*input.shape[:2], math.prod(input.shape[2:]))
        out = np.zeros((*input.shape[:2], grid.shape[1]), input.dtype)
        for index, inside, weights, _ in _on_host(grid, size, mode, padding, corners):
            value = np.take_along_axis(x, index[:, None], 2)
            out += np.where(inside[:, None], value * math.prod(weights)[:, None], 0)
        return out

    @staticmethod
    def fast(input, grid, mode, padding, corners):
        """Whole rows of channels at once, a few images at a time."""
        (images, channels, *size), places = input.shape, grid.shape[1]
        area, out = math.prod(size), np.empty((images, channels, places), input.dtype)
        pieces = pieces_of(images, channels * (area + 4 * places))

        def fill(here):
            rows = np.ascontiguousarray(input[here].reshape(-1, channels, area).swapaxes(1, 2)).reshape(-1, channels)
            first, total = np.arange(len(rows) // max(area, 1))[:, None] * area, None
            for index, inside, weights, _ in _on_host(grid[here], size, mode, padding, corners):
                value = rows.take((index + first).reshape(-1), 0)
                value *= math.prod(weights).reshape(-1, 1)
                if not inside.all():
                    value[~inside.reshape(-1)] = 0
                total = value if total is None else np.add(total, value, out=total)
            out[here] = total.reshape(-1, places, channels).swapaxes(1, 2)

        for_each(fill, pieces)
        return out

    def forward(self, input, grid, mode, padding, corners):
        """One launch over the elements of the result."""
        images, places, rank = grid.shape
        out = empty_like(input, (images, input.shape[1], places))
        if out.size:
            grid, settings = as_contiguous(grid), _settings(mode, padding, corners, rank, input.dtype)
            wide = out.size >= 2**31 or needs_64_bits(input.shape, [element_strides(input)])
            count, channels = images * places, input.shape[1]
            config = grid_sample_kernel.config((input, grid, out), count=count, WIDE=wide, **_facts(settings))
            grid_sample_kernel[cdiv(count, config["BLOCK"]), cdiv(channels, config["EACH"])](
                input, grid, out, count, channels, places, volume(input.shape[2:]), volume_strides(input),
                WIDE=wide, **settings | {"DEEP": settings["TAPS"][0], "TAPS": settings["TAPS"][2]}, **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """Two gradient ops, each of which is only made where it is wanted; recorded, both are composed of other ops."""
        input, grid, *rest = self.inputs
        by_input, by_grid = self.edges[0] is not None, self.edges[1] is not None
        if self.recording:
            return _composed(grad, input, grid, by_input, by_grid, *rest)
        return (
            GridSampleInputGradient.apply(grad, grid, input.array.shape, *rest) if by_input else None,
            GridSampleGridGradient.apply(grad, input, grid, *rest) if by_grid else None,
        )

    @staticmethod
    def differentiable_at(input, grid, mode, padding, corners):
        return mode != "nearest"

    @staticmethod
    def samples(draw):
        def image(*shape):
            return draw.uniform(-0.3, 0.3, *shape)  # small, so that what is left of large terms that cancel is too

        pairs = (*(("bilinear", border) for border in BORDERS), ("nearest", "border"), ("bicubic", "zeros"))
        for number, (mode, padding) in enumerate((*pairs, ("bicubic", "reflection"))):
            yield image(2, 3, 4, 5), draw.uniform(-1.4, 1.4, 2, 7, 2), mode, padding, number % 2 == 0
        yield image(1, 2, 3, 4, 2), draw.uniform(-1.4, 1.4, 1, 5, 3), "bilinear", "zeros", False
        yield image(1, 2, 3, 4, 2), draw.uniform(-1.4, 1.4, 1, 5, 3), "nearest", "border", True
        across = draw.uniform(-1.4, 1.4, 2, 2, 5).swapaxes(1, 2)
        yield image(2, 5, 3, 4).transpose(0, 2, 3, 1), across, "bilinear", "border", True
        yield draw(0, 3, 4, 5), draw.uniform(-1, 1, 0, 7, 2), "bilinear", "zeros", False
        yield image(1, 1, 12, 12) / 4, draw.uniform(-1.4, 1.4, 1, 1025, 2), "bilinear", "zeros", False

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, P=3136):
        return draw(N, C, H, W), draw.uniform(-1, 1, N, P, 2), "bilinear", "zeros", False


class GridSampleInputGradient(Op):
    """The gradient of GridSample by images of `shape`: shares of places, sorted by element and added in that order."""

    widens = True

    @staticmethod
    def reference(grad, grid, shape, mode, padding, corners):
        area = math.prod(shape[2:])
        out = np.zeros((shape[0] * area, shape[1]), grad.dtype)
        first = np.arange(shape[0])[:, None] * area
        for index, inside, weights, _ in _on_host(grid, shape[2:], mode, padding, corners):
            share = np.where(inside[:, None], grad * math.prod(weights)[:, None], 0)
            np.add.at(out, index + first, share.transpose(0, 2, 1))
        return out.reshape(shape[0], area, shape[1]).transpose(0, 2, 1).reshape(shape).astype(grad.dtype)

    def forward(self, grad, grid, shape, mode, padding, corners):
        """One launch for the shares, the sort, and one that adds."""
        out = Full().forward(shape, 0, grad.dtype, device_of(grad))
        (images, places, rank), channels = grid.shape, shape[1]
        if not grad.size:
            return out
        settings = _settings(mode, padding, corners, rank, grad.dtype)
        taps = math.prod(settings["TAPS"])
        rows = empty_like(grad, (images * places * taps, channels), accumulator(grad.dtype))
        targets = empty_like(grad, (images * places * taps,), np.dtype(np.int64))
        grad, grid = as_contiguous(grad), as_contiguous(grid)
        config = grid_rows_kernel.config(
            (grad, grid, rows, targets), count=images * places, channels=channels, **_facts(settings)
        )
        grid_rows_kernel[(cdiv(images * places, config["BLOCK"]),)](
            grad, grid, rows, targets, out.size, images * places, channels, places, volume(shape[2:]),
            **settings, **config,
        )  # fmt: skip
        accumulate(out, rows, targets, out.size, 1, (channels,), (math.prod(shape[2:]),))
        return out

    @classmethod
    def batch(cls, call):
        """A batch of batches is a larger batch."""
        images, *rest = call.args[2]
        found = cls.apply(*call.folded(0, 1), (call.size * images, *rest), *call.args[3:])
        return call.unfolded(found, images)

    @staticmethod
    def samples(draw):
        for input, grid, *rest in GridSample.samples(draw):
            yield draw.uniform(-0.3, 0.3, *input.shape[:2], grid.shape[1]), grid, input.shape, *rest

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, P=3136):
        return draw(N, C, P), draw.uniform(-1, 1, N, P, 2), (N, C, H, W), "bilinear", "zeros", False


class GridSampleGridGradient(Op):
    """The gradient of GridSample by the grid: how the weights of what is read change with each coordinate."""

    batch = folded
    widens = True

    @staticmethod
    def reference(grad, input, grid, mode, padding, corners):
        size, x = input.shape[2:], input.reshape(*input.shape[:2], math.prod(input.shape[2:]))
        out = np.zeros(grid.shape, grid.dtype)
        for index, inside, weights, slopes in _on_host(grid, size, mode, padding, corners):
            value = np.take_along_axis(x, index[:, None], 2)
            total = np.where(inside, (grad * value).sum(1), 0)
            for dim, slope in enumerate(slopes):
                out[..., len(size) - 1 - dim] += total * slope * math.prod(weights[:dim] + weights[dim + 1 :])
        return out

    def forward(self, grad, input, grid, mode, padding, corners):
        """One launch over the places."""
        out = empty_like(grid)
        images, places, rank = grid.shape
        if out.size:
            grad, grid = as_contiguous(grad), as_contiguous(grid)
            settings, channels = _settings(mode, padding, corners, rank, input.dtype), input.shape[1]
            wide = max(out.size, grad.size) >= 2**31 or needs_64_bits(input.shape, [element_strides(input)])
            config = grid_gradient_kernel.config(
                (grad, input, grid, out), count=images * places, channels=channels, WIDE=wide, **_facts(settings)
            )
            grid_gradient_kernel[(cdiv(images * places, config["BLOCK"]),)](
                grad, input, grid, out, images * places, channels, places, volume(input.shape[2:]),
                volume_strides(input), SLOPE=INTERPOLATIONS[mode].slope, PLACE_SLOPE=BORDERS[padding].slope,
                WIDE=wide, **settings, **config,
            )  # fmt: skip
        return out

    @staticmethod
    def samples(draw):
        for input, grid, *rest in GridSample.samples(draw):
            yield draw.uniform(-0.3, 0.3, *input.shape[:2], grid.shape[1]), input, grid, *rest

    @staticmethod
    def sized(draw, N=16, C=64, H=56, W=56, P=3136):
        return draw(N, C, P), *GridSample.sized(draw, N, C, H, W, P)


def _composed(grad, input, grid, by_input, by_grid, mode, padding, corners):
    """Both gradients as compositions of ops on Tensors, which have gradients themselves."""
    shape = input.array.shape
    x = input.flatten(2)
    to_input, to_grid = x.new_zeros(x.array.shape), [0] * (len(shape) - 2)
    found = _contributions(
        grid, shape[2:], INTERPOLATIONS[mode], BORDERS[padding], corners, lambda each: each.detach().long()
    )
    for index, inside, weights, slopes in found:
        index = index.unsqueeze(1).expand(grad.array.shape)
        if by_input:
            share = grad * (math.prod(weights) * inside).unsqueeze(1)
            to_input = TABLE["scatter"].apply(to_input, 2, True, index, share)
        if by_grid:
            total = (grad * x.gather(2, index)).sum(1) * inside
            for dim, slope in enumerate(slopes):
                to_grid[dim] = to_grid[dim] + total * slope * math.prod(weights[:dim] + weights[dim + 1 :])
    stacked = TABLE["stack"].apply(grid.array.ndim - 1, *reversed(to_grid)) if by_grid else None
    return to_input.reshape(shape) if by_input else None, stacked
