"""Images turned, sheared, seen from the side, or bent: each pixel of the result is looked up where it came from."""

from __future__ import annotations

import math
import numbers

import numpy as np

import tritorch
from tritorch.vision.pillow import is_pillow, pillow
from tritorch.vision.transforms.functional.conversion import pil_to_tensor, to_pil_image
from tritorch.vision.transforms.functional.images import (
    PILLOW_MODES,
    InterpolationMode,
    as_batch,
    get_dimensions,
    interpolation_mode,
    is_tensor,
    need_image,
    picture_fill,
)


def _inverse_affine_matrix(center, angle, translate, scale, shear):
    """From places in the result to places in the image, as six numbers: (C T R S Sh C^-1)^-1, angles in degrees."""
    turn, shear_x, shear_y = (math.radians(each) for each in (angle, *shear))
    (center_x, center_y), (move_x, move_y) = center, translate
    a = math.cos(turn - shear_y) / math.cos(shear_y)
    b = -math.cos(turn - shear_y) * math.tan(shear_x) / math.cos(shear_y) - math.sin(turn)
    c = math.sin(turn - shear_y) / math.cos(shear_y)
    d = -math.sin(turn - shear_y) * math.tan(shear_x) / math.cos(shear_y) + math.cos(turn)
    xx, xy, yx, yy = (each / scale for each in (d, -b, -c, a))
    x, y = -center_x - move_x, -center_y - move_y
    return [xx, xy, xx * x + xy * y + center_x, yx, yy, yx * x + yy * y + center_y]


def _middle_of(img, center):
    """A center, counted from the middle of a tensor image as its grid is."""
    _, height, width = get_dimensions(img)
    return [0.0, 0.0] if center is None else [center[0] - width * 0.5, center[1] - height * 0.5]


def affine(img, angle, translate, scale, shear, interpolation=InterpolationMode.NEAREST, fill=None, center=None):
    """An image turned by `angle`, moved by `translate` pixels (right, down), scaled and sheared (x, y), in degrees."""
    mode = interpolation_mode(interpolation)
    shear = _check_affine(angle, translate, scale, shear, center)
    _, height, width = get_dimensions(img)
    need_image(img)
    if not is_tensor(img):
        middle = [width * 0.5, height * 0.5] if center is None else center
        matrix = _inverse_affine_matrix(middle, angle, translate, scale, shear)
        return img.transform(
            img.size, pillow().Image.Transform.AFFINE, matrix, PILLOW_MODES[mode], fillcolor=picture_fill(img, fill)
        )
    matrix = _inverse_affine_matrix(_middle_of(img, center), angle, translate, scale, shear)
    return _sampled(img, lambda batch: _affine_grid(matrix, batch, width, height), mode, fill)


def _check_affine(angle, translate, scale, shear, center):
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if not isinstance(translate, (list, tuple)):
        raise TypeError("Argument translate should be a sequence")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if not isinstance(shear, (numbers.Number, list, tuple)):
        raise TypeError("Shear should be either a single value or a sequence of two values")
    shear = [shear, 0.0] if isinstance(shear, numbers.Number) else list(shear)
    shear = [shear[0], shear[0]] if len(shear) == 1 else shear
    if len(shear) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    return shear


