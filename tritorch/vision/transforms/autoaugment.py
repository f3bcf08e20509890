"""Chains of random operations whose kinds and strengths were searched for, or are drawn: AutoAugment and its heirs."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

import tritorch
from tritorch.nn import Module
from tritorch.vision.transforms import draw, policies
from tritorch.vision.transforms import functional as F
from tritorch.vision.transforms.functional.images import InterpolationMode, is_tensor
from tritorch.vision.transforms.warping import fill_of

__all__ = ["AugMix", "AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide"]


class AutoAugmentPolicy(Enum):
    """The images for which a policy was searched."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


def _shear_x(img, strength, mode, fill):
    shear = [math.degrees(math.atan(strength)), 0.0]
    return F.affine(img, 0.0, [0, 0], 1.0, shear, interpolation=mode, fill=fill, center=[0, 0])


def _shear_y(img, strength, mode, fill):
    shear = [0.0, math.degrees(math.atan(strength))]
    return F.affine(img, 0.0, [0, 0], 1.0, shear, interpolation=mode, fill=fill, center=[0, 0])


def _translate_x(img, strength, mode, fill):
    return F.affine(img, 0.0, [int(strength), 0], 1.0, [0.0, 0.0], interpolation=mode, fill=fill)


def _translate_y(img, strength, mode, fill):
    return F.affine(img, 0.0, [0, int(strength)], 1.0, [0.0, 0.0], interpolation=mode, fill=fill)


_OPERATIONS = {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": lambda img, strength, mode, fill: F.rotate(img, strength, interpolation=mode, fill=fill),
    "Brightness": lambda img, strength, mode, fill: F.adjust_brightness(img, 1.0 + strength),
    "Color": lambda img, strength, mode, fill: F.adjust_saturation(img, 1.0 + strength),
    "Contrast": lambda img, strength, mode, fill: F.adjust_contrast(img, 1.0 + strength),
    "Sharpness": lambda img, strength, mode, fill: F.adjust_sharpness(img, 1.0 + strength),
    "Posterize": lambda img, strength, mode, fill: F.posterize(img, int(strength)),
    "Solarize": lambda img, strength, mode, fill: F.solarize(img, strength),
    "AutoContrast": lambda img, strength, mode, fill: F.autocontrast(img),
    "Equalize": lambda img, strength, mode, fill: F.equalize(img),
    "Invert": lambda img, strength, mode, fill: F.invert(img),
    "Identity": lambda img, strength, mode, fill: img,
}
_COLORS = ("Brightness", "Color", "Contrast", "Sharpness")


def _strengths(bins, shear, translate, rotate, color, posterize):
    """What each step of an operation means, and whether it goes both ways.

    `translate` is (across, down) in pixels; `posterize` the bits that are left at first and how many of them go.
    """
    bits, fewer = posterize
    steps = np.linspace(0, 1, bins)
    table = {"Identity": (None, False)}
    table |= dict.fromkeys(("ShearX", "ShearY"), (steps * shear, True))
    table |= {name: (steps * most, True) for name, most in zip(("TranslateX", "TranslateY"), translate, strict=True)}
    table |= {"Rotate": (steps * rotate, True)}
    table |= dict.fromkeys(_COLORS, (steps * color, True))
    table |= {"Posterize": (bits - np.round(np.arange(bins, dtype=np.float32) / np.float32((bins - 1) / fewer)), False)}
    table |= {"Solarize": (255.0 * (1 - steps), False), "AutoContrast": (None, False), "Equalize": (None, False)}
    return table


class _Automatic(Module):
    """Base of the chains: what they share is how one operation is applied, and how they are printed."""

    settings: tuple[str, ...] = ()

    def __init__(self, interpolation, fill):
        super().__init__()
        self.interpolation, self.fill = interpolation, fill

    def _applied(self, img, name, strength, signed, negative):
        """`img` after an operation; `negative` decides which way, where there are two."""
        strength = -strength if signed and negative else strength
        return _OPERATIONS[name](img, float(strength), self.interpolation, fill_of(img, self.fill))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.settings)})"


def _searched(img, bins):
    """The strengths of AutoAugment and RandAugment: shifts of up to 150 pixels in 331."""
    _, height, width = F.get_dimensions(img)
    shifts = (150.0 / 331.0 * width, 150.0 / 331.0 * height)
    return _strengths(bins, shear=0.3, translate=shifts, rotate=30.0, color=0.9, posterize=(8, 4))


