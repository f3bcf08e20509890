"""Transforms of colours and sharpness, and those that turn and bend images."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from tolerances import close

import tritorch as torch
from tritorch.vision import transforms
from tritorch.vision.transforms import InterpolationMode
from tritorch.vision.transforms import functional as F

BYTES = np.random.default_rng(0).integers(0, 256, (3, 12, 10), dtype=np.uint8)
PICTURE = Image.fromarray(np.ascontiguousarray(BYTES.transpose(1, 2, 0)))
IMAGE = torch.from_numpy(BYTES)
REAL = torch.from_numpy(BYTES / np.float32(255))
GREY = np.tensordot(np.float32([0.2989, 0.587, 0.114]), REAL.numpy(), 1)


def pixels(picture):
    array = np.asarray(picture)
    return array.transpose(2, 0, 1) if array.ndim == 3 else array[None]


def mixed(factor, other):
    return np.clip(factor * REAL.numpy() + (1 - factor) * other, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "other", "pillows"),
    [
        ("adjust_brightness", np.zeros(1), ImageEnhance.Brightness),
        ("adjust_contrast", GREY.mean(), ImageEnhance.Contrast),
        ("adjust_saturation", GREY, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0, 0.4, 1.0, 2])
def test_brightness_contrast_and_saturation(name, other, pillows, factor):
    close(getattr(F, name)(REAL, factor), mixed(factor, other))
    assert (pixels(getattr(F, name)(PICTURE, factor)) == pixels(pillows(PICTURE).enhance(factor))).all()
    assert (abs(getattr(F, name)(IMAGE, factor).numpy() / 255 - mixed(factor, other)) < 2 / 255).all()
    with pytest.raises(ValueError, match="is not non-negative"):
        getattr(F, name)(REAL, -1)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.3])
def test_hue(turn):
    expected = np.empty_like(REAL.numpy())
    for row, column in np.ndindex(12, 10):
        hue, saturation, value = colorsys.rgb_to_hsv(*REAL.numpy()[:, row, column].tolist())
        expected[:, row, column] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    np.testing.assert_allclose(F.adjust_hue(REAL, turn).numpy(), expected, atol=3e-6)
    assert F.adjust_hue(PICTURE.convert("L"), turn).mode == "L" and F.adjust_hue(PICTURE, turn).mode == "RGB"
    assert F.adjust_hue(REAL[:1], turn) is not None and (F.adjust_hue(REAL[:1], turn) == REAL[:1]).all()


def test_gamma_and_grey():
    close(F.adjust_gamma(REAL, 2.0, gain=0.5), 0.5 * REAL.numpy() ** 2)
    bright = pixels(F.adjust_gamma(PICTURE, 0.5))
    assert abs(bright - 255 * (BYTES / 255) ** 0.5).max() <= 1.1
    close(F.rgb_to_grayscale(REAL), GREY[None])
    close(transforms.Grayscale(3)(REAL), np.stack([GREY] * 3))
    assert transforms.Grayscale(3)(PICTURE).mode == "RGB" and transforms.Grayscale()(PICTURE).mode == "L"
    assert transforms.RandomGrayscale(1.0)(PICTURE).mode == "RGB"


def test_shades():
    assert (F.invert(IMAGE).numpy() == 255 - BYTES).all() and (pixels(F.invert(PICTURE)) == 255 - BYTES).all()
    assert (F.posterize(IMAGE, 3).numpy() == BYTES // 32 * 32).all()
    assert (pixels(F.posterize(PICTURE, 3)) == BYTES // 32 * 32).all()
    turned = np.where(BYTES >= 100, 255 - BYTES, BYTES)
    assert (F.solarize(IMAGE, 100).numpy() == turned).all() and (pixels(F.solarize(PICTURE, 100)) == turned).all()
    low, high = REAL.numpy().min((1, 2), keepdims=True), REAL.numpy().max((1, 2), keepdims=True)
    close(F.autocontrast(REAL / 2 + 0.1), (REAL.numpy() - low) / (high - low))
    flat = torch.full((3, 4, 4), 0.3)
    assert (F.autocontrast(flat) == flat).all()
    assert (pixels(F.equalize(PICTURE)) == pixels(ImageOps.equalize(PICTURE))).all()


def test_tensors_are_equalized_as_pictures_are():
    large = np.random.default_rng(1).normal(90, 20, (3, 40, 30)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(large.transpose(1, 2, 0)))
    assert (F.equalize(torch.from_numpy(large)).numpy() == pixels(ImageOps.equalize(picture))).all()


def test_blur_is_a_mean_weighed_by_a_bell_curve():
    across, down = (np.exp(-0.5 * (np.arange(-n, n + 1) / sigma) ** 2) for n, sigma in ((1, 0.7), (2, 1.3)))
    weights = np.outer(down / down.sum(), across / across.sum())
    framed = np.pad(REAL.numpy(), ((0, 0), (2, 2), (1, 1)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(framed, (5, 3), (1, 2))
    close(F.gaussian_blur(REAL, [3, 5], [0.7, 1.3]), np.einsum("chwyx,yx->chw", windows, weights).astype(np.float32))
    assert F.gaussian_blur(PICTURE, 3).size == PICTURE.size
    same = F.gaussian_blur(torch.full((1, 6, 6), 0.25), 5)
    close(same, np.full((1, 6, 6), 0.25, np.float32))


def test_sharpness():
    inner = np.lib.stride_tricks.sliding_window_view(REAL.numpy(), (3, 3), (1, 2))
    smooth = REAL.numpy().copy()
    smooth[:, 1:-1, 1:-1] = np.einsum("chwyx,yx->chw", inner, np.float32([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13)
    close(F.adjust_sharpness(REAL, 2), mixed(2, smooth))
    assert (pixels(F.adjust_sharpness(PICTURE, 2)) == pixels(ImageEnhance.Sharpness(PICTURE).enhance(2))).all()
    assert abs(F.adjust_sharpness(IMAGE, 2).numpy().astype(int) - pixels(F.adjust_sharpness(PICTURE, 2))).max() <= 2


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_quarter_turns_are_exact(angle):
    square = IMAGE[:, :9, :9]
    assert (F.rotate(square, angle).numpy() == np.rot90(square.numpy(), angle // 90, (1, 2))).all()
    found = F.rotate(IMAGE, angle, expand=True)
    assert (found.numpy() == np.rot90(BYTES, angle // 90, (1, 2))).all()
    assert (pixels(F.rotate(PICTURE, angle, expand=True)) == found.numpy()).all()


def test_shifts_and_scales():
    moved = F.affine(REAL, 0, [2, 1], 1.0, [0.0, 0.0]).numpy()
    assert (moved[:, 1:, 2:] == REAL.numpy()[:, :-1, :-2]).all() and (moved[:, 0] == 0).all()
    filled = F.affine(IMAGE, 0, [2, 1], 1.0, [0.0, 0.0], fill=[1, 2, 3]).numpy()
    assert filled[:, 0, 0].tolist() == [1, 2, 3]
    assert (pixels(F.affine(PICTURE, 0, [2, 1], 1.0, [0.0, 0.0], fill=(1, 2, 3))) == filled).all()
    twice = F.affine(REAL, 0, [0, 0], 2.0, [0.0, 0.0]).numpy()
    assert (twice == REAL.numpy()[:, 3:9].repeat(2, 1)[:, :, np.arange(5, 15) // 2]).all()
    slope = math.degrees(math.atan(0.1))  # of 12 rows, the first moves by 0.55 of a pixel and the last by as much back
    sheared = F.affine(REAL, 0, [0, 0], 1.0, [slope, 0.0]).numpy()
    assert (sheared[:, 1:-1] == REAL.numpy()[:, 1:-1]).all()
    assert {tuple(sheared[0, 0, 1:-1]), tuple(sheared[0, -1, 1:-1])} <= {
        tuple(REAL.numpy()[0, row, start : start + 8]) for row, start in ((0, 0), (0, 2), (-1, 0), (-1, 2))
    }


def test_pictures_and_tensors_are_warped_alike():
    for call in (
        lambda image: F.rotate(image, 25, InterpolationMode.BILINEAR),
        lambda image: F.affine(image, 10, [1, 0], 1.1, [5.0, 3.0], InterpolationMode.BILINEAR),
        lambda image: F.perspective(image, [[0, 0], [9, 0], [9, 11], [0, 11]], [[1, 1], [8, 0], [9, 10], [1, 11]]),
    ):
        one, other = pixels(call(PICTURE)).astype(int), call(IMAGE).numpy().astype(int)
        inside = (slice(None), slice(3, -3), slice(3, -3))  # at the edges tensors fade to black and pictures do not
        assert abs(one - other)[inside].max() <= 2


def test_elastic_transform_moves_pixels():
    nothing = torch.zeros(1, 12, 10, 2)
    close(F.elastic_transform(REAL, nothing), REAL.numpy())
    one_right = nothing.clone()
    one_right[..., 0] = 2 / 10
    close(F.elastic_transform(REAL, one_right)[:, :, :-1], REAL.numpy()[:, :, 1:])
    moves = transforms.ElasticTransform(10.0, 2.0).get_params([10.0, 10.0], [2.0, 2.0], [12, 10])
    assert moves.shape == (1, 12, 10, 2) and 0 < abs(moves).max().item() < 1


@pytest.mark.parametrize(
    "transform",
    [
        transforms.AutoAugment(), transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
        transforms.AutoAugment(transforms.AutoAugmentPolicy.SVHN), transforms.RandAugment(fill=7),
        transforms.TrivialAugmentWide(), transforms.AugMix(), transforms.RandomAffine(30, (0.1, 0.1), (0.5, 1.5), 20),
        transforms.RandomPerspective(p=1.0, fill=3), transforms.RandomRotation(20, expand=False, fill=5),
        transforms.ColorJitter(0.5, 0.5, 0.5, 0.2), transforms.GaussianBlur(3), transforms.ElasticTransform(sigma=1.0),
        transforms.RandomAdjustSharpness(2, 1.0), transforms.RandomAutocontrast(1.0), transforms.RandomEqualize(1.0),
        transforms.RandomInvert(1.0), transforms.RandomPosterize(2, 1.0), transforms.RandomSolarize(99, 1.0),
    ],
    ids=lambda transform: type(transform).__name__,
)  # fmt: skip
def test_random_transforms_change_images_and_repeat_themselves(transform):
    torch.manual_seed(3)
    large = IMAGE.repeat(1, 2, 2)
    first = [transform(large) for _ in range(12)]
    assert all(image.shape == large.shape and image.dtype == torch.uint8 for image in first)
    assert any((image != large).any() for image in first)
    torch.manual_seed(3)
    assert all((transform(large) == image).all() for image in first)
    assert all(transform(PICTURE).size == PICTURE.size for _ in range(6))


def test_random_erasing():
    transform = transforms.RandomErasing(1.0, scale=(0.1, 0.3), ratio=(0.5, 2), value=(2.0, 3.0, 4.0))
    for _ in range(20):
        found = transform(REAL).numpy()
        erased = found != REAL.numpy()
        assert erased[0].any() and (erased[0] == erased[2]).all() and set(found[1][erased[1]]) == {3.0}
        rows, columns = np.nonzero(erased[0].any(1))[0], np.nonzero(erased[0].any(0))[0]
        assert erased[0].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert transforms.RandomErasing(0.0)(REAL) is REAL
    noise = transforms.RandomErasing(1.0, value="random")(REAL)
    assert (noise != REAL).any()
    with pytest.raises(ValueError, match=r"a single value or 3 \(number of input channels\)"):
        transforms.RandomErasing(1.0, value=(1, 2))(REAL)


def test_linear_transformation():
    matrix = np.random.default_rng(2).normal(size=(12, 12)).astype(np.float32)
    mean = np.arange(12, dtype=np.float32)
    image = torch.from_numpy(BYTES[:, :2, :2].astype(np.float32))
    found = transforms.LinearTransformation(torch.from_numpy(matrix), torch.from_numpy(mean))(image)
    close(found, ((image.numpy().reshape(12) - mean) @ matrix).reshape(3, 2, 2))
    with pytest.raises(ValueError, match="transformation_matrix should be square"):
        transforms.LinearTransformation(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: transforms.ColorJitter(-1), ValueError, "If brightness is a single number, it must be non negative."),
        (lambda: transforms.ColorJitter(hue=0.7), ValueError, r"hue values should be between \(-0.5, 0.5\), but got"),
        (lambda: transforms.ColorJitter("a"), TypeError, "brightness should be a single number or a list/tuple with"),
        (lambda: transforms.RandomRotation(-1), ValueError, "If degrees is a single number, it must be positive."),
        (lambda: transforms.RandomRotation((1, 2, 3)), ValueError, "degrees should be a sequence of length 2."),
        (lambda: transforms.RandomAffine(1, (2, 0)), ValueError, "translation values should be between 0 and 1"),
        (lambda: transforms.RandomAffine(1, shear=(1, 2, 3)), ValueError, "should be a sequence of length 2 or 4"),
        (lambda: transforms.GaussianBlur(4), ValueError, "Kernel size value should be an odd and positive number."),
        (lambda: transforms.GaussianBlur(3, -1), ValueError, "If sigma is a single number, it must be positive."),
        (lambda: transforms.RandomErasing(2), ValueError, "Random erasing probability should be between 0 and 1"),
        (lambda: transforms.AutoAugment("imagenet"), ValueError, "The provided policy imagenet is not recognized."),
        (lambda: transforms.AugMix(11), ValueError, r"The severity must be between \[1, 10\]. Got 11 instead."),
        (lambda: F.adjust_hue(IMAGE, 0.6), ValueError, r"hue_factor \(0.6\) is not in \[-0.5, 0.5\]."),
        (lambda: F.adjust_gamma(IMAGE, -1), ValueError, "Gamma should be a non-negative real number"),
        (lambda: F.posterize(REAL, 3), TypeError, "Only torch.uint8 image tensors are supported"),
        (lambda: F.posterize(IMAGE, 9), ValueError, "The number if bits should be between 0 and 8. Got 9"),
        (lambda: F.solarize(REAL, 2), TypeError, "Threshold should be less than bound of img."),
        (lambda: F.rotate(IMAGE, "a"), TypeError, "Argument angle should be int or float"),
        (lambda: F.rotate(IMAGE, 3, InterpolationMode.BICUBIC), ValueError, "'bicubic' is unsupported with Tensor"),
        (lambda: F.rotate(IMAGE, 3, fill=[1, 2]), ValueError, "The number of elements in 'fill' cannot broadcast"),
        (lambda: F.rotate(PICTURE, 3, fill=[1, 2]), ValueError, "does not match the number of channels of the image"),
        (lambda: F.affine(IMAGE, 0, [1, 2], 0, [0, 0]), ValueError, "Argument scale should be positive"),
        (lambda: F.perspective(IMAGE, [[0, 0]], [[0, 0]]), ValueError, "Please provide exactly four corners, got 1"),
        (lambda: F.gaussian_blur(IMAGE, 4), ValueError, "kernel_size should have odd and positive integers"),
        (lambda: F.to_grayscale(IMAGE), TypeError, "Input should be PIL Image"),
        (lambda: F.adjust_contrast(torch.zeros(2, 4, 4), 1), TypeError, r"channel values are \[1, 3\], but found 2"),
        (lambda: F.elastic_transform(IMAGE, torch.zeros(1)), ValueError, "Argument displacement shape should be"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
