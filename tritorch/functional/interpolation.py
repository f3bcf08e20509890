"""Images enlarged and reduced: interpolate and its older names."""

from __future__ import annotations

import math
import warnings

import numpy as np

from tritorch.functional.adaptive_pooling import even_mean
from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.pooling.shape import refuse_types
from tritorch.ops.resample import maps

Resample = TABLE["resample"]
_PLAIN = ("nearest", "nearest-exact", "area")
_DIMENSIONS = {"linear": 3, "bilinear": 4, "bicubic": 4, "lanczos": 4, "trilinear": 5}
_MODES = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"


@export("nn.functional.interpolate", autocast=FLOAT32_ON_GPUS)
def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
    antialias=False,
):  # fmt: skip
    """Images (N, C, ...) at another size, which is given or a multiple of theirs.

    nearest takes the element at or before each position, nearest-exact the closest; linear, bilinear and trilinear
    weigh the neighbours by distance, bicubic four of them each way; area takes means. With `align_corners` the
    centres of the outermost elements stay where they are, else their outer edges do. `antialias` widens bilinear,
    bicubic and lanczos over all that an element stands for. With `recompute_scale_factor` positions follow from the
    sizes alone.
    """
    need_tensors("interpolate", input=input)
    _check_mode(input, mode, align_corners, antialias)
    factors = _factors(input, size, scale_factor, recompute_scale_factor)
    image = input.array.shape[2:]
    if factors is None:
        sizes = _sizes(input, size)
    else:
        sizes = tuple([math.floor(each * factor) for each, factor in zip(image, factors, strict=True)])
    if factors is None or recompute_scale_factor or mode == "area":
        factors = (None,) * len(image)
    _check_images(input, sizes, mode)
    if mode == "area":
        return even_mean(input, sizes)
    kind = np.float64 if input.array.dtype == np.float64 else np.float32
    each = zip(image, sizes, factors, strict=True)
    tables = tuple([_map(mode, *one, bool(align_corners), kind, antialias) for one in each])
    if input.array.dtype == np.uint8 and mode not in _PLAIN:
        return _of_bytes(input, tables)
    return Resample.apply(input, tables)


def _of_bytes(input, tables):
    """Bytes resampled along one dimension after the other, the last one first, and rounded each time."""
    found = input.float()
    for dim in reversed(range(len(tables))):
        still = [maps.nearest(size, size, None, False) for size in found.array.shape[2:]]
        still[dim] = tables[dim]
        found = (Resample.apply(found, tuple(still)) + 0.5).floor().clamp(0, 255)
    return found.to(input.dtype)


def _map(mode, size, places, factor, corners, kind, antialias):
    if mode in ("nearest", "nearest-exact"):
        return maps.nearest(size, places, factor, mode != "nearest")
    if antialias:
        return maps.antialiased(size, places, factor, corners, kind, mode)
    return (maps.cubic if mode == "bicubic" else maps.linear)(size, places, factor, corners, kind)


def _check_mode(input, mode, align_corners, antialias):
    ndim = input.array.ndim
    if mode in _PLAIN and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if antialias and (mode not in maps.FILTERS or ndim != 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    wanted = _DIMENSIONS.get(mode)
    known = mode in _PLAIN or (wanted is not None and not (mode in ("bicubic", "lanczos") and ndim != 4))
    if ndim not in (3, 4, 5) or not known:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: {_MODES} "
            f"(got {mode})"
        )
    if wanted is not None and ndim != wanted:
        raise NotImplementedError(f"Got {ndim}D input, but {mode} mode needs {wanted}D input")
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")


def _factors(input, size, scale_factor, recompute):
    """The factor of each dimension, or None where a size is given."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if scale_factor is None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return None
    return tuple([float(each) for each in _each(input, scale_factor, "scale_factor", "scale_factor of shape")])


def _each(input, value, name, what):
    """One value a dimension of the image."""
    image = input.array.shape[2:]
    if not isinstance(value, (tuple, list)):
        return (value,) * len(image)
    if len(value) != len(image):
        letter = name[0] if name == "scale_factor" else "o"
        raise ValueError(
            f"Input and {'output' if letter == 'o' else name} must have the same number of spatial dimensions, but got "
            f"input with spatial dimensions of {list(image)} and {what} {value}. Please provide input tensor in "
            f"(N, C, d1, d2, ...,dK) format and {'output size' if letter == 'o' else name} in "
            f"({letter}1, {letter}2, ...,{letter}K) format."
        )
    return value


def _sizes(input, size):
    each = _each(input, size, "size", "output size of")
    if not all(hasattr(one, "__index__") for one in each):
        kinds = [type(one) for one in each]
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got size "
            f"with types {kinds}"
        )
    return tuple([one.__index__() for one in each])


def _check_images(input, sizes, mode):
    array = input.array
    image = array.shape[2:]
    if min(sizes) <= 0 or 0 in image:
        before, after = (
            ", ".join(f"{axis}: {size}" for axis, size in zip(("D", "H", "W")[-len(image) :], each, strict=True))
            for each in (image, sizes)
        )
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({before}) output ({after})"
        )
    if array.shape[1] == 0:
        raise RuntimeError(
            f"Non-empty {array.ndim}D data tensor expected but got a tensor with sizes {list(array.shape)}"
        )
    bytes_too = mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos")
    if not (bytes_too and array.dtype == np.uint8):
        refuse_types(f"upsample_{mode.replace('-', '_')}{len(image)}d", array, "biu")


def _warn_of_name(name):
    text = f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead."
    warnings.warn(text, stacklevel=4)  # past this, the function and its guard


@export("nn.functional.upsample", autocast=FLOAT32_ON_GPUS)
def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The older name of interpolate."""
    _warn_of_name("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@export("nn.functional.upsample_nearest", autocast=FLOAT32_ON_GPUS)
def upsample_nearest(input, size=None, scale_factor=None):
    """interpolate in the mode nearest, under an older name."""
    _warn_of_name("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


@export("nn.functional.upsample_bilinear", autocast=FLOAT32_ON_GPUS)
def upsample_bilinear(input, size=None, scale_factor=None):
    """interpolate in the mode bilinear with aligned corners, under an older name."""
    _warn_of_name("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
