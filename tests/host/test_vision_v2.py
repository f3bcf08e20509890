"""Transforms of whole samples, mixed batches, features of boxes and of inner layers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image
from tolerances import close

import tritorch as torch
from tritorch.vision import models, ops
from tritorch.vision.transforms import v2

BYTES = np.random.default_rng(0).integers(0, 256, (3, 12, 10), dtype=np.uint8)
PICTURE = Image.fromarray(np.ascontiguousarray(BYTES.transpose(1, 2, 0)))


def test_labels_pass_through_and_images_are_changed_alike():
    transform = v2.Compose([v2.RandomCrop(5), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, True)])
    image, label = transform(PICTURE, 7)
    assert image.shape == (3, 5, 5) and image.dtype == torch.float32 and label == 7
    for _ in range(5):
        found = transform({"images": [PICTURE, PICTURE], "label": torch.tensor(3)})
        assert (found["images"][0] == found["images"][1]).all() and found["label"].item() == 3
    assert v2.CenterCrop(4)(torch.from_numpy(BYTES)).shape == (3, 4, 4)
    first, second = v2.CenterCrop(4)(torch.from_numpy(BYTES), torch.zeros(6, 6))
    assert first.shape == (3, 4, 4) and second.shape == (6, 6)  # a second tensor is a label
    assert v2.RandomApply([v2.Grayscale()], p=1.0)(PICTURE, "label")[1] == "label"
    assert v2.RandomApply([v2.Grayscale()], p=0.0)(PICTURE, "label") == (PICTURE, "label")
    assert v2.RandomOrder([v2.Grayscale(), v2.Resize(4)])(PICTURE, 1)[0].size == (4, 4)
    assert v2.RandomChoice([v2.Resize(4)])(PICTURE, 1)[0].size == (4, 4)


def test_transforms_can_be_sent_to_workers():
    made = v2.Compose([v2.ToImage(), v2.RandomCrop(5), v2.ToDtype(torch.float32, scale=True)])
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
    assert pickle.loads(pickle.dumps(models.ResNet18_Weights.DEFAULT)) is models.ResNet18_Weights.DEFAULT


def test_conversions():
    image = v2.ToImage()(PICTURE)
    assert image.dtype == torch.uint8 and (image.numpy() == BYTES).all()
    assert (v2.ToImage()(np.asarray(PICTURE)).numpy() == BYTES).all() and v2.ToImage()(image) is image
    close(v2.ToDtype(torch.float32, scale=True)(image), BYTES / np.float32(255))
    close(v2.ToDtype(torch.float32)(image), BYTES.astype(np.float32))
    assert v2.Identity()(1, 2) == (1, 2) and v2.ToPureTensor()(image) is image
    assert v2.RGB()(image[:1]).shape == (3, 12, 10) and v2.RGB()(PICTURE.convert("L")).mode == "RGB"
    assert (v2.functional.horizontal_flip(image).numpy() == BYTES[..., ::-1]).all()
    with pytest.raises(TypeError, match="Input can either be a pure Tensor, a numpy array, or a PIL image, but got"):
        v2.functional.to_image("a")


def test_noise_and_permutations():
    real = torch.full((3, 40, 40), 0.5)
    noisy = v2.GaussianNoise(0.1, 0.05)(real).numpy()
    assert abs(noisy.mean() - 0.6) < 0.01 and abs(noisy.std() - 0.05) < 0.01
    planes = torch.arange(3.0).view(3, 1, 1).expand(3, 2, 2)
    found = {tuple(v2.RandomChannelPermutation()(planes)[:, 0, 0].tolist()) for _ in range(60)}
    assert len(found) == 6
    assert v2.RandomPhotometricDistort(p=1.0)(PICTURE).size == PICTURE.size


def test_mixed_batches_have_mixed_labels():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 10, 10)
    labels = torch.tensor([0, 1, 2, 3])
    for transform in (v2.MixUp(num_classes=4), v2.CutMix(num_classes=4)):
        for _ in range(5):
            mixed, shares = transform(images, labels)
            close(shares.sum(1), np.ones(4, np.float32))
            close(mixed.mean((1, 2, 3)), (shares.numpy() @ np.arange(4)).astype(np.float32))  # labels say what is there
    with pytest.raises(ValueError, match="num_classes must be passed if the labels are index-based"):
        v2.CutMix()(images, labels)
    with pytest.raises(ValueError, match="Expected a batched input with 4 dims, but got 3 dimensions instead"):
        v2.MixUp(num_classes=4)(images[0], labels)
    assert repr(v2.MixUp(num_classes=4)) == "MixUp(alpha=1.0, num_classes=4)"


# ------------------------------------------------------------------------------------------------ features


def sample(plane, y, x):
    """A plane between its pixels: zero a pixel away from it, and level at its edges."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = plane[top, left] * (1 - across) + plane[top, right] * across
    return upper * (1 - down) + (plane[bottom, left] * (1 - across) + plane[bottom, right] * across) * down


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [2, -1])
def test_features_of_boxes_are_means_of_samples(aligned, samples):
    draw = np.random.default_rng(1)
    features = draw.normal(size=(2, 1, 7, 8))
    boxes = np.array([[0, 1.0, 2.0, 9.0, 12.0], [1, -3.0, 0.5, 6.0, 5.0], [0, 4.0, 4.0, 4.5, 4.2]])
    expected = np.zeros((3, 1, 2, 3))
    for index, (image, *edges) in enumerate(boxes):
        left, top, right, bottom = (edge * 0.5 - (0.5 if aligned else 0) for edge in edges)
        width, height = right - left, bottom - top
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        for row, column in np.ndindex(2, 3):
            down = samples if samples > 0 else int(np.ceil(height / 2))
            across = samples if samples > 0 else int(np.ceil(width / 3))
            found = [
                sample(features[int(image), 0], top + height / 2 * (row + (i + 0.5) / down),
                       left + width / 3 * (column + (j + 0.5) / across))
                for i in range(down) for j in range(across)
            ]  # fmt: skip
            expected[index, 0, row, column] = np.mean(found)
    layer = ops.RoIAlign((2, 3), 0.5, samples, aligned)
    close(layer(torch.from_numpy(features), torch.from_numpy(boxes)), expected)
    listed = [torch.from_numpy(boxes[[0, 2], 1:]), torch.from_numpy(boxes[1:2, 1:])]
    close(layer(torch.from_numpy(features), listed), expected[[0, 2, 1]])


