"""Transforms that turn, shear, bend and look at images from the side."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import tritorch
from tritorch.nn import Module
from tritorch.vision.transforms import draw
from tritorch.vision.transforms import functional as F
from tritorch.vision.transforms.container import Randomly
from tritorch.vision.transforms.functional.images import InterpolationMode, interpolation_mode, is_tensor

__all__ = ["ElasticTransform", "RandomAffine", "RandomPerspective", "RandomRotation"]


def _check_length(value, name, lengths):
    text = f"{name} should be a sequence of length {' or '.join(map(str, lengths))}."
    if not isinstance(value, Sequence):
        raise TypeError(text)
    if len(value) not in lengths:
        raise ValueError(text)


def _range_of(value, name, lengths=(2,)):
    """(-value, value) of a number, or the numbers that were given."""
    if isinstance(value, numbers.Number):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive.")
        return [-float(value), float(value)]
    _check_length(value, name, lengths)
    return [float(each) for each in value]


def _checked_fill(fill):
    if fill is None:
        return 0
    if not isinstance(fill, (Sequence, numbers.Number)):
        raise TypeError("Fill should be either a sequence or a number.")
    return fill


def fill_of(img, fill):
    """A fill as functions take it for this image: for a tensor, a number for each channel."""
    if not is_tensor(img) or fill is None:
        return fill
    channels = F.get_dimensions(img)[0]
    return [float(fill)] * channels if isinstance(fill, numbers.Number) else [float(each) for each in fill]


def _mode_of(interpolation):
    return interpolation_mode(interpolation) if isinstance(interpolation, int) else interpolation


class RandomRotation(Module):
    """An image turned by an angle between `degrees` (or -degrees and degrees)."""

    def __init__(self, degrees, interpolation=InterpolationMode.NEAREST, expand=False, center=None, fill=0):
        super().__init__()
        self.degrees = _range_of(degrees, "degrees")
        if center is not None:
            _check_length(center, "center", (2,))
        self.interpolation, self.expand, self.center = _mode_of(interpolation), expand, center
        self.fill = _checked_fill(fill)

    @staticmethod
    def get_params(degrees):
        """An angle."""
        return draw.uniform(float(degrees[0]), float(degrees[1]))

    def forward(self, img):
        fill = fill_of(img, self.fill)
        return F.rotate(img, self.get_params(self.degrees), self.interpolation, self.expand, self.center, fill)

    def __repr__(self):
        center = "" if self.center is None else f", center={self.center}"
        fill = "" if self.fill is None else f", fill={self.fill}"
        return (
            f"{type(self).__name__}(degrees={self.degrees}, interpolation={self.interpolation.value}, "
            f"expand={self.expand}{center}{fill})"
        )


class RandomAffine(Module):
    """An image turned, moved by parts of its size, scaled and sheared, each by a number within what is given."""

    def __init__(self, degrees, translate=None, scale=None, shear=None, interpolation=InterpolationMode.NEAREST, fill=0,
                 center=None):  # fmt: skip
        super().__init__()
        self.degrees = _range_of(degrees, "degrees")
        if translate is not None:
            _check_length(translate, "translate", (2,))
            if any(not 0.0 <= each <= 1.0 for each in translate):
                raise ValueError("translation values should be between 0 and 1")
        if scale is not None:
            _check_length(scale, "scale", (2,))
            if any(each <= 0 for each in scale):
                raise ValueError("scale values should be positive")
        if center is not None:
            _check_length(center, "center", (2,))
        self.translate, self.scale, self.center = translate, scale, center
        self.shear = None if shear is None else _range_of(shear, "shear", (2, 4))
        self.interpolation, self.fill = _mode_of(interpolation), _checked_fill(fill)

    @staticmethod
    def get_params(degrees, translate, scale_ranges, shears, img_size):
        """angle, (right, down), scale, (x shear, y shear) for an image of `img_size` (width, height)."""
        angle = draw.uniform(float(degrees[0]), float(degrees[1]))
        moved = (0, 0)
        if translate is not None:
            most = [float(part * size) for part, size in zip(translate, img_size, strict=True)]
            moved = tuple(round(draw.uniform(-each, each)) for each in most)
        scale = 1.0 if scale_ranges is None else draw.uniform(*scale_ranges)
        shear_x = shear_y = 0.0
        if shears is not None:
            shear_x = draw.uniform(shears[0], shears[1])
            shear_y = draw.uniform(shears[2], shears[3]) if len(shears) == 4 else 0.0
        return angle, moved, scale, (shear_x, shear_y)

    def forward(self, img):
        _, height, width = F.get_dimensions(img)
        found = self.get_params(self.degrees, self.translate, self.scale, self.shear, [width, height])
        fill = fill_of(img, self.fill)
        return F.affine(img, *found, interpolation=self.interpolation, fill=fill, center=self.center)

    def __repr__(self):
        parts = [f"degrees={self.degrees}"]
        for name in ("translate", "scale", "shear"):
            if getattr(self, name) is not None:
                parts.append(f"{name}={getattr(self, name)}")
        if self.interpolation is not InterpolationMode.NEAREST:
            parts.append(f"interpolation={self.interpolation.value}")
        if self.fill != 0:
            parts.append(f"fill={self.fill}")
        if self.center is not None:
            parts.append(f"center={self.center}")
        return f"{type(self).__name__}({', '.join(parts)})"


class RandomPerspective(Randomly):
    """An image seen from the side with probability p: its corners move in by up to `distortion_scale` of their way."""

    def __init__(self, distortion_scale=0.5, p=0.5, interpolation=InterpolationMode.BILINEAR, fill=0):
        super().__init__(p)
        self.distortion_scale, self.fill = distortion_scale, _checked_fill(fill)
        self.interpolation = _mode_of(interpolation)

    @staticmethod
    def get_params(width, height, distortion_scale):
        """Where the corners (top left, top right, bottom right, bottom left) are, and where they go."""
        most_x = int(distortion_scale * (width // 2)) + 1
        most_y = int(distortion_scale * (height // 2)) + 1
        near_x, far_x = (0, most_x), (width - most_x, width)
        near_y, far_y = (0, most_y), (height - most_y, height)
        corners = ((near_x, near_y), (far_x, near_y), (far_x, far_y), (near_x, far_y))
        start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        return start, [[draw.integer(*x), draw.integer(*y)] for x, y in corners]

    def change(self, img):
        _, height, width = F.get_dimensions(img)
        corners = self.get_params(width, height, self.distortion_scale)
        return F.perspective(img, *corners, self.interpolation, fill_of(img, self.fill))


class ElasticTransform(Module):
    """An image whose pixels are moved by smooth noise, of strength `alpha` and smoothness `sigma` (x, y)."""

    def __init__(self, alpha=50.0, sigma=5.0, interpolation=InterpolationMode.BILINEAR, fill=0):
        super().__init__()
        self.alpha, self.sigma = self._pair("alpha", alpha), self._pair("sigma", sigma)
        self.interpolation = _mode_of(interpolation)
        if not isinstance(fill, (int, float, list, tuple)):
            raise TypeError(f"fill should be int or float or a list or tuple of them. Got {type(fill)}")
        self.fill = [float(fill)] if isinstance(fill, (int, float)) else [float(each) for each in fill]

    @staticmethod
    def _pair(name, value):
        if not isinstance(value, (float, Sequence)):
            raise TypeError(f"{name} should be float or a sequence of floats. Got {type(value)}")
        value = [value] * 2 if isinstance(value, float) else list(value)
        if len(value) != 2:
            raise ValueError(f"If {name} is a sequence its length should be 2. Got {len(value)}")
        for each in value:
            if not isinstance(each, float):
                raise TypeError(f"{name} should be a sequence of floats. Got {type(each)}")
        return value

    @staticmethod
    def get_params(alpha, sigma, size):
        """How far each pixel moves: (1, height, width, 2), in halves of the image."""
        moves = []
        for strength, smooth, edge in zip(alpha, sigma, size, strict=True):
            noise = tritorch.rand(1, 1, *size, device="cpu") * 2 - 1
            if smooth > 0.0:
                window = int(8 * smooth + 1)
                window += window % 2 == 0  # an odd number
                noise = F.gaussian_blur(noise, [window, window], list(sigma))
            moves.append(noise * strength / edge)
        return tritorch.cat(moves, 1).permute(0, 2, 3, 1)

    def forward(self, tensor):
        _, height, width = F.get_dimensions(tensor)
        displacement = self.get_params(self.alpha, self.sigma, [height, width])
        return F.elastic_transform(tensor, displacement, self.interpolation, self.fill)

    def __repr__(self):
        return (
            f"{type(self).__name__}(alpha={self.alpha}, sigma={self.sigma}, "
            f"interpolation={self.interpolation}, fill={self.fill})"
        )
