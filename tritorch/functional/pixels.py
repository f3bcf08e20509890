"""Channels and pixels exchanged: pixel_shuffle, pixel_unshuffle, channel_shuffle."""

from __future__ import annotations

from tritorch.functional.pooling import channels_innermost
from tritorch.ops.base import export
from tritorch.ops.shape.views import permute, reshape


@export("nn.functional.pixel_shuffle", "pixel_shuffle")
def pixel_shuffle(input, upscale_factor):
    """Each f^2 channels as one of f times the height and width, f the factor: (*, C f^2, H, W) to (*, C, H f, W f).

    Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN, 2016.
    """
    shape, factor = input.array.shape, upscale_factor
    _check("pixel_shuffle", shape, "upscale_factor", factor)
    *batch, channels, height, width = shape
    if channels % factor**2:
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={channels} is not divisible by {factor**2}"
        )
    kept = channels // factor**2
    parts = reshape(input, (*batch, kept, factor, factor, height, width))
    first = len(batch)
    order = (*range(first), first, first + 3, first + 1, first + 4, first + 2)
    return _put_together(input, permute(parts, order), (*batch, kept, height * factor, width * factor), 1)


@export("nn.functional.pixel_unshuffle", "pixel_unshuffle")
def pixel_unshuffle(input, downscale_factor):
    """The reverse of pixel_shuffle: (*, C, H f, W f) to (*, C f^2, H, W)."""
    shape, factor = input.array.shape, downscale_factor
    _check("pixel_unshuffle", shape, "downscale_factor", factor)
    *batch, channels, height, width = shape
    for name, position, size in (("height", -2, height), ("width", -1, width)):
        if size % factor:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({position})="
                f"{size} is not divisible by {factor}"
            )
    parts = reshape(input, (*batch, channels, height // factor, factor, width // factor, factor))
    first = len(batch)
    order = (*range(first), first, first + 2, first + 4, first + 1, first + 3)
    smaller = (*batch, channels * factor**2, height // factor, width // factor)
    return _put_together(input, permute(parts, order), smaller, 3)


def _check(op, shape, what, factor):
    if len(shape) < 3:
        raise RuntimeError(
            f"{op} expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{op} expects a positive {what}, but got {factor}")


@export("nn.functional.channel_shuffle", "channel_shuffle")
def channel_shuffle(input, groups):
    """The channels of (N, C, *), in `groups`, so that neighbours come from different groups (Zhang et al., 2017)."""
    shape = input.array.shape
    if len(shape) < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} groups."
        )
    parts = reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return _put_together(input, parts.transpose(1, 2), shape, 2)


def _put_together(input, parts, shape, made):
    """`parts` under `shape`; where the input's channels lie innermost, so do those of the result, of `made` parts."""
    if input.array.ndim != 4 or not channels_innermost(input):
        return reshape(parts, shape)
    rank = parts.array.ndim
    turned = permute(parts, (0, *range(1 + made, rank), *range(1, 1 + made)))
    return permute(reshape(turned, (shape[0], *shape[2:], shape[1])), (0, len(shape) - 1, *range(1, len(shape) - 1)))
