"""Margin, distance and likelihood losses against loops in plain Python, on both host devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
import tritorch.nn.functional as F

RANDOM = np.random.default_rng(0)
SCORES, OTHERS = RANDOM.standard_normal((5, 4)), RANDOM.standard_normal((5, 4))


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_loss(p):
    target, weight = [0, 3, 1, 1, 2], [1.0, 2.0, 0.5, 1.5]
    rows = [
        sum(weight[y] * max(0.0, 0.7 - row[y] + x) ** p for i, x in enumerate(row) if i != y) / 4
        for row, y in zip(SCORES, target, strict=True)
    ]
    w = torch.tensor(weight, dtype=torch.float64)
    found = F.multi_margin_loss(torch.tensor(SCORES), torch.tensor(target), p, 0.7, w, reduction="none")
    close(found, rows)
    with pytest.raises(RuntimeError, match="target out of range"):
        F.multi_margin_loss(torch.tensor(SCORES), torch.tensor([0, 1, 2, 3, 4]))


def test_multilabel_margin_loss_reads_labels_up_to_the_first_minus_one():
    labels = np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [2, -1, -1, -1], [1, 1, -1, 0]])
    rows = []
    for row, line in zip(SCORES, labels.tolist(), strict=True):
        mine = line[: line.index(-1)] if -1 in line else line
        rows.append(sum(max(0.0, 1 - row[y] + row[i]) for y in mine for i in range(4) if i not in mine) / 4)
    close(F.multilabel_margin_loss(torch.tensor(SCORES), torch.tensor(labels), reduction="none"), rows)


def test_triplet_margin_loss_swaps_to_the_nearer_negative():
    anchor, positive, negative = SCORES, OTHERS, SCORES[::-1].copy()

    def distance(x, y):
        return np.sqrt(((x - y + 1e-6) ** 2).sum(1))

    far = np.minimum(distance(anchor, negative), distance(positive, negative))
    expected = np.maximum(0, 1.5 + distance(anchor, positive) - far).mean()
    close(F.triplet_margin_loss(*map(torch.tensor, (anchor, positive, negative)), margin=1.5, swap=True), expected)


def test_cosine_similarity_with_a_zero_vector_is_zero_and_has_a_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    found = F.cosine_similarity(x, torch.ones(2, 3))
    found.sum().backward()
    assert found.tolist() == [0, 0]
    assert np.isfinite(x.grad.numpy()).all()


def test_gaussian_nll_loss():
    var = np.abs(OTHERS) + 0.1
    expected = 0.5 * (np.log(var) + (SCORES - OTHERS) ** 2 / var) + 0.5 * math.log(2 * math.pi)
    x, y, v = map(torch.tensor, (SCORES, OTHERS, var))
    close(F.gaussian_nll_loss(x, y, v, full=True, reduction="none"), expected)
    with pytest.raises(ValueError, match="negative"):
        F.gaussian_nll_loss(x, y, -v)


def test_linear_cross_entropy_is_the_loss_of_a_linear_layer():
    x, weight = torch.tensor(SCORES), torch.tensor(RANDOM.standard_normal((3, 2, 4)))
    target = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0], [2, 1]])
    logits = (x @ weight.reshape(6, 4).T).reshape(5, 3, 2)
    close(F.linear_cross_entropy(x, weight, target), F.cross_entropy(logits, target).item())


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(0)
    kept = F.alpha_dropout(torch.randn(20000), 0.3, training=True).numpy()
    assert abs(kept.mean()) < 0.05 and abs(kept.var() - 1) < 0.05
    rows = F.feature_alpha_dropout(torch.ones(64, 32, 3, 3), 0.5, training=True).numpy()
    assert (np.ptp(rows.reshape(64, 32, 9), axis=2) == 0).all()  # whole channels
    assert len(np.unique(rows)) == 2


def test_draws_have_their_distributions():
    torch.manual_seed(0)
    trials = torch.empty(20000).geometric_(0.25).numpy()
    assert trials.min() == 1 and abs(trials.mean() - 4) < 0.15
    assert abs(np.median(torch.empty(20000).cauchy_(2.0, 0.5).numpy()) - 2) < 0.05
    assert abs(np.log(torch.empty(20000).log_normal_(0.5, 0.25).numpy()).mean() - 0.5) < 0.02


def test_normal_with_a_tensor_has_a_zero_gradient():
    mean = torch.ones(3, requires_grad=True)
    torch.normal(mean, 2.0).sum().backward()
    assert mean.grad.tolist() == [0, 0, 0]


def test_finfo_and_iinfo():
    assert torch.finfo(torch.bfloat16).eps == 2**-7 and torch.finfo(torch.float16).max == 65504
    assert torch.finfo().dtype == "float32" and torch.finfo(torch.float64).resolution == 1e-15
    assert torch.iinfo(torch.int16).min == -(2**15) and torch.iinfo(torch.uint8).bits == 8
    with pytest.raises(TypeError, match="floating point"):
        torch.finfo(torch.int64)
