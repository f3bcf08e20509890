"""Images brighter, greyer, of other colours."""

from __future__ import annotations

import numpy as np

import tritorch
from tritorch.vision.pillow import is_pillow, pillow
from tritorch.vision.transforms.functional.conversion import convert_image_dtype
from tritorch.vision.transforms.functional.images import (
    get_dimensions,
    is_tensor,
    largest,
    need_channels,
    need_image,
)


def blend(image, other, ratio):
    """ratio image + (1 - ratio) other, cut to what the dtype can show."""
    ratio = float(ratio)  # an integer times bytes would overflow
    return (ratio * image + (1.0 - ratio) * other).clamp(0, largest(image.dtype)).to(image.dtype)


def _enhanced(img, kind, factor):
    return getattr(pillow().ImageEnhance, kind)(img).enhance(factor)


def _not_negative(name, factor):
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")


def adjust_brightness(img, brightness_factor):
    """An image times a factor."""
    need_image(img)
    if not is_tensor(img):
        return _enhanced(img, "Brightness", brightness_factor)
    _not_negative("brightness_factor", brightness_factor)
    need_channels(img, 1, 3)
    return blend(img, tritorch.zeros_like(img), brightness_factor)


def adjust_contrast(img, contrast_factor):
    """An image whose differences from its mean grey are multiplied by a factor."""
    need_image(img)
    if not is_tensor(img):
        return _enhanced(img, "Contrast", contrast_factor)
    _not_negative("contrast_factor", contrast_factor)
    need_channels(img, 1, 3)
    grey = rgb_to_grayscale(img) if get_dimensions(img)[0] == 3 else img
    kind = img.dtype if img.dtype.is_floating_point else tritorch.float32
    return blend(img, grey.to(kind).mean(dim=(-3, -2, -1), keepdim=True), contrast_factor)


def adjust_saturation(img, saturation_factor):
    """An image whose differences from grey are multiplied by a factor: 0 is grey, 1 the image."""
    need_image(img)
    if not is_tensor(img):
        return _enhanced(img, "Color", saturation_factor)
    _not_negative("saturation_factor", saturation_factor)
    need_channels(img, 1, 3)
    return img if get_dimensions(img)[0] == 1 else blend(img, rgb_to_grayscale(img), saturation_factor)


def adjust_hue(img, hue_factor):
    """An image whose colours are turned on the colour wheel, by -0.5 to 0.5 of a turn."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    need_image(img)
    if not is_tensor(img):
        return _picture_of_other_hue(img, hue_factor)
    need_channels(img, 1, 3)
    if get_dimensions(img)[0] == 1:
        return img
    hue, saturation, value = _hsv_of(convert_image_dtype(img, tritorch.float32).unbind(-3))
    found = tritorch.stack(_rgb_of((hue + hue_factor) % 1.0, saturation, value), -3)
    return convert_image_dtype(found, img.dtype)


def _picture_of_other_hue(img, hue_factor):
    if img.mode in ("L", "1", "I", "F"):
        return img
    hue, saturation, value = img.convert("HSV").split()
    turned = np.asarray(hue) + np.array(hue_factor * 255).astype(np.int64).astype(np.uint8)  # wraps around
    return pillow().Image.merge("HSV", (pillow().Image.fromarray(turned), saturation, value)).convert(img.mode)


def _hsv_of(rgb):
    """Hue, saturation and value, from 0 to 1. Source: Smith, 1978."""
    red, green, blue = rgb
    most = tritorch.maximum(tritorch.maximum(red, green), blue)
    spread = most - tritorch.minimum(tritorch.minimum(red, green), blue)
    grey = spread == 0
    saturation = spread / tritorch.where(grey, 1.0, most)
    spread = tritorch.where(grey, 1.0, spread)
    from_red, from_green, from_blue = ((most - each) / spread for each in rgb)
    hue = tritorch.where(
        most == red,
        from_blue - from_green,
        tritorch.where(most == green, 2.0 + from_red - from_blue, 4.0 + from_green - from_red),
    )
    return (hue / 6.0 + 1.0).fmod(1.0), saturation, most


def _rgb_of(hue, saturation, value):
    """Red, green and blue of a hue, saturation and value."""
    place = hue * 6.0
    sector = place.floor()
    part = place - sector
    low = (value * (1.0 - saturation)).clamp(0.0, 1.0)
    falling = (value * (1.0 - saturation * part)).clamp(0.0, 1.0)
    rising = (value * (1.0 - saturation * (1.0 - part))).clamp(0.0, 1.0)
    index = (sector.to(tritorch.int64) % 6)[None]
    courses = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    return [tritorch.stack(course).gather(0, index)[0] for course in courses]


def adjust_gamma(img, gamma, gain=1):
    """gain image^gamma, in numbers from 0 to 1."""
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    need_image(img)
    if not is_tensor(img):
        plain = img.convert("RGB")
        table = [int((255 + 1 - 1e-3) * gain * pow(each / 255.0, gamma)) for each in range(256)] * 3
        return plain.point(table).convert(img.mode)
    found = img if img.dtype.is_floating_point else convert_image_dtype(img, tritorch.float32)
    return convert_image_dtype((gain * found**gamma).clamp(0, 1), img.dtype)


def to_grayscale(img, num_output_channels=1):
    """A picture in grey, of one channel or of three equal ones."""
    if not is_pillow(img):
        raise TypeError("Input should be PIL Image")
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    grey = img.convert("L")
    return grey if num_output_channels == 1 else pillow().Image.merge("RGB", (grey,) * 3)


def rgb_to_grayscale(img, num_output_channels=1):
    """0.2989 red + 0.587 green + 0.114 blue, as one channel or, of colours, three equal ones."""
    if not (is_tensor(img) or is_pillow(img)):
        raise TypeError(f"img should be PIL Image. Got {type(img)}")
    if not is_tensor(img):
        return to_grayscale(img, num_output_channels)
    if img.ndim < 3:
        raise TypeError(f"Input image tensor should have at least 3 dimensions, but found {img.ndim}")
    need_channels(img, 1, 3)
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    grey = img
    if img.shape[-3] == 3:
        red, green, blue = img.unbind(-3)
        grey = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(-3)
    return grey.expand(img.shape) if num_output_channels == 3 else grey.clone()
