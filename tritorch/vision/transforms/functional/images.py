"""What all functions on images share: the two kinds of image, their sizes, how pixels between pixels are found."""

from __future__ import annotations

import warnings
from enum import Enum

import tritorch
from tritorch.vision.pillow import is_pillow


class InterpolationMode(Enum):
    """How a pixel between pixels is found; box, hamming and lanczos for Pillow's images only."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


# Pillow's numbers for them, by which scripts named them before the class was made.
PILLOW_MODES = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.NEAREST_EXACT: 0,
}
_OF_NUMBERS = {number: mode for mode, number in PILLOW_MODES.items() if mode is not InterpolationMode.NEAREST_EXACT}


def interpolation_mode(interpolation):
    """The mode that was given, or that a number of Pillow's stands for."""
    if isinstance(interpolation, int):
        return _OF_NUMBERS[interpolation]
    if not isinstance(interpolation, InterpolationMode):
        raise TypeError(
            "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant"
        )
    return interpolation


def is_tensor(image):
    """Whether it is a Tensor."""
    return isinstance(image, tritorch.Tensor)


def need_image(image):
    """Refuse what is neither a tensor (..., C, H, W) nor a picture of Pillow's."""
    if is_tensor(image):
        if image.ndim < 2:
            raise TypeError("Tensor is not a torch image.")
    elif not is_pillow(image):
        raise TypeError(f"img should be PIL Image. Got {type(image)}")


def get_dimensions(img):
    """[channels, height, width]."""
    if is_tensor(img):
        need_image(img)
        return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]
    if not is_pillow(img):
        raise TypeError(f"Unexpected type {type(img)}")
    width, height = img.size
    return [len(img.getbands()), height, width]


def get_image_size(img):
    """[width, height]."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img):
    """The number of channels."""
    return get_dimensions(img)[0]


def need_channels(image, *permitted):
    """Refuse a tensor of other channels than a function is made for."""
    channels = get_dimensions(image)[0]
    if channels not in permitted:
        raise TypeError(f"Input image tensor permitted channel values are {list(permitted)}, but found {channels}")


def largest(dtype):
    """The value that stands for white: 1 for floating-point numbers, the largest of integers."""
    return 1 if dtype.is_floating_point else tritorch.iinfo(dtype).max


def as_batch(image, dtypes=(tritorch.float32, tritorch.float64)):
    """A tensor image as a batch (N, C, H, W) of one of `dtypes`, and a function that undoes this to a result."""
    shape, dtype = image.shape, image.dtype
    batch = image.reshape(-1, *image.shape[-3:]) if image.ndim != 4 else image
    if image.ndim == 2:
        batch = image[None, None]
    if dtype not in dtypes:
        batch = batch.to(dtypes[0])

    def undo(found):
        if found.dtype != dtype:
            found = (found if dtype.is_floating_point else found.round()).to(dtype)
        return found.reshape(*shape[:-3], *found.shape[-3 if len(shape) > 2 else -2 :])

    return batch, undo


def warn_antialias(mode, antialias):
    """Say that a picture of Pillow's is always antialiased."""
    if not antialias and mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
        warnings.warn("Anti-alias option is always applied for PIL Image input. Argument antialias is ignored.",
                      stacklevel=3)  # fmt: skip


def picture_fill(img, fill):
    """A fill in the form that Pillow takes for a picture of this mode."""
    bands = len(img.getbands())
    if fill is None:
        fill = 0
    if isinstance(fill, (int, float)) and bands > 1:
        return (fill if "f" in img.mode.lower() else int(fill),) * bands
    if isinstance(fill, (list, tuple)):
        if len(fill) == 1:
            fill = tuple(fill) * bands
        elif len(fill) != bands:
            raise ValueError(f"The number of elements in 'fill' does not match the number of channels of the image "
                             f"({len(fill)} != {bands})")  # fmt: skip
        fill = tuple(fill)
        return fill[0] if bands == 1 else fill
    return fill
