"""Images of another size."""

from __future__ import annotations

import tritorch
from tritorch.vision.pillow import is_pillow
from tritorch.vision.transforms.functional.cropping import crop
from tritorch.vision.transforms.functional.images import (
    PILLOW_MODES,
    InterpolationMode,
    as_batch,
    get_dimensions,
    interpolation_mode,
    is_tensor,
    need_image,
    warn_antialias,
)

_SMOOTH = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)


def resize(img, size, interpolation=InterpolationMode.BILINEAR, max_size=None, antialias=True):
    """An image of `size` (height, width); one number is the smaller edge, whose larger one is at most `max_size`."""
    mode = interpolation_mode(interpolation)
    size = [size] if isinstance(size, int) else size
    if size is not None:
        size = list(size)
        if len(size) not in (1, 2):
            raise ValueError(
                f"Size must be an int or a 1 or 2 element tuple/list, not a {len(size)} element tuple/list"
            )
        if max_size is not None and len(size) != 1:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, "
                "i.e. size should be an int or a sequence of length 1 in torchscript mode."
            )
    _, height, width = get_dimensions(img)
    wanted = output_size((height, width), size, max_size)
    if wanted == [height, width]:
        return img
    if is_pillow(img):
        warn_antialias(mode, antialias)
        return img.resize(tuple(wanted[::-1]), PILLOW_MODES[mode])
    need_image(img)
    return _resized(img, wanted, mode, antialias)


def output_size(image_size, size, max_size=None):
    """[height, width] of an image of `image_size` (height, width) after it was resized to `size`."""
    height, width = image_size
    if size is not None and len(size) == 2:
        return list(size)
    short, long = sorted((height, width))
    if size is None:
        if not isinstance(max_size, int):
            raise ValueError(f"max_size must be an integer when size is None, but got {max_size} instead.")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        new_short, new_long = size[0], int(size[0] * long / short)
        if max_size is not None:
            if max_size <= size[0]:
                raise ValueError(
                    f"max_size = {max_size} must be strictly greater than the requested "
                    f"size for the smaller edge size = {size}"
                )
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def _resized(img, size, mode, antialias):
    batch, undo = as_batch(img)
    smooth = mode in _SMOOTH
    found = tritorch.nn.functional.interpolate(
        batch, size=size, mode=mode.value, align_corners=False if smooth else None, antialias=bool(antialias and smooth)
    )
    if mode is InterpolationMode.BICUBIC and img.dtype == tritorch.uint8:
        found = found.clamp(0, 255)  # cubic weights overshoot
    return undo(found)


def resized_crop(img, top, left, height, width, size, interpolation=InterpolationMode.BILINEAR, antialias=True):
    """A rectangle of an image, resized."""
    if is_tensor(img) or is_pillow(img):
        img = crop(img, top, left, height, width)
    return resize(img, size, interpolation, antialias=antialias)
