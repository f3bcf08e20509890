"""Images beside each other in one, in a file, and drawn on."""

from __future__ import annotations

import math

import tritorch
from tritorch.vision.drawing import draw_bounding_boxes, draw_keypoints, draw_segmentation_masks
from tritorch.vision.pillow import pillow

__all__ = ["draw_bounding_boxes", "draw_keypoints", "draw_segmentation_masks", "make_grid", "save_image"]


@tritorch.no_grad()
def make_grid(tensor, nrow=8, padding=2, normalize=False, value_range=None, scale_each=False, pad_value=0.0):
    """Images (N, C, H, W), or a list of images, as one image: `nrow` in a row, `padding` pixels apart.

    With `normalize` their numbers are brought to 0 to 1: `value_range` (or the smallest and largest there are, of each
    image with `scale_each`) is stretched over it.
    """
    images = _batch_of(tensor)
    if normalize:
        if value_range is not None and not isinstance(value_range, tuple):
            raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
        images = images.clone()
        for part in images if scale_each else (images,):
            _stretch(part, value_range)
    if images.size(0) == 1:
        return images.squeeze(0)
    count, channels, height, width = images.shape
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = height + padding, width + padding
    grid = images.new_full((channels, height * rows + padding, width * columns + padding), pad_value)
    for index in range(count):
        top, left = index // columns * height + padding, index % columns * width + padding
        grid[:, top : top + height - padding, left : left + width - padding] = images[index]
    return grid


def _batch_of(tensor):
    if isinstance(tensor, list):
        for each in tensor:
            if not isinstance(each, tritorch.Tensor):
                raise TypeError(f"tensor or list of tensors expected, got a list containing {type(each)}")
        tensor = tritorch.stack(tensor, dim=0)
    elif not isinstance(tensor, tritorch.Tensor):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim == 4 and tensor.size(1) == 1:
        tensor = tritorch.cat((tensor,) * 3, 1)
    return tensor


def _stretch(part, value_range):
    low, high = value_range if value_range is not None else (float(part.min()), float(part.max()))
    part.clamp_(min=low, max=high)
    part.sub_(low).div_(max(high - low, 1e-5))


@tritorch.no_grad()
def save_image(tensor, fp, format=None, **kwargs):
    """Write images (N, C, H, W), numbers from 0 to 1, as one picture: a grid, for which `kwargs` are.

    `fp` is a path or a file object, for which `format` says what is written.
    """
    grid = make_grid(tensor, **kwargs)
    array = grid.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to("cpu", tritorch.uint8).numpy()
    pillow().Image.fromarray(array).save(fp, format=format)
