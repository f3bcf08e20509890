"""Functions on images under the names of torchvision.transforms.v2.functional."""

from __future__ import annotations

import numpy as np

import tritorch
from tritorch.vision.pillow import is_pillow
from tritorch.vision.transforms import functional as _first
from tritorch.vision.transforms.functional.conversion import convert_image_dtype, pil_to_tensor

globals().update({name: found for name, found in vars(_first).items() if callable(found)})
horizontal_flip, vertical_flip = _first.hflip, _first.vflip


def to_image(inpt):
    """A picture or an array (H, W, C) as a tensor (C, H, W) of the numbers it holds; a tensor as it is."""
    if is_pillow(inpt):
        return pil_to_tensor(inpt)
    if isinstance(inpt, np.ndarray):
        array = np.atleast_3d(inpt)
        return tritorch.from_numpy(np.array(array.transpose(2, 0, 1), order="C"))
    if isinstance(inpt, tritorch.Tensor):
        return inpt
    raise TypeError(f"Input can either be a pure Tensor, a numpy array, or a PIL image, but got {type(inpt)} instead.")


def to_dtype(inpt, dtype=tritorch.float32, scale=False):
    """A tensor in another dtype; with `scale`, black and white stay what they are."""
    return convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)


def grayscale_to_rgb(img):
    """An image of three channels: a grey one three times."""
    if is_pillow(img):
        return img.convert("RGB")
    return img if img.shape[-3] >= 3 else img.repeat(*[1] * (img.ndim - 3), 3, 1, 1)
