"""What is drawn on images, and pictures in files and bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from tolerances import close

import tritorch as torch
from tritorch.vision import io as vision_io
from tritorch.vision import utils

BYTES = np.random.default_rng(0).integers(0, 200, (3, 20, 24), dtype=np.uint8)
IMAGE = torch.from_numpy(BYTES)
BOXES = torch.tensor([[2, 3, 12, 10], [8, 5, 20, 18]])


def test_boxes_are_drawn_in_their_colors():
    found = utils.draw_bounding_boxes(IMAGE, BOXES, colors=["red", (1, 2, 3)]).numpy()
    expected = BYTES.copy()
    for (left, top, right, bottom), color in zip(BOXES.tolist(), [(255, 0, 0), (1, 2, 3)], strict=True):
        for rows, columns in (
            (top, slice(left, right + 1)), (bottom, slice(left, right + 1)),
            (slice(top, bottom + 1), left), (slice(top, bottom + 1), right),
        ):  # fmt: skip
            expected[:, rows, columns] = np.uint8(color)[:, None]
    assert (found == expected).all() and (IMAGE.numpy() == BYTES).all()
    default = utils.draw_bounding_boxes(IMAGE, BOXES)
    assert default[:, 3, 2].tolist() == [0, 0, 0] and default[:, 18, 9].tolist() == [1, 127, 31]
    real = utils.draw_bounding_boxes(IMAGE / 255.0, BOXES, "ab", colors="white", fill=True, fill_labels=True)
    assert real.dtype == torch.float32 and real[:, 3, 2].tolist() == [1, 1, 1]
    assert utils.draw_bounding_boxes(IMAGE[:1], BOXES).shape == (3, 20, 24)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: utils.draw_bounding_boxes(BYTES, BOXES), TypeError, "Tensor expected, got <class 'numpy.ndarray'>"),
        (lambda: utils.draw_bounding_boxes(IMAGE.int(), BOXES), ValueError, "must be uint8 or float, got torch.int32"),
        (lambda: utils.draw_bounding_boxes(IMAGE[None], BOXES), ValueError, "Pass individual images, not batches"),
        (
            lambda: utils.draw_bounding_boxes(IMAGE[:2], BOXES),
            ValueError,
            "Only grayscale and RGB images",
        ),
        (
            lambda: utils.draw_bounding_boxes(IMAGE, BOXES.flip(1)),
            ValueError,
            r"need to be in \(xmin, ymin, xmax",
        ),
        (lambda: utils.draw_bounding_boxes(IMAGE, BOXES, ["a"]), ValueError, r"boxes \(2\) and labels \(1\) mismatch"),
        (lambda: utils.draw_bounding_boxes(IMAGE, BOXES, colors=["red"]), ValueError, "but got 1 < 2."),
        (lambda: utils.draw_segmentation_masks(IMAGE[:1], IMAGE > 9), ValueError, "Pass an RGB image"),
        (lambda: utils.draw_segmentation_masks(IMAGE, IMAGE), ValueError, "must be of dtype bool. Got torch.uint8"),
        (lambda: utils.draw_segmentation_masks(IMAGE, IMAGE[:, 1:] > 9), ValueError, "must have the same height"),
        (lambda: utils.draw_keypoints(IMAGE, BOXES), ValueError, r"must be of shape \(num_instances, K, 2\)"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_masks_are_painted():
    masks = torch.zeros(2, 20, 24, dtype=torch.bool)
    masks[0, :5], masks[1, 4:8] = True, True
    found = utils.draw_segmentation_masks(IMAGE / 255.0, masks, alpha=0.5, colors=[(255, 0, 0), "blue"])
    expected = BYTES / np.float32(255)
    for rows, color in ((slice(0, 4), (1, 0, 0)), (4, (0, 0, 0)), (slice(5, 8), (0, 0, 1))):
        each = np.float32(color).reshape(3, *[1] * (expected[:, rows].ndim - 1))
        expected[:, rows] = 0.5 * expected[:, rows] + 0.5 * each
    close(found, expected)
    red = utils.draw_segmentation_masks(IMAGE, masks[0], alpha=1.0, colors="red").numpy()
    assert (red[:, :5] == np.uint8([255, 0, 0]).reshape(3, 1, 1)).all() and (red[:, 5:] == BYTES[:, 5:]).all()
    with pytest.warns(UserWarning, match="No mask was drawn"):
        assert utils.draw_segmentation_masks(IMAGE, masks[:0]) is IMAGE


def test_points_are_drawn_where_they_are_visible():
    points = torch.tensor([[[5, 5], [15, 5], [15, 15]]])
    shown = torch.tensor([[True, True, False]])
    found = utils.draw_keypoints(IMAGE, points, [(0, 1), (1, 2)], colors="red", visibility=shown).numpy()
    changed = (found != BYTES).any(0)
    assert found[:, 7, 5].tolist() == [255, 0, 0] and found[:, 5, 10].tolist() == [255, 255, 255]
    assert not changed[9:].any()


# ------------------------------------------------------------------------------------------------ files


def test_pictures_are_written_and_read(tmp_path):
    vision_io.write_png(IMAGE, tmp_path / "it.png")
    assert (vision_io.read_image(str(tmp_path / "it.png")) == IMAGE).all()
    assert (vision_io.decode_image(vision_io.read_file(tmp_path / "it.png")) == IMAGE).all()
    assert vision_io.read_image(tmp_path / "it.png", vision_io.ImageReadMode.GRAY).shape == (1, 20, 24)
    assert vision_io.read_image(tmp_path / "it.png", "RGB_ALPHA")[3].tolist() == [[255] * 24] * 20
    vision_io.write_jpeg(torch.full((1, 8, 8), 77, dtype=torch.uint8), tmp_path / "it.jpg", quality=95)
    assert vision_io.read_image(tmp_path / "it.jpg").tolist() == [[[77] * 8] * 8]
    assert (vision_io.decode_png(vision_io.encode_png(IMAGE[:1])) == IMAGE[:1]).all()
    assert [each.shape for each in vision_io.decode_jpeg(vision_io.encode_jpeg([IMAGE, IMAGE]))] == [(3, 20, 24)] * 2


def test_palettes_and_orientations_are_resolved(tmp_path):
    picture = Image.fromarray(np.ascontiguousarray(BYTES.transpose(1, 2, 0)))
    picture.convert("P").save(tmp_path / "it.png")
    assert vision_io.read_image(tmp_path / "it.png").shape == (3, 20, 24)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    into = io.BytesIO()
    picture.save(into, "JPEG", exif=turned)
    given = torch.from_numpy(np.frombuffer(into.getvalue(), np.uint8).copy())
    assert vision_io.decode_image(given).shape == (3, 20, 24)
    assert vision_io.decode_image(given, apply_exif_orientation=True).shape == (3, 24, 20)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vision_io.encode_png(IMAGE / 255.0), RuntimeError, "data type should be uint8, got torch.float32"),
        (lambda: vision_io.encode_png(IMAGE[0]), RuntimeError, "should be a 3-dimensional tensor, got 2 dimensions"),
        (lambda: vision_io.encode_png(IMAGE[:2]), RuntimeError, "The number of channels should be 1 or 3, got: 2"),
        (lambda: vision_io.encode_png(IMAGE, 10), RuntimeError, "Compression level should be between 0 and 9"),
        (lambda: vision_io.encode_jpeg(IMAGE, 0), ValueError, "quality should be a positive number between 1 and 100"),
        (lambda: vision_io.read_image("/nowhere/it.png"), FileNotFoundError, "No such file or directory"),
    ],
)
def test_what_cannot_be_read_or_written(call, error, message):
    with pytest.raises(error, match=message):
        call()
