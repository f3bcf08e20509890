"""Transforms of whole samples under the names of torchvision.transforms.v2; tv_tensors (boxes, masks) are not here."""

from __future__ import annotations

from enum import Enum as _Enum

from numpy import ndarray as _ndarray

import tritorch
from tritorch.nn import Module
from tritorch.vision import transforms as _first
from tritorch.vision.transforms import draw as _draw
from tritorch.vision.transforms.autoaugment import AutoAugmentPolicy as AutoAugmentPolicy
from tritorch.vision.transforms.functional.images import InterpolationMode as InterpolationMode
from tritorch.vision.transforms.v2 import functional as functional
from tritorch.vision.transforms.v2.joint import Joint as _Joint
from tritorch.vision.transforms.v2.joint import joint as _joint
from tritorch.vision.transforms.v2.joint import on_images as _on_images
from tritorch.vision.transforms.v2.mixing import CutMix as CutMix
from tritorch.vision.transforms.v2.mixing import MixUp as MixUp

_CONTAINERS = ("Compose", "RandomApply", "RandomChoice", "RandomOrder", "RandomTransforms")
_OF_ONE_IMAGE = [
    kind for name, kind in vars(_first).items()
    if isinstance(kind, type) and not issubclass(kind, _Enum) and name not in _CONTAINERS
]  # fmt: skip
globals().update((kind.__name__, _joint(kind)) for kind in _OF_ONE_IMAGE)


def _one_after_the_other(transforms, inputs):
    for transform in transforms:
        found = transform(*inputs)
        inputs = found if len(inputs) > 1 else (found,)
    return inputs if len(inputs) > 1 else inputs[0]


class Compose(_first.Compose):
    """One transform after the other."""

    def __call__(self, *inputs):
        return _one_after_the_other(self.transforms, inputs)


class RandomApply(_first.RandomApply):
    """All of the transforms with probability p, else none."""

    def forward(self, *inputs):
        if _draw.chance(self.p):
            return _one_after_the_other(self.transforms, inputs)
        return inputs if len(inputs) > 1 else inputs[0]


class RandomOrder(_first.RandomOrder):
    """All of the transforms, in random order."""

    def __call__(self, *inputs):
        return _one_after_the_other([self.transforms[index] for index in _draw.order(len(self.transforms))], inputs)


class RandomChoice(_first.RandomChoice):
    """One of the transforms, with probabilities in proportion to p where they are given."""


class Identity(Module):
    """What it is given."""

    def forward(self, *inputs):
        return inputs if len(inputs) > 1 else inputs[0]


class ToImage(Module):
    """A picture or an array (H, W, C) as a tensor (C, H, W) of the numbers it holds."""

    def forward(self, *inputs):
        return _on_images(functional.to_image, inputs, _ndarray)


class ToPureTensor(Identity):
    """What it is given: there are no other kinds of tensors here."""


class ToDtype(_Joint, Module):
    """A tensor image in another dtype; with `scale`, black and white stay what they are."""

    def __init__(self, dtype, scale=False):
        super().__init__()
        self.dtype, self.scale = dtype, scale

    def forward(self, inpt):
        return functional.to_dtype(inpt, self.dtype, self.scale)

    def __repr__(self):
        return f"{type(self).__name__}(scale={self.scale})"


class RGB(_Joint, Module):
    """An image of three channels: a grey one three times."""

    def forward(self, inpt):
        return functional.grayscale_to_rgb(inpt)


class GaussianNoise(_Joint, Module):
    """Normal noise added to a floating-point image, and what leaves 0 to 1 cut, if `clip`."""

    def __init__(self, mean=0.0, sigma=0.1, clip=True):
        super().__init__()
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def forward(self, inpt):
        if not inpt.is_floating_point():
            raise ValueError(f"Input tensor is expected to be in float or uint8 dtype, got dtype={inpt.dtype}")
        found = inpt + self.mean + tritorch.randn_like(inpt) * self.sigma
        return found.clamp(0, 1) if self.clip else found


class RandomChannelPermutation(_Joint, Module):
    """The channels of a tensor image in random order."""

    def forward(self, inpt):
        order = tritorch.tensor(_draw.order(inpt.shape[-3]), device=inpt.device)
        return inpt.index_select(-3, order)


class RandomPhotometricDistort(_Joint, Module):
    """Brightness, contrast, saturation and hue changed, each with probability p. Source: Liu et al., 2015."""

    def __init__(self, brightness=(0.875, 1.125), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(-0.05, 0.05), p=0.5):
        super().__init__()
        self.p = p
        ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        self.jitters = [_first.ColorJitter(**{name: value}) for name, value in ranges.items()]

    def forward(self, img):
        for jitter in self.jitters:
            img = jitter(img) if _draw.chance(self.p) else img
        return img
