"""Batches of which each image is mixed with another, and its label too."""

from __future__ import annotations

import math

import numpy as np

import tritorch
from tritorch.nn import Module
from tritorch.vision.transforms import draw

__all__ = ["CutMix", "MixUp"]


class _Mixing(Module):
    """Base: images (N, C, H, W) and labels (N,) or (N, num_classes) to images and labels (N, num_classes)."""

    def __init__(self, *, alpha=1.0, num_classes=None, labels_getter="default"):
        super().__init__()
        self.alpha, self.num_classes, self.labels_getter = float(alpha), num_classes, labels_getter

    def forward(self, *inputs):
        images, labels = inputs if len(inputs) > 1 else inputs[0]
        if images.ndim != 4:
            raise ValueError(f"Expected a batched input with 4 dims, but got {images.ndim} dimensions instead.")
        if labels.ndim == 1:
            if self.num_classes is None:
                raise ValueError("num_classes must be passed if the labels are index-based (1-dim)")
            labels = tritorch.nn.functional.one_hot(labels, self.num_classes)
        labels = labels.float()
        # seeded by the generator of all transforms, which draws no beta distribution
        share = float(np.random.default_rng(draw.integer(0, 2**62)).beta(self.alpha, self.alpha))
        images, share = self.mixed(images, images.roll(1, 0), share)
        return images, share * labels + (1.0 - share) * labels.roll(1, 0)

    def __repr__(self):
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes})"


class MixUp(_Mixing):
    """Each image a mean of itself and its neighbour. Source: Zhang et al., 2017."""

    def mixed(self, images, others, share):
        """The images, and how much of each is left."""
        return (images * share + others * (1.0 - share)).to(images.dtype), share


class CutMix(_Mixing):
    """Each image with a rectangle of its neighbour. Source: Yun et al., 2019."""

    def mixed(self, images, others, share):
        """The images, and how much of each is left."""
        height, width = images.shape[-2:]
        x, y = draw.integer(0, width), draw.integer(0, height)
        half = 0.5 * math.sqrt(1.0 - share)
        across, down = int(half * width), int(half * height)
        left, right, top, bottom = max(x - across, 0), min(x + across, width), max(y - down, 0), min(y + down, height)
        found = images.clone()
        found[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return found, 1.0 - (right - left) * (bottom - top) / (width * height)
