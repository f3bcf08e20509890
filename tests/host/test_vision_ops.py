"""Boxes, and blocks of networks."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.vision import ops

DRAW = np.random.default_rng(0)


def boxes(many):
    corners = DRAW.random((many, 2)) * 50
    return np.concatenate([corners, corners + 1 + DRAW.random((many, 2)) * 30], 1).astype(np.float32)


def overlap(one, other):
    """The area that two boxes share divided by the area that they cover, and the area of the box around both."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    hull = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
    return shared / union, hull, union


def test_overlaps_of_all_pairs():
    some, others = boxes(6), boxes(4)
    pairs = [[overlap(one, other) for other in others] for one in some]
    first, second = torch.from_numpy(some), torch.from_numpy(others)
    close(ops.box_iou(first, second), np.float32([[pair[0] for pair in row] for row in pairs]))
    generalized = [[share - (hull - union) / hull for share, hull, union in row] for row in pairs]
    close(ops.generalized_box_iou(first, second), np.float32(generalized))
    apart = ops.distance_box_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[2.0, 0, 4, 2]]))
    close(apart, np.float32([[-4 / 20]]))
    tall = ops.complete_box_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 4]])).item()
    assert tall < ops.distance_box_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 4]])).item()
    whole = ops.box_iou(torch.tensor([[0, 0, 60000, 60000]]), torch.tensor([[0, 0, 60000, 60000]]))
    assert whole.item() == 1.0


def test_formats_of_boxes():
    given = torch.tensor([[10.0, 20, 30, 60]])
    assert ops.box_convert(given, "xyxy", "xywh").tolist() == [[10, 20, 20, 40]]
    assert ops.box_convert(given, "xyxy", "cxcywh").tolist() == [[20, 40, 20, 40]]
    for form in ("xywh", "cxcywh"):
        assert (ops.box_convert(ops.box_convert(given, "xyxy", form), form, "xyxy") == given).all()
    assert ops.box_convert(given, "xyxy", "xyxy") is not given
    assert ops.box_area(given).tolist() == [800] and ops.box_area(given, "xywh").tolist() == [1800]
    with pytest.raises(ValueError, match="Unsupported Bounding Box Conversions for given in_fmt abc and out_fmt xyxy"):
        ops.box_convert(given, "abc", "xyxy")


def test_boxes_are_cut_and_small_ones_found():
    given = torch.tensor([[-5.0, 3, 50, 8], [1, 1, 2, 9]])
    assert ops.clip_boxes_to_image(given, (7, 40)).tolist() == [[0, 3, 40, 7], [1, 1, 2, 7]]
    assert ops.remove_small_boxes(given, 2).tolist() == [0]
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = True
    masks[1, 5, 0] = True
    assert ops.masks_to_boxes(masks).tolist() == [[2, 1, 6, 3], [0, 5, 0, 5]]


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_of_boxes_that_overlap_the_best_is_kept(threshold):
    given, scores = boxes(60), DRAW.random(60).astype(np.float32)
    kept = []
    for index in np.argsort(-scores):
        if all(overlap(given[index], given[better])[0] <= threshold for better in kept):
            kept.append(index)
    assert ops.nms(torch.from_numpy(given), torch.from_numpy(scores), threshold).tolist() == kept
    classes = DRAW.integers(0, 3, 60)
    found = ops.batched_nms(torch.from_numpy(given), torch.from_numpy(scores), torch.from_numpy(classes), threshold)
    each = []
    for one in range(3):
        members = np.nonzero(classes == one)[0]
        chosen = ops.nms(torch.from_numpy(given[members]), torch.from_numpy(scores[members]), threshold).numpy()
        each += members[chosen].tolist()
    assert found.tolist() == sorted(each, key=lambda index: -scores[index])


