"""Transforms of pictures and of tensors: sizes and places."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tolerances import close

import tritorch as torch
from tritorch.vision import transforms
from tritorch.vision.transforms import InterpolationMode
from tritorch.vision.transforms import functional as F

BYTES = np.random.default_rng(0).integers(0, 256, (3, 9, 7), dtype=np.uint8)
PICTURE = Image.fromarray(np.ascontiguousarray(BYTES.transpose(1, 2, 0)))
IMAGE = torch.from_numpy(BYTES)


def pixels(picture):
    """A picture as its bytes (C, H, W)."""
    array = np.asarray(picture)
    return array.transpose(2, 0, 1) if array.ndim == 3 else array[None]


def both(transform):
    """What a transform makes of the picture and of the tensor, which hold the same bytes; they must agree."""
    one, other = transform(PICTURE), transform(IMAGE)
    assert (pixels(one) == other.numpy()).all()
    return other.numpy()


# ------------------------------------------------------------------------------------------------ conversion


def test_pictures_become_tensors_of_zero_to_one():
    found = transforms.ToTensor()(PICTURE)
    assert found.dtype == torch.float32 and (found.numpy() == BYTES / np.float32(255)).all()
    grey = transforms.ToTensor()(Image.fromarray(BYTES[0]))
    assert grey.shape == (1, 9, 7)
    assert (transforms.ToTensor()(BYTES[0]).numpy() == grey.numpy()).all()
    assert (transforms.PILToTensor()(PICTURE).numpy() == BYTES).all()
    assert transforms.ToTensor()(Image.new("1", (2, 1), 1)).tolist() == [[[1.0, 1.0]]]
    assert transforms.ToTensor()(Image.new("I", (2, 1), 70000)).tolist() == [[[70000, 70000]]]
    assert transforms.ToTensor()(Image.new("F", (2, 1), 2.5)).tolist() == [[[2.5, 2.5]]]
    assert transforms.ToTensor()(np.full((1, 2, 1), 3.5)).dtype == torch.float64


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "CMYK", "HSV", "YCbCr"])
def test_tensors_become_pictures_and_come_back(mode):
    channels = Image.new(mode, (1, 1)).getbands()
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (len(channels), 4, 5), dtype=np.uint8))
    picture = transforms.ToPILImage(mode)(image)
    assert picture.mode == mode and picture.size == (5, 4)
    assert (transforms.PILToTensor()(picture) == image).all()
    assert (pixels(F.to_pil_image(image / 255.0, mode)) == image.numpy()).all()
    assert (pixels(F.to_pil_image(image.numpy().transpose(1, 2, 0), mode)) == image.numpy()).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.to_tensor("a"), TypeError, "pic should be PIL Image or ndarray. Got <class 'str'>"),
        (lambda: F.to_tensor(np.zeros(3)), ValueError, "pic should be 2/3 dimensional. Got 1 dimensions."),
        (lambda: F.pil_to_tensor(IMAGE), TypeError, "pic should be PIL Image. Got"),
        (lambda: F.to_pil_image("a"), TypeError, "pic should be Tensor or ndarray. Got <class 'str'>."),
        (lambda: F.to_pil_image(torch.zeros(5, 2, 2)), ValueError, "pic should not have > 4 channels. Got 5 channels."),
        (lambda: F.to_pil_image(IMAGE, "L"), ValueError, r"Only modes \['RGB', 'YCbCr', 'HSV'\] are supported for 3D"),
        (lambda: F.to_pil_image(IMAGE[:1], "F"), ValueError, r"Incorrect mode \(F\) supplied for input type"),
        (
            lambda: F.normalize(IMAGE, [0.5], [0.5]),
            TypeError,
            "should be a float tensor. Got torch.uint8.",
        ),
        (lambda: F.normalize(IMAGE.float(), [0.5], [0.0]), ValueError, "std evaluated to zero after conversion to"),
        (lambda: F.normalize(torch.zeros(2, 2), [0.5], [0.5]), ValueError, r"a tensor image of size \(..., C, H, W\)"),
        (lambda: F.convert_image_dtype(IMAGE / 2, torch.int32), RuntimeError, "cannot be performed safely"),
        (lambda: F.resize(IMAGE, [1, 2, 3]), ValueError, "Size must be an int or a 1 or 2 element tuple/list"),
        (lambda: F.resize(IMAGE, 4, "bilinear"), TypeError, "Argument interpolation should be a InterpolationMode"),
        (lambda: F.resize(IMAGE, 4, max_size=4), ValueError, "max_size = 4 must be strictly greater"),
        (lambda: F.resize(IMAGE, (4, 4), max_size=5), ValueError, "max_size should only be passed if size specifies"),
        (
            lambda: F.five_crop(IMAGE, 10),
            ValueError,
            r"size \(10, 10\) is bigger than input size \(9, 7\)",
        ),
        (lambda: F.pad(IMAGE, (1, 2, 3)), ValueError, "Padding must be an int or a 1, 2, or 4 element tuple, not a 3"),
        (
            lambda: F.pad(IMAGE, 1, 0, "circular"),
            ValueError,
            "Padding mode should be either constant, edge",
        ),
        (lambda: F.hflip("a"), TypeError, "img should be PIL Image. Got <class 'str'>"),
        (lambda: F.get_dimensions("a"), TypeError, "Unexpected type <class 'str'>"),
        (lambda: transforms.Resize("a" * 3), ValueError, "If size is a sequence, it should have 1 or 2 values"),
        (lambda: transforms.Resize(3.5), TypeError, "Size should be int or sequence. Got <class 'float'>"),
        (lambda: transforms.RandomCrop(10)(IMAGE), ValueError, r"Required crop size \(10, 10\) is larger than input"),
        (lambda: transforms.Lambda(3), TypeError, "Argument lambd should be callable, got 'int'"),
        (lambda: transforms.RandomOrder(3), TypeError, "Argument transforms should be a sequence"),
        (lambda: transforms.CenterCrop((1, 2, 3)), ValueError, "Please provide only two dimensions"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("given", "dtype", "found"),
    [
        (np.uint8([0, 255, 7]), "float32", [0, 1, np.float32(7) / np.float32(255)]),
        (np.uint8([0, 255, 7]), "int32", [0, 255 * 2**23, 7 * 2**23]),
        (np.int32([0, 2**31 - 1, 2**24]), "uint8", [0, 255, 2]),
        (np.float32([0, 1, 0.5]), "uint8", [0, 255, 127]),
        (np.float32([0, 1, 0.5]), "float64", [0, 1, 0.5]),
    ],
)
def test_black_and_white_stay_in_another_dtype(given, dtype, found):
    made = F.convert_image_dtype(torch.from_numpy(given), getattr(torch, dtype))
    assert str(made.dtype) == f"torch.{dtype}" and made.tolist() == found


def test_normalize():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    image = torch.from_numpy(BYTES / np.float32(255))
    expected = (image.numpy() - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]
    close(transforms.Normalize(mean, std)(image), expected)
    kept = image.clone()
    assert F.normalize(kept, [0.5], [0.5], inplace=True) is kept
    close(kept, (image.numpy() - np.float32(0.5)) / np.float32(0.5))
    close(F.normalize(image[None], mean, std)[0], expected)


def test_erase():
    found = F.erase(IMAGE, 2, 1, 3, 4, torch.tensor(9, dtype=torch.uint8)).numpy()
    expected = BYTES.copy()
    expected[:, 2:5, 1:5] = 9
    assert (found == expected).all() and (IMAGE.numpy() == BYTES).all()


# ------------------------------------------------------------------------------------------------ sizes and places


@pytest.mark.parametrize("size", [3, (3,), [4, 5], (20, 11)])
@pytest.mark.parametrize("mode", [mode for mode in InterpolationMode if mode.value != "nearest-exact"])
def test_pictures_are_resized_by_pillow(size, mode):
    wanted = (3, int(3 * 9 / 7)) if size in (3, (3,)) else tuple(size)[::-1]
    expected = PICTURE.resize(wanted, getattr(Image.Resampling, mode.name))
    assert (pixels(transforms.Resize(size, mode)(PICTURE)) == pixels(expected)).all()


def test_tensors_are_resized_as_pictures_are():
    for mode, most in ((InterpolationMode.BILINEAR, 1), (InterpolationMode.BICUBIC, 2)):
        found = F.resize(IMAGE, [5, 4], mode).numpy().astype(int)
        assert abs(found - pixels(F.resize(PICTURE, [5, 4], mode))).max() <= most  # Pillow rounds between the two edges
    assert (F.resize(IMAGE, [18, 14], InterpolationMode.NEAREST).numpy() == BYTES.repeat(2, 1).repeat(2, 2)).all()
    ramp = torch.arange(8.0).reshape(1, 1, 8)
    close(F.resize(ramp, [1, 4]), means_by_a_triangle(ramp))
    close(F.resize(ramp, [1, 4], antialias=False), np.float32([[[0.5, 2.5, 4.5, 6.5]]]))


def means_by_a_triangle(ramp):
    """Each of four places a mean of eight numbers by a triangle of twice the width of a place, cut at the ends."""
    centers = (np.arange(4) + 0.5) * 2
    weights = np.clip(1 - abs((np.arange(8) + 0.5)[None] - centers[:, None]) / 2, 0, None)
    return (weights @ ramp.numpy()[0, 0] / weights.sum(1)).astype(np.float32)[None, None]


@pytest.mark.parametrize(
    ("size", "most", "found"),
    [(5, None, (6, 5)), (5, 6, (6, 5)), (18, 20, (20, 15)), (7, None, (9, 7)), (None, 18, (18, 14))],
)
def test_the_smaller_edge_is_given_and_the_larger_bounded(size, most, found):
    assert F.resize(IMAGE, size, max_size=most).shape == (3, *found)
    assert F.resize(PICTURE, size, max_size=most).size == found[::-1]


def test_crops_and_mirror_images():
    assert (both(lambda image: F.crop(image, 1, 2, 3, 4)) == BYTES[:, 1:4, 2:6]).all()
    framed = np.pad(BYTES, ((0, 0), (2, 3), (1, 4)))
    assert (both(lambda image: F.crop(image, -2, -1, 14, 12)) == framed).all()
    assert (both(transforms.CenterCrop((5, 3))) == BYTES[:, 2:7, 2:5]).all()
    assert (both(transforms.CenterCrop(11)) == np.pad(BYTES, ((0, 0), (1, 1), (2, 2)))).all()
    assert (both(F.hflip) == BYTES[:, :, ::-1]).all() and (both(F.vflip) == BYTES[:, ::-1]).all()
    assert (both(lambda image: F.resized_crop(image, 0, 0, 9, 7, [9, 7])) == BYTES).all()
    five = [each.numpy() for each in transforms.FiveCrop(3)(IMAGE)]
    corners = [BYTES[:, :3, :3], BYTES[:, :3, 4:], BYTES[:, 6:, :3], BYTES[:, 6:, 4:], BYTES[:, 3:6, 2:5]]
    assert all((one == other).all() for one, other in zip(five, corners, strict=True))
    ten = transforms.TenCrop(3)(PICTURE)
    assert len(ten) == 10 and (pixels(ten[5]) == BYTES[:, :3, :3:-1]).all()
    assert (pixels(F.ten_crop(PICTURE, 3, vertical_flip=True)[5]) == BYTES[:, :5:-1, :3]).all()


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(("margins", "rows", "columns"), [(2, (2, 2), (2, 2)), ((1, 2), (2, 2), (1, 1)),
                                                           ([1, 2, 3, 4], (2, 4), (1, 3))])  # fmt: skip
def test_margins(mode, margins, rows, columns):
    found = both(lambda image: F.pad(image, margins, padding_mode=mode))
    assert (found == np.pad(BYTES, ((0, 0), rows, columns), mode=mode)).all()


def test_margins_are_filled():
    expected = np.pad(BYTES, ((0, 0), (1, 1), (1, 1)), constant_values=7)
    assert (both(transforms.Pad(1, fill=7)) == expected).all()
    found = pixels(F.pad(PICTURE, 1, fill=(1, 2, 3)))
    assert found[:, 0, 0].tolist() == [1, 2, 3] and (found[:, 1:-1, 1:-1] == BYTES).all()
    assert (both(lambda image: F.pad(image, (-1, -2, -1, 0))) == BYTES[:, 2:, 1:-1]).all()


# ------------------------------------------------------------------------------------------------ at random


def test_random_crops_are_parts_of_the_image():
    state = torch.get_rng_state()
    found = {transforms.RandomCrop(8, padding=1)(IMAGE).numpy().tobytes() for _ in range(40)}
    framed = np.pad(BYTES, ((0, 0), (1, 1), (1, 1)))
    places = {framed[:, top : top + 8, left : left + 8].tobytes() for top in range(4) for left in range(2)}
    assert found <= places and len(found) > 4
    torch.set_rng_state(state)  # a seed repeats them
    again = {transforms.RandomCrop(8, padding=1)(IMAGE).numpy().tobytes() for _ in range(40)}
    assert again == found
    assert transforms.RandomCrop((12, 13), pad_if_needed=True)(PICTURE).size == (13, 12)
    assert (transforms.RandomCrop((9, 7))(IMAGE) == IMAGE).all()


def test_random_flips_happen_with_their_probability():
    flips = [not (transforms.RandomHorizontalFlip(0.25)(IMAGE) == IMAGE).all() for _ in range(400)]
    assert 70 < sum(flips) < 130
    assert (both(transforms.RandomVerticalFlip(1.0)) == BYTES[:, ::-1]).all()
    assert (both(transforms.RandomHorizontalFlip(0.0)) == BYTES).all()


def test_random_resized_crops_lie_within_the_image():
    transform = transforms.RandomResizedCrop(4, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    assert transform(IMAGE).shape == (3, 4, 4) and transform(PICTURE).size == (4, 4)
    for _ in range(100):
        top, left, height, width = transform.get_params(IMAGE, transform.scale, transform.ratio)
        assert 0 <= top <= 9 - height and 0 <= left <= 7 - width
        assert 0.1 < height * width / 63 < 0.65 and 0.3 < width / height < 3
    assert transform.get_params(torch.zeros(1, 4, 100), (1, 1), (1, 1)) == (0, 48, 4, 4)  # none fits: the middle
    with pytest.warns(UserWarning, match="Scale and ratio should be of kind"):
        transforms.RandomResizedCrop(4, scale=(0.5, 0.2))


def test_transforms_of_transforms():
    add = [transforms.Lambda(lambda image, step=step: [*image, step]) for step in range(3)]
    assert transforms.Compose(add)([]) == [0, 1, 2]
    assert {tuple(transforms.RandomOrder(add)([])) for _ in range(60)} == {
        (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)
    }  # fmt: skip
    assert {tuple(transforms.RandomChoice(add)([])) for _ in range(40)} == {(0,), (1,), (2,)}
    assert {tuple(transforms.RandomChoice(add, [0, 1, 1])([])) for _ in range(40)} == {(1,), (2,)}
    assert {tuple(transforms.RandomApply(add, 0.5)([])) for _ in range(40)} == {(), (0, 1, 2)}


def test_what_transforms_print():
    made = transforms.Compose([transforms.Resize(3), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    assert repr(made) == (
        "Compose(\n    Resize(size=3, interpolation=bilinear, max_size=None, antialias=True)\n    ToTensor()\n"
        "    Normalize(mean=(0.5,), std=(0.5,))\n)"
    )
    crop = transforms.CenterCrop(3)
    assert repr(transforms.RandomApply([crop])) == "RandomApply(\n    p=0.5\n    CenterCrop(size=(3, 3))\n)"
    assert repr(transforms.RandomChoice([crop])) == "RandomChoice(\n    CenterCrop(size=(3, 3))\n)(p=None)"
    assert repr(transforms.RandomResizedCrop(3)) == (
        "RandomResizedCrop(size=(3, 3), scale=(0.08, 1.0), ratio=(0.75, 1.3333), "
        "interpolation=bilinear, antialias=True)"
    )
    assert repr(transforms.ToPILImage("L")) == "ToPILImage(mode=L)"
    assert repr(transforms.RandomCrop(3, padding=1)) == "RandomCrop(size=(3, 3), padding=1)"
