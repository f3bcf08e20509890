"""Explanations as pictures: a heat map, laid over the image it explains."""

from __future__ import annotations

import numpy as np

# Five colours from what speaks for the score to what speaks against it, read off a line from blue over white to red.
_WARM = np.array([[255, 255, 255], [253, 199, 153], [236, 112, 78], [178, 24, 43], [90, 0, 20]], float) / 255
_COLD = np.array([[255, 255, 255], [171, 208, 230], [90, 158, 206], [33, 102, 172], [8, 36, 82]], float) / 255


def heat_map(attribution, image=None, *, strength=0.6):
    """One example's explanation as colours, (H, W, 3) bytes: red for the score, blue against it.

    attribution (H, W) or (C, H, W), whose channels are summed; 99 % of the values lie within the scale. `image` of the
    same height and width, (H, W), (1, H, W) or (3, H, W), between 0 and 1 or rescaled to it, shows through the weaker
    the explanation is.
    """
    values = _numbers(attribution)
    values = values.sum(0) if values.ndim == 3 else values
    if values.ndim != 2:
        raise ValueError(f"heat_map(): attribution must be (H, W) or (C, H, W), but got {list(values.shape)}")
    scale = np.quantile(np.abs(values), 0.99) or np.abs(values).max() or 1.0
    level = np.clip(values / scale, -1, 1)
    colours = np.where(level[..., None] >= 0, _blend(_WARM, level), _blend(_COLD, -level))
    if image is not None:
        cover = (strength * np.sqrt(np.abs(level)))[..., None]
        colours = cover * colours + (1 - cover) * _picture(image, values.shape)
    return np.rint(colours * 255).astype(np.uint8)


def save_heat_map(attribution, path, image=None, *, strength=0.6, scale=1):
    """Write `heat_map` to a picture file, each pixel `scale` pixels wide; needs Pillow (extra `vision`)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("save_heat_map() needs Pillow: pip install 'tritorch[vision]'") from error
    colours = heat_map(attribution, image, strength=strength)
    colours = colours.repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(colours).save(path)


def _numbers(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value, float)


def _blend(colours, level):
    place = np.clip(level, 0, 1) * (len(colours) - 1)
    low = np.minimum(place.astype(int), len(colours) - 2)
    part = (place - low)[..., None]
    return (1 - part) * colours[low] + part * colours[low + 1]


def _picture(image, size):
    pixels = _numbers(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or pixels.shape[1:] != size:
        raise ValueError(f"heat_map(): image must be (1 or 3, {size[0]}, {size[1]}), but got {list(pixels.shape)}")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 1:
        pixels = (pixels - low) / ((high - low) or 1)
    return np.broadcast_to(pixels, (3, *size)).transpose(1, 2, 0)
