"""Channels rearranged into pixels, and back."""

from __future__ import annotations

from tritorch.nn import functional as F
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import listed

__all__ = ["PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(Module):
    """(*, C r^2, H, W) as (*, C, H r, W r). Source: Shi et al., Efficient Sub-Pixel Convolution, 2016."""

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return listed(self, ("upscale_factor",))


class PixelUnshuffle(Module):
    """(*, C, H r, W r) as (*, C r^2, H, W)."""

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return listed(self, ("downscale_factor",))