def test_no_boxes_and_wrong_ones():
    assert ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).dtype == torch.int64
    assert ops.nms(torch.zeros(2, 4), torch.ones(2), 0.5).tolist() == [0, 1]  # without an area nothing overlaps
    with pytest.raises(RuntimeError, match=r"boxes should be a 2d tensor of shape \[N, 4\], got \[2, 3\]"):
        ops.nms(torch.zeros(2, 3), torch.zeros(2), 0.5)
    with pytest.raises(RuntimeError, match="should have same number of elements in dimension 0"):
        ops.nms(torch.zeros(2, 4), torch.zeros(3), 0.5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2), (-1, 1.5)])
def test_focal_loss(alpha, gamma):
    scores, targets = DRAW.normal(size=(5, 3)), DRAW.integers(0, 2, (5, 3)).astype(np.float64)
    true = np.where(targets == 1, 1 / (1 + np.exp(-scores)), 1 / (1 + np.exp(scores)))
    weight = np.where(targets == 1, alpha, 1 - alpha) if alpha >= 0 else 1
    expected = weight * (1 - true) ** gamma * -np.log(true)
    given = torch.from_numpy(scores), torch.from_numpy(targets)
    close(ops.sigmoid_focal_loss(*given, alpha, gamma), expected)
    close(ops.sigmoid_focal_loss(*given, alpha, gamma, "mean"), expected.mean())
    close(ops.sigmoid_focal_loss(*given, alpha, gamma, "sum"), expected.sum())
    with pytest.raises(ValueError, match="Invalid Value for arg 'reduction': 'all"):
        ops.sigmoid_focal_loss(*given, reduction="all")
    with pytest.raises(ValueError, match="Invalid alpha value: 2"):
        ops.sigmoid_focal_loss(*given, alpha=2)


def test_stochastic_depth_leaves_out_rows_or_all():
    layer, x = ops.StochasticDepth(0.5, "row"), torch.ones(200, 3, 2)
    found = layer(x).numpy()
    assert set(found.reshape(-1)) == {0.0, 2.0} and (found == found[:, :1, :1]).all()
    assert 60 < found[:, 0, 0].sum() / 2 < 140
    whole = ops.stochastic_depth(x, 0.5, "batch").numpy()
    assert whole.min() == whole.max()
    assert layer.eval()(x) is x and (ops.stochastic_depth(x, 1.0, "row") == 0).all()
    assert repr(layer) == "StochasticDepth(p=0.5, mode=row)"
    with pytest.raises(ValueError, match="mode has to be either 'batch' or 'row', but got all"):
        ops.stochastic_depth(x, 0.5, "all")
    with pytest.raises(ValueError, match="drop probability has to be between 0 and 1, but got 2"):
        ops.stochastic_depth(x, 2, "row")


def test_blocks():
    block = ops.Conv2dNormActivation(3, 4, (3, 5), 2)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert block[0].padding == (1, 2) and block[0].bias is None and block.out_channels == 4
    assert ops.Conv2dNormActivation(3, 4, norm_layer=None)[0].bias is not None
    assert block(torch.ones(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    assert ops.Conv3dNormActivation(1, 2)(torch.ones(1, 1, 4, 4, 4)).shape == (1, 2, 4, 4, 4)
    mlp = ops.MLP(3, [4, 5], nn.LayerNorm)
    assert [type(layer) for layer in mlp] == [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Dropout, nn.Linear, nn.Dropout]
    assert ops.Permute([1, 0])(torch.ones(2, 3)).shape == (3, 2)
    squeeze = ops.SqueezeExcitation(4, 2)
    with torch.no_grad():
        squeeze.fc2.weight.zero_(), squeeze.fc2.bias.zero_()
        close(squeeze(torch.full((1, 4, 2, 2), 3.0)), np.full((1, 4, 2, 2), 1.5, np.float32))  # half: sigmoid(0)


def test_a_frozen_batch_norm_is_a_batch_norm_that_evaluates():
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2)
    frozen = ops.FrozenBatchNorm2d(3)
    frozen.load_state_dict(norm.state_dict())  # num_batches_tracked among them
    x = torch.randn(2, 3, 4, 4)
    close(frozen(x), norm.eval()(x).detach().numpy())
    assert list(frozen.parameters()) == [] and repr(frozen) == "FrozenBatchNorm2d(3, eps=1e-05)"
