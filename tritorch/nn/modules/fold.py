"""Fold and Unfold: images from and to columns of their patches."""

from __future__ import annotations

from tritorch.nn import functional as F
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import listed

__all__ = ["Fold", "Unfold"]


class Fold(Module):
    """Patches (N, C k, L) added up where they lie in an image (N, C, *output_size)."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return listed(self, ("output_size", "kernel_size", "dilation", "padding", "stride"))


class Unfold(Module):
    """The patches of an image (N, C, H, W) as columns (N, C k, L)."""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return listed(self, ("kernel_size", "dilation", "padding", "stride"))