def rotate(img, angle, interpolation=InterpolationMode.NEAREST, expand=False, center=None, fill=None):
    """An image turned by `angle` degrees, against the clock; with `expand` the result is as large as all of it."""
    mode = interpolation_mode(interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    _, height, width = get_dimensions(img)
    need_image(img)
    if not is_tensor(img):
        return img.rotate(angle, PILLOW_MODES[mode], expand, center, fillcolor=picture_fill(img, fill))
    matrix = _inverse_affine_matrix(_middle_of(img, center), -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    size = _whole_size(matrix, width, height) if expand else (width, height)
    return _sampled(img, lambda batch: _affine_grid(matrix, batch, *size), mode, fill)


def _whole_size(matrix, width, height):
    """The (width, height) that hold all corners of a turned image."""
    x, y = width * 0.5, height * 0.5
    corners = np.array([[-x, -y, 1], [-x, y, 1], [x, y, 1], [x, -y, 1]], np.float32)
    reached = corners @ np.array(matrix, np.float32).reshape(2, 3).T + np.array([x, y], np.float32)
    # a thousandth of a pixel that rounding adds makes no row of its own
    high, low = (np.trunc(each / 1e-4) * 1e-4 for each in (reached.max(0), reached.min(0)))
    return tuple(int(each) for each in np.ceil(high) - np.floor(low))


def _places(batch, width, height, left, top):
    """The middles of the pixels of a result of this size, as rows (x, y, 1), the first of them at (left, top)."""
    x, y = (
        tritorch.linspace(first, first + count - 1, count, dtype=batch.dtype, device=batch.device)
        for first, count in ((left, width), (top, height))
    )
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    return tritorch.stack((x, y, tritorch.ones_like(x)), -1)


def _affine_grid(matrix, batch, width, height):
    """Where each pixel of a result of this size comes from, in halves of the image from its middle."""
    halves = batch.new_tensor([[0.5 * batch.shape[-1]], [0.5 * batch.shape[-2]]])
    places = _places(batch, width, height, -width * 0.5 + 0.5, -height * 0.5 + 0.5)
    return (places @ (batch.new_tensor(matrix).view(2, 3) / halves).T)[None]


def _sampled(img, grid_of, mode, fill, modes=("nearest", "bilinear")):
    """A tensor image looked up where a grid says, `fill` where that is outside of it."""
    channels = get_dimensions(img)[0]
    if fill is not None:
        fill = [float(each) for each in (fill if isinstance(fill, (list, tuple)) else [fill])]
        if len(fill) not in (1, channels):
            raise ValueError(
                "The number of elements in 'fill' cannot broadcast to match the number of "
                f"channels of the image ({len(fill)} != {channels})"
            )
    if mode.value not in modes:
        raise ValueError(f"Interpolation mode '{mode.value}' is unsupported with Tensor input")
    batch, undo = as_batch(img)
    if fill is not None:  # how much of a pixel comes from the image
        batch = tritorch.cat((batch, batch.new_ones(batch.shape[0], 1, *batch.shape[-2:])), 1)
    grid = grid_of(batch).expand(batch.shape[0], -1, -1, -1)
    found = tritorch.nn.functional.grid_sample(batch, grid, mode=mode.value, padding_mode="zeros", align_corners=False)
    if fill is not None:
        inside, found = found[:, -1:], found[:, :-1]
        outside = found.new_tensor(fill).view(1, -1, 1, 1)
        if mode is InterpolationMode.NEAREST:
            found = tritorch.where(inside < 0.5, outside, found)
        else:
            found = found * inside + (1.0 - inside) * outside
    return undo(found)


def _perspective_coefficients(startpoints, endpoints):
    """Eight numbers: (x, y) of the result comes from ((ax + by + c), (dx + ey + f)) / (gx + hy + 1)."""
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise ValueError(
            f"Please provide exactly four corners, got {len(startpoints)} startpoints and {len(endpoints)} endpoints."
        )
    rows = []
    for (x, y), (from_x, from_y) in zip(endpoints, startpoints, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -from_x * x, -from_x * y])
        rows.append([0, 0, 0, x, y, 1, -from_y * x, -from_y * y])
    solution = np.linalg.lstsq(np.array(rows, np.float64), np.array(startpoints, np.float64).reshape(8), rcond=None)[0]
    return solution.astype(np.float32).tolist()


def perspective(img, startpoints, endpoints, interpolation=InterpolationMode.BILINEAR, fill=None):
    """An image whose corners `startpoints` (top left, top right, bottom right, bottom left) move to `endpoints`."""
    coefficients = _perspective_coefficients(startpoints, endpoints)
    mode = interpolation_mode(interpolation)
    need_image(img)
    if not is_tensor(img):
        kind = pillow().Image.Transform.PERSPECTIVE
        return img.transform(img.size, kind, coefficients, PILLOW_MODES[mode], fillcolor=picture_fill(img, fill))
    return _sampled(img, lambda batch: _perspective_grid(coefficients, batch), mode, fill)


def _perspective_grid(coefficients, batch):
    height, width = batch.shape[-2:]
    above = batch.new_tensor(coefficients[:6]).view(2, 3) / batch.new_tensor([[0.5 * width], [0.5 * height]])
    below = batch.new_tensor([[*coefficients[6:], 1.0]])
    places = _places(batch, width, height, 0.5, 0.5)
    return (places @ above.T / (places @ below.T) - 1.0)[None]


def elastic_transform(img, displacement, interpolation=InterpolationMode.BILINEAR, fill=None):
    """An image in which each pixel comes from `displacement` (1, H, W, 2) away, in halves of the image.

    Source: Simard, Steinkraus, Platt, 2003.
    """
    mode = interpolation_mode(interpolation)
    if not is_tensor(displacement):
        raise TypeError("Argument displacement should be a Tensor")
    if not is_tensor(img):
        if not is_pillow(img):
            raise TypeError(f"img should be PIL Image or Tensor. Got {type(img)}")
        return to_pil_image(elastic_transform(pil_to_tensor(img), displacement, mode, fill), mode=img.mode)
    _, height, width = get_dimensions(img)
    if tuple(displacement.shape) != (1, height, width, 2):
        raise ValueError(
            f"Argument displacement shape should be {(1, height, width, 2)}, but given {displacement.shape}"
        )

    def grid_of(batch):
        identity = _affine_grid([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], batch, width, height)
        return identity + displacement.to(batch.device)

    return _sampled(img, grid_of, mode, fill, ("nearest", "bilinear", "bicubic"))
