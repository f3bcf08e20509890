"""Grids of images, and pictures in files."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tritorch as torch
from tritorch.vision import utils

IMAGES = np.random.default_rng(0).random((5, 3, 2, 4), dtype=np.float32)


def laid_out(images, columns, padding, value):
    """What a grid is, place by place."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    shape = (channels, rows * (height + padding) + padding, columns * (width + padding) + padding)
    found = np.full(shape, value, images.dtype)
    for index, image in enumerate(images):
        top = padding + index // columns * (height + padding)
        left = padding + index % columns * (width + padding)
        found[:, top : top + height, left : left + width] = image
    return found


@pytest.mark.parametrize(("nrow", "padding", "value"), [(8, 2, 0.0), (2, 1, 0.5), (3, 0, 1.0)])
def test_a_grid_has_each_image_in_its_place(nrow, padding, value):
    found = utils.make_grid(torch.from_numpy(IMAGES), nrow=nrow, padding=padding, pad_value=value)
    assert (found.numpy() == laid_out(IMAGES, min(nrow, 5), padding, value)).all()
    listed = utils.make_grid([torch.from_numpy(image) for image in IMAGES], nrow, padding, pad_value=value)
    assert (listed.numpy() == found.numpy()).all()


def test_a_grid_of_one_and_of_grey_images():
    one = utils.make_grid(torch.from_numpy(IMAGES[:1]))
    assert (one.numpy() == IMAGES[0]).all()
    grey = IMAGES[:, :1]
    assert utils.make_grid(torch.from_numpy(grey[0, 0])).shape == (3, 2, 4)
    found = utils.make_grid(torch.from_numpy(grey), nrow=2, padding=1)
    assert (found.numpy() == laid_out(np.repeat(grey, 3, 1), 2, 1, 0)).all()


def test_a_grid_is_brought_to_zero_to_one():
    images = torch.from_numpy(IMAGES * 6 - 3)
    low, high = IMAGES.min(), IMAGES.max()
    found = utils.make_grid(images, 5, 0, normalize=True).numpy()
    assert np.allclose(found, laid_out((IMAGES - low) / (high - low), 5, 0, 0), atol=1e-6)
    assert found.min() == 0 and found.max() <= 1 and images.min() < -1  # the images themselves stay
    each = utils.make_grid(images, 5, 0, normalize=True, scale_each=True).numpy().reshape(3, 2, 5, 4)
    assert (each.min(axis=(0, 1, 3)) == 0).all() and np.allclose(each.max(axis=(0, 1, 3)), 1)
    clipped = utils.make_grid(images, 5, 0, normalize=True, value_range=(-1, 1)).numpy()
    assert np.allclose(clipped, laid_out(np.clip(IMAGES * 3 - 1, 0, 1), 5, 0, 0), atol=1e-6)


def test_what_a_grid_refuses():
    with pytest.raises(TypeError, match="tensor or list of tensors expected, got <class 'int'>"):
        utils.make_grid(3)
    with pytest.raises(TypeError, match="tensor or list of tensors expected, got a list containing <class 'int'>"):
        utils.make_grid([3])
    with pytest.raises(TypeError, match="value_range has to be a tuple"):
        utils.make_grid(torch.zeros(1, 3, 2, 2), normalize=True, value_range=[0, 1])


def test_an_image_is_written_and_read_again(tmp_path):
    exact = torch.from_numpy(IMAGES).mul(255).round().div(255)
    utils.save_image(exact, tmp_path / "it.png", nrow=2, padding=1)
    found = np.asarray(Image.open(tmp_path / "it.png"))
    assert (found == laid_out(np.round(IMAGES * 255), 2, 1, 0).transpose(1, 2, 0)).all()
    into = io.BytesIO()
    utils.save_image(exact[0] * 3 - 1, into, format="bmp")  # what lies outside of 0 to 1 is cut
    with Image.open(into) as picture:
        assert picture.format == "BMP" and np.asarray(picture).min() == 0 and np.asarray(picture).max() == 255


def test_without_pillow_it_is_said_what_to_install(tmp_path):
    (tmp_path / "PIL.py").write_text("raise ImportError('not here')")
    code = "import tritorch as torch, tritorch.vision as v; v.utils.save_image(torch.rand(3, 2, 2), 'a.png')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "pip install 'tritorch[vision]'" in found.stderr
