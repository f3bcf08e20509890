"""Interpolation and grid sampling: small images by hand, borders, what agrees with what, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import grad
from tritorch.runtime.language import triton_missing

F = torch.nn.functional
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]
LINE = [[[0.0, 10, 20, 30]]]
INFINITY = float("inf")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": 2}, [0, 20]),
        ({"size": 6}, [0, 0, 10, 20, 20, 30]),
        ({"size": 2, "mode": "nearest-exact"}, [10, 30]),
        ({"scale_factor": 2, "mode": "linear"}, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),
        ({"size": 7, "mode": "linear", "align_corners": True}, [0, 5, 10, 15, 20, 25, 30]),
        ({"size": 3, "mode": "area"}, [5, 15, 25]),
        ({"scale_factor": 0.6, "mode": "linear"}, [10 / 3, 20]),
        ({"scale_factor": 0.6, "mode": "linear", "recompute_scale_factor": True}, [5, 25]),
    ],
)
def test_a_line_at_another_size(settings, expected, device):
    close(F.interpolate(torch.tensor(LINE, device=device), **settings), [[expected]])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_an_even_image_stays_even_and_no_gradient_is_lost(mode, antialias, device):
    x = torch.full((1, 2, 5, 6), 3.0, device=device, requires_grad=True)
    found = F.interpolate(x, (3, 9), mode=mode, antialias=antialias)
    close(found, np.full((1, 2, 3, 9), 3.0))
    (gradient,) = grad(found.sum(), [x])
    close(gradient.sum(), 54.0, gradient=True)


def test_infinity_reaches_only_what_reads_it():
    found = F.interpolate(torch.tensor([[[1.0, 2, INFINITY]]]), 6, mode="linear")
    close(found[..., :3], [[[1, 1.25, 1.75]]])
    assert np.isinf(found[..., 4:].numpy()).all()


def test_bytes_are_rounded():
    x = torch.tensor([[[[0, 1], [254, 255]]]]).to(torch.uint8)
    found = F.interpolate(x, (2, 4), mode="bilinear")
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[[0, 0, 1, 1], [254, 254, 255, 255]]]]


def test_older_names_warn():
    x = torch.ones(1, 1, 2, 2)
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match=f"nn.functional.{name}. is deprecated") as caught:
            getattr(F, name)(x, 4)
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({}, ValueError, "either size or scale_factor should be defined"),
        ({"size": 2, "scale_factor": 2}, ValueError, "only one of size or scale_factor should be defined"),
        ({"size": (2, 2)}, ValueError, "spatial dimensions of [4] and output size of (2, 2)"),
        ({"size": 0}, RuntimeError, "greater than 0, but got input (W: 4) output (W: 0)"),
        ({"size": 2, "mode": "bilinear"}, NotImplementedError, "Got 3D input, but bilinear mode needs 4D input"),
        ({"size": 2, "mode": "sharp"}, NotImplementedError, "(got sharp)"),
        ({"size": 2, "align_corners": True}, ValueError, "align_corners option can only be set"),
        ({"size": 2, "recompute_scale_factor": True}, ValueError, "not meaningful with an explicit size"),
        ({"size": 2, "mode": "linear", "antialias": True}, ValueError, "Anti-alias option is restricted"),
    ],
)
def test_what_interpolate_does_not_do(settings, kind, text):
    with pytest.raises(kind) as caught:
        F.interpolate(torch.tensor(LINE), **settings)
    assert text in str(caught.value)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_grid_of_the_identity_gives_the_image(mode, corners, device):
    x = torch.tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 5)), device=device)
    theta = torch.tensor(np.eye(2, 3)[None].repeat(2, 0), device=device)
    grid = F.affine_grid(theta, x.shape, align_corners=corners)
    close(F.grid_sample(x, grid, mode, align_corners=corners), x.numpy())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("border", "expected"), [("zeros", [0, 1, 0]), ("border", [1, 1, 2]), ("reflection", [2, 1, 1])]
)
def test_beyond_the_borders(border, expected, device):
    x = torch.tensor([[[[1.0, 2]]]], device=device)
    grid = torch.tensor([[[[-2.5, 0], [-0.5, 0], [2.5, 0]]]], device=device)  # two elements from the image, and inside
    close(F.grid_sample(x, grid, padding_mode=border, align_corners=False), [[[expected]]])


def test_a_position_that_is_no_number_reads_nothing():
    grid = torch.tensor([[[[float("nan"), 0], [INFINITY, 0], [-1e30, 0]]]])
    assert F.grid_sample(torch.ones(1, 1, 2, 2), grid, align_corners=False).tolist() == [[[[0.0, 0, 0]]]]


@pytest.mark.parametrize(
    ("image", "grid", "mode", "kind", "text"),
    [
        ((1, 2, 4, 5), (2, 3, 3, 2), "bilinear", RuntimeError, "expected grid and input to have same batch size"),
        ((1, 2, 4, 5), (1, 3, 3, 3), "bilinear", RuntimeError, "expected grid to have size 2 in last dimension"),
        ((1, 2, 4, 0), (1, 3, 3, 2), "bilinear", RuntimeError, "with dimension 3 being empty"),
        ((1, 2, 2, 2, 2), (1, 1, 1, 1, 3), "bicubic", RuntimeError, "bicubic interpolation only supports 4D input"),
        ((1, 2, 4, 5), (1, 3, 3, 2), "sharp", ValueError, "or 'bicubic', but got: 'sharp'"),
    ],
)
def test_what_cannot_be_sampled(image, grid, mode, kind, text):
    with pytest.raises(kind) as caught:
        F.grid_sample(torch.ones(*image), torch.zeros(*grid), mode, align_corners=False)
    assert text in str(caught.value)


def test_affine_grids_that_do_not_fit():
    with pytest.raises(ValueError, match=r"of shape Nx2x3 for size \(1, 1, 2, 2\)"):
        F.affine_grid(torch.ones(1, 3, 3), (1, 1, 2, 2), False)
    with pytest.raises(NotImplementedError, match="only supports 4D and 5D sizes"):
        F.affine_grid(torch.ones(1, 2, 3), (1, 1, 2), False)