def test_features_of_boxes_have_a_gradient():
    features = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 0.5, 1.0, 4.0, 5.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ops.roi_align(x, boxes, 2, sampling_ratio=2), (features,))
    assert ops.roi_align(features, boxes[:0], 3).shape == (0, 2, 3, 3)


def test_inner_layers_can_be_asked_for():
    network = models.resnet.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], 3).eval()
    extract = models.feature_extraction.create_feature_extractor(network, {"layer2": "middle", "fc": "scores"})
    x = torch.rand(1, 3, 32, 32)
    found = extract(x)
    assert list(found) == ["middle", "scores"] and found["middle"].shape == (1, 128, 4, 4)
    assert (found["scores"] == network(x)).all() and not network.layer2._forward_hooks
    assert "layer4.0.conv1" in models.feature_extraction.get_graph_node_names(network)[0]
    with pytest.raises(ValueError, match="node: 'layer9' is not present in model"):
        models.feature_extraction.create_feature_extractor(network, ["layer9"])
    getter = models._utils.IntermediateLayerGetter(network, {"layer1": "low", "layer3": "high"})
    assert {name: tuple(each.shape) for name, each in getter(x).items()} == {
        "low": (1, 64, 8, 8),
        "high": (1, 256, 2, 2),
    }
    assert "layer4" not in getter
    with pytest.raises(ValueError, match="return_layers are not present in model"):
        models._utils.IntermediateLayerGetter(network, {"layer9": "x"})