class AutoAugment(_Automatic):
    """One of 25 pairs of operations that were found to help. Source: Cubuk et al., 2018."""

    settings = ("policy", "fill")

    def __init__(self, policy=AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.NEAREST, fill=None):
        super().__init__(interpolation, fill)
        if not isinstance(policy, AutoAugmentPolicy):
            raise ValueError(f"The provided policy {policy} is not recognized.")
        self.policy = policy
        self.policies = getattr(policies, policy.name)

    @staticmethod
    def get_params(transform_num):
        """Which pair, the numbers that decide whether each is applied, and which way each goes."""
        which = draw.integer(0, transform_num)
        return which, [draw.uniform(0.0, 1.0) for _ in range(2)], [draw.integer(0, 2) for _ in range(2)]

    def forward(self, img):
        table = {**_searched(img, 10), "Invert": (None, False)}
        which, chances, signs = self.get_params(len(self.policies))
        for (name, probability, step), drawn, sign in zip(self.policies[which], chances, signs, strict=True):
            if drawn <= probability:
                strengths, signed = table[name]
                img = self._applied(img, name, 0.0 if step is None else strengths[step], signed, sign == 0)
        return img


class RandAugment(_Automatic):
    """`num_ops` operations drawn at random, all of the same strength. Source: Cubuk et al., 2019."""

    settings = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")

    def __init__(self, num_ops=2, magnitude=9, num_magnitude_bins=31, interpolation=InterpolationMode.NEAREST,
                 fill=None):  # fmt: skip
        super().__init__(interpolation, fill)
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins

    def forward(self, img):
        table = _searched(img, self.num_magnitude_bins)
        for _ in range(self.num_ops):
            name = tuple(table)[draw.integer(0, len(table))]
            strengths, signed = table[name]
            strength = 0.0 if strengths is None else strengths[self.magnitude]
            img = self._applied(img, name, strength, signed, signed and draw.integer(0, 2) == 1)
        return img


class TrivialAugmentWide(_Automatic):
    """One operation of any strength. Source: Mueller, Hutter, 2021."""

    settings = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(self, num_magnitude_bins=31, interpolation=InterpolationMode.NEAREST, fill=None):
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def forward(self, img):
        table = _strengths(self.num_magnitude_bins, 0.99, (32.0, 32.0), 135.0, 0.99, posterize=(8, 6))
        name = tuple(table)[draw.integer(0, len(table))]
        strengths, signed = table[name]
        strength = 0.0 if strengths is None else strengths[draw.integer(0, len(strengths))]
        return self._applied(img, name, strength, signed, signed and draw.integer(0, 2) == 1)


class AugMix(_Automatic):
    """An image mixed with several chains of operations on it. Source: Hendrycks et al., 2019."""

    settings = ("severity", "mixture_width", "chain_depth", "alpha", "all_ops", "interpolation", "fill")
    bins = 10

    def __init__(self, severity=3, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=True,
                 interpolation=InterpolationMode.BILINEAR, fill=None):  # fmt: skip
        super().__init__(interpolation, fill)
        if not 1 <= severity <= self.bins:
            raise ValueError(f"The severity must be between [1, {self.bins}]. Got {severity} instead.")
        self.severity, self.mixture_width, self.chain_depth = severity, mixture_width, chain_depth
        self.alpha, self.all_ops = alpha, all_ops

    def _table(self, img):
        _, height, width = F.get_dimensions(img)
        table = _strengths(self.bins, 0.3, (width / 3.0, height / 3.0), 30.0, 0.9, posterize=(4, 4))
        left_out = ("Identity", *(() if self.all_ops else _COLORS))
        return {name: found for name, found in table.items() if name not in left_out}

    def forward(self, img):
        image = img if is_tensor(img) else F.pil_to_tensor(img)
        table = self._table(img)
        batch = image.reshape(*[1] * max(4 - image.ndim, 0), *image.shape)
        dirichlet = np.random.default_rng(draw.integer(0, 2**62)).dirichlet  # seeded by the generator of all transforms
        own = dirichlet([self.alpha] * 2, len(batch))
        weights = dirichlet([self.alpha] * self.mixture_width, len(batch)) * own[:, 1:]
        as_column = (len(batch), *[1] * (batch.ndim - 1))
        mix = batch.new_tensor(own[:, 0], dtype=tritorch.float32).view(as_column) * batch
        for branch in range(self.mixture_width):
            weight = mix.new_tensor(weights[:, branch]).view(as_column)
            mix = mix + weight * self._chain(batch, table)
        found = mix.view(image.shape).to(image.dtype)
        return found if is_tensor(img) else F.to_pil_image(found)

    def _chain(self, batch, table):
        for _ in range(self.chain_depth if self.chain_depth > 0 else draw.integer(1, 4)):
            name = tuple(table)[draw.integer(0, len(table))]
            strengths, signed = table[name]
            strength = 0.0 if strengths is None else strengths[draw.integer(0, self.severity)]
            batch = self._applied(batch, name, strength, signed, signed and draw.integer(0, 2) == 1)
        return batch
