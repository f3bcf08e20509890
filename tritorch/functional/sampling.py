"""Images sampled on a grid, and the grids of affine maps."""

from __future__ import annotations

import warnings

import numpy as np

from tritorch import creation
from tritorch.ops.autocast import Policy, float32, widest
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.pooling.shape import refuse_types
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.resample.weights import BORDERS, INTERPOLATIONS

GridSample = TABLE["grid_sample"]


def _check(input, grid, mode):
    image, places = input.array.shape, grid.array.shape
    if image[:1] != places[:1]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(image)} and grid with sizes {list(places)}"
        )
    if len(image) < 3 or places[-1] != len(image) - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {len(image) - 2} in last dimension, but got grid with sizes "
            f"{list(places)}"
        )
    if len(image) not in (4, 5) or len(places) != len(image):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(image)} and grid with sizes {list(places)}"
        )
    for dim, size in enumerate(image[2:], 2):
        if size <= 0:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                f"{list(image)} with dimension {dim} being empty"
            )
    if len(image) == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input.array.dtype != grid.array.dtype:
        names = [KIND_NAMES[each.dtype.name] for each in (input, grid)]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")
    refuse_types(f"grid_sampler_{len(image) - 2}d_cpu_kernel_impl", input.array, "biu")


def _sampled(input, grid, mode, padding, corners):
    _check(input, grid, mode)
    images, *places, rank = grid.array.shape
    found = GridSample.apply(input, grid.reshape(images, int(np.prod(places)), rank), mode, padding, bool(corners))
    return found.reshape(images, input.array.shape[1], *places)


def _warn_of_corners():
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
        "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
        stacklevel=4,
    )


@export("nn.functional.grid_sample", autocast=Policy(cpu=float32, gpu=widest))
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """What `input` (N, C, H, W) or (N, C, D, H, W) has at the coordinates of `grid` (N, ..., 2 or 3).

    Coordinates go from -1 to 1, between the centres of the outermost elements with `align_corners` and else between
    their outer edges; the last dimension's comes first. Beyond, `padding_mode` says what is there: zeros, the border,
    or the image's reflection.
    """
    need_tensors("grid_sample", input=input, grid=grid)
    if mode not in INTERPOLATIONS:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in BORDERS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_corners()
    return _sampled(input, grid, mode, padding_mode, align_corners)


def _make_sampler(ndim):
    name = f"grid_sampler_{ndim}d"

    @export(name)
    def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
        """grid_sample with its modes as numbers: bilinear, nearest, bicubic and zeros, border, reflection from 0 on."""
        need_tensors(name, input=input, grid=grid)
        mode, padding = tuple(INTERPOLATIONS)[interpolation_mode], tuple(BORDERS)[padding_mode]
        return _sampled(input, grid, mode, padding, align_corners)

    return grid_sampler


grid_sampler_2d, grid_sampler_3d = map(_make_sampler, (2, 3))


@export("nn.functional.affine_grid")
def affine_grid(theta, size, align_corners=None):
    """The grid for images of `size` (N, C, H, W) or (N, C, D, H, W) that affine maps `theta` make.

    theta is (N, 2, 3) or (N, 3, 4).
    Each place (x, y, 1) of the result, which goes from -1 to 1, is read at theta @ (x, y, 1).
    """
    need_tensors("affine_grid", theta=theta)
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if align_corners is None:
        _warn_of_corners()
    size = tuple(size)
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {size}."
        )
    rank = len(size) - 2
    if theta.array.ndim != 3 or theta.array.shape[1:] != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {size}. "
            f"Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if theta.array.shape[0] != size[0]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{size[0]}, {rank + 1}] but got: "
            f"[{theta.array.shape[0]}, {rank + 1}]."
        )
    points = creation.tensor(_points(size[2:], bool(align_corners)), dtype=theta.dtype, device=theta.device)
    return EXPORTS["matmul"](points, theta.transpose(1, 2)).reshape(size[0], *size[2:], rank)


def _points(image, corners):
    """The places of an image, each as (x, y, 1) or (x, y, z, 1): (places, coordinates)."""
    lines = []
    for size in reversed(image):
        line = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
        lines.append(line if corners else line * (size - 1) / size)
    mesh = np.meshgrid(*lines[::-1], indexing="ij")[::-1]
    return np.stack([*(each.reshape(-1) for each in mesh), np.ones(mesh[0].size)], -1)
