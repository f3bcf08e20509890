"""Rectangles of images, margins around them, and their mirror images."""

from __future__ import annotations

import numbers

import numpy as np

import tritorch
from tritorch.vision.pillow import pillow
from tritorch.vision.transforms.functional.images import get_dimensions, is_tensor, need_image, picture_fill

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def hflip(img):
    """Left and right exchanged."""
    need_image(img)
    return img.flip(-1) if is_tensor(img) else img.transpose(pillow().Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img):
    """Top and bottom exchanged."""
    need_image(img)
    return img.flip(-2) if is_tensor(img) else img.transpose(pillow().Image.Transpose.FLIP_TOP_BOTTOM)


def crop(img, top, left, height, width):
    """A rectangle of an image; what lies outside of it is black."""
    need_image(img)
    if not is_tensor(img):
        return img.crop((left, top, left + width, top + height))
    rows, columns = img.shape[-2:]
    bottom, right = top + height, left + width
    found = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left < 0 or top < 0 or right > columns or bottom > rows:
        margins = [
            max(min(right, 0) - left, 0), max(right - max(columns, left), 0),
            max(min(bottom, 0) - top, 0), max(bottom - max(rows, top), 0),
        ]  # fmt: skip
        found = tritorch.nn.functional.pad(found, margins)
    return found


def _two(size):
    if isinstance(size, numbers.Number):
        return int(size), int(size)
    return (size[0], size[0]) if len(size) == 1 else tuple(size)


def center_crop(img, output_size):
    """The middle of an image, within black margins where that is too small."""
    height, width = _two(output_size)
    _, rows, columns = get_dimensions(img)
    if width > columns or height > rows:
        missing_columns, missing_rows = max(width - columns, 0), max(height - rows, 0)
        img = pad(img, [missing_columns // 2, missing_rows // 2, (missing_columns + 1) // 2, (missing_rows + 1) // 2])
        _, rows, columns = get_dimensions(img)
        if (width, height) == (columns, rows):
            return img
    return crop(img, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


def five_crop(img, size):
    """The four corners (top left, top right, bottom left, bottom right) and the middle."""
    height, width = _sizes_of_crops(img, size)
    _, rows, columns = get_dimensions(img)
    corners = ((0, 0), (0, columns - width), (rows - height, 0), (rows - height, columns - width))
    return (*(crop(img, top, left, height, width) for top, left in corners), center_crop(img, [height, width]))


def _sizes_of_crops(img, size):
    if not isinstance(size, numbers.Number) and len(size) > 2:
        raise ValueError("Please provide only two dimensions (h, w) for size.")
    if isinstance(size, numbers.Number) or len(size) == 1:
        size = _two(size)
    height, width = size
    _, rows, columns = get_dimensions(img)
    if width > columns or height > rows:
        raise ValueError(f"Requested crop size {size} is bigger than input size {(rows, columns)}")
    return size


def ten_crop(img, size, vertical_flip=False):
    """Five crops of an image, and of its mirror image."""
    size = _sizes_of_crops(img, size)
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def pad(img, padding, fill=0, padding_mode="constant"):
    """An image with margins: all alike, (left and right, top and bottom), or (left, top, right, bottom)."""
    need_image(img)
    _check_pad(padding, fill, padding_mode)
    left, top, right, bottom = _margins(padding)
    if not is_tensor(img):
        return _padded_picture(img, (left, top, right, bottom), fill, padding_mode)
    if isinstance(fill, (list, tuple)):
        raise TypeError("Got inappropriate fill arg")
    if padding_mode == "symmetric" or (padding_mode != "constant" and min(left, top, right, bottom) < 0):
        rows, columns = (
            tritorch.tensor(_mirrored(size, *ends, padding_mode), device=img.device)
            for size, ends in ((img.shape[-2], (top, bottom)), (img.shape[-1], (left, right)))
        )
        return img.index_select(-2, rows).index_select(-1, columns)
    return _padded_tensor(img, [left, right, top, bottom], fill or 0, padding_mode)


def _check_pad(padding, fill, padding_mode):
    if not isinstance(padding, (numbers.Number, tuple, list)):
        raise TypeError("Got inappropriate padding arg")
    if not isinstance(fill, (numbers.Number, str, tuple, list, type(None))):
        raise TypeError("Got inappropriate fill arg")
    if not isinstance(padding_mode, str):
        raise TypeError("Got inappropriate padding_mode arg")
    if not isinstance(padding, numbers.Number) and len(padding) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple")
    if padding_mode not in _PADDING_MODES:
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")


def _margins(padding):
    if isinstance(padding, numbers.Number):
        return (padding,) * 4
    if len(padding) == 1:
        return (padding[0],) * 4
    return tuple(padding) * 2 if len(padding) == 2 else tuple(padding)


def _mirrored(size, before, after, mode):
    """Which rows stand where, counted from the first margin on, if both ends are cut or continued."""
    places = range(-before, size + after)
    if mode == "symmetric":
        return [at % (2 * size) if at % (2 * size) < size else 2 * size - 1 - at % (2 * size) for at in places]
    if mode == "edge":
        return [min(max(at, 0), size - 1) for at in places]
    period = max(2 * (size - 1), 1)
    return [min(at % period, period - at % period) for at in places]


def _padded_tensor(img, margins, fill, mode):
    if mode == "constant":
        return tritorch.nn.functional.pad(img, margins, value=fill)
    whole = img.dtype
    batch = img.reshape(-1, *img.shape[-3:]) if img.ndim > 2 else img[None, None]
    if not whole.is_floating_point:
        batch = batch.to(tritorch.float32 if whole.itemsize < 4 else tritorch.float64)  # which hold these exactly
    found = tritorch.nn.functional.pad(batch, margins, mode="replicate" if mode == "edge" else mode)
    return found.to(whole).reshape(*img.shape[:-2], *found.shape[-2:])


def _padded_picture(img, margins, fill, mode):
    operations = pillow().ImageOps
    if mode == "constant":
        found = operations.expand(img, border=margins, fill=picture_fill(img, fill))
        if img.mode == "P":
            found.putpalette(img.getpalette())
        return found
    left, top, right, bottom = margins
    rows = _mirrored(img.height, top, bottom, mode)
    columns = _mirrored(img.width, left, right, mode)
    found = pillow().Image.fromarray(np.ascontiguousarray(np.asarray(img)[rows][:, columns]))
    if img.mode == "P":
        found.putpalette(img.getpalette())
    return found
