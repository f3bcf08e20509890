"""Losses against numbers worked out by hand or by NumPy, with PyTorch's errors and warnings, on both host devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.namespaces import exported

DEVICES = ("cpu", "interpreter")
F = type("functional", (), {name: staticmethod(function) for name, function in exported("nn.functional").items()})
RANDOM = np.random.default_rng(0)
LOGITS, TARGET = RANDOM.standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])
WEIGHT = np.array([1.0, 2.0, 0.5, 1.5])


@pytest.fixture(params=DEVICES, autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def logs():
    return LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_cross_entropy(weight, ignored):
    factor = (np.ones(4) if weight is None else weight)[TARGET] * (ignored != TARGET)
    rows = -logs()[np.arange(5), TARGET] * factor
    x, t = torch.tensor(LOGITS, requires_grad=True), torch.tensor(TARGET)
    w = None if weight is None else torch.tensor(weight)
    close(F.cross_entropy(x, t, w, ignore_index=ignored, reduction="none"), rows)
    close(F.cross_entropy(x, t, w, ignore_index=ignored, reduction="sum"), rows.sum())
    loss = F.cross_entropy(x, t, w, ignore_index=ignored)
    close(loss, rows.sum() / factor.sum())
    loss.backward()
    close(x.grad, (np.exp(logs()) - np.eye(4)[TARGET]) * factor[:, None] / factor.sum(), gradient=True)


def test_cross_entropy_of_many_dimensions():
    x, t = np.moveaxis(LOGITS.reshape(5, 1, 4).repeat(3, 1), 2, 1), TARGET.reshape(5, 1).repeat(3, 1)
    expected = F.cross_entropy(torch.tensor(LOGITS), torch.tensor(TARGET))
    close(F.cross_entropy(torch.tensor(x), torch.tensor(t)), expected.item())
    close(F.cross_entropy(torch.tensor(LOGITS[1]), torch.tensor(3)), -logs()[1, 3])


@pytest.mark.parametrize("rows", [700, 20000])
def test_nll_loss_over_many_programs(rows):
    x, t = RANDOM.standard_normal((rows, 3)), RANDOM.integers(0, 3, rows)
    close(F.nll_loss(torch.tensor(x), torch.tensor(t)), -x[np.arange(rows), t].mean())


def test_label_smoothing_equals_smoothed_probabilities():
    x, t = torch.tensor(LOGITS), torch.tensor(TARGET)
    soft = torch.tensor(np.eye(4)[TARGET] * 0.8 + 0.05)
    for reduction in ("none", "mean", "sum"):
        smoothed = F.cross_entropy(x, t, reduction=reduction, label_smoothing=0.2)
        close(smoothed, F.cross_entropy(x, soft, reduction=reduction).numpy())


def test_all_ignored_is_nan():
    assert math.isnan(F.cross_entropy(torch.zeros(2, 3), torch.tensor([-100, -100])).item())
    assert F.nll_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), reduction="sum").item() == 0


def test_a_class_that_does_not_exist(device):
    x, t = torch.zeros(2, 3), torch.tensor([1, 10])
    if device == "cpu":
        with pytest.raises(IndexError, match=r"Target 10 is out of bounds\."):
            F.cross_entropy(x, t)
    else:
        assert math.isnan(F.cross_entropy(x, t).item())


@pytest.mark.parametrize(
    ("shape", "target", "kind", "error", "text"),
    [
        ((5, 7), (4,), torch.int64, ValueError, r"Expected input batch_size \(5\) to match target batch_size \(4\)."),
        ((5, 7), (), torch.int64, ValueError, r"Expected input batch_size \(5\) to match target batch_size \(0\)."),
        ((), (), torch.int64, ValueError, r"Expected 1 or more dimensions \(got 0\)"),
        ((5, 7), (5,), torch.float32, RuntimeError, "expected target dtype to be Long or Byte, but got Float"),
        ((5, 7), (5, 6), torch.int64, RuntimeError, "0D or 1D target tensor expected, multi-target not supported"),
        ((2, 3, 4), (2, 5), torch.int64, RuntimeError, r"Expected target size \[2, 4\], got \[2, 5\]"),
    ],
)
def test_targets_that_do_not_fit(shape, target, kind, error, text):
    with pytest.raises(error, match=text):
        F.nll_loss(torch.zeros(*shape) if shape else torch.tensor(0.0), torch.zeros(target, dtype=kind))


def test_weights_and_smoothing_that_do_not_fit():
    x, t = torch.zeros(5, 7), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="either for all 7 classes or no classes but got weight tensor of shape"):
        F.cross_entropy(x, t, torch.ones(3))
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Half"):
        F.nll_loss(x, t, torch.ones(7, dtype=torch.float16))
    with pytest.raises(RuntimeError, match="ignore_index is not supported for floating point target"):
        F.cross_entropy(x, x, ignore_index=1)
    with pytest.raises(RuntimeError, match="Found dtype Double but expected Float"):
        F.binary_cross_entropy(x, x.double())
    with pytest.raises(RuntimeError, match=r"label_smoothing must be between 0\.0 and 1\.0\. Got: 2"):
        F.cross_entropy(x, t, label_smoothing=2.0)
    with pytest.raises(ValueError, match="foo is not a valid value for reduction"):
        F.mse_loss(x, x, reduction="foo")


DISTANCES = np.array([-3.0, -0.5, 0.0, 0.25, 2.0])


@pytest.mark.parametrize(
    ("op", "keywords", "losses", "slopes"),
    [
        ("mse_loss", {}, DISTANCES**2, 2 * DISTANCES),
        ("l1_loss", {}, abs(DISTANCES), np.sign(DISTANCES)),
        ("smooth_l1_loss", {}, [2.5, 0.125, 0, 0.03125, 1.5], DISTANCES.clip(-1, 1)),
        ("smooth_l1_loss", {"beta": 0.5}, [2.75, 0.25, 0, 0.0625, 1.75], (DISTANCES / 0.5).clip(-1, 1)),
        ("huber_loss", {"delta": 0.5}, [1.375, 0.125, 0, 0.03125, 0.875], DISTANCES.clip(-0.5, 0.5)),
    ],
)
def test_distances(op, keywords, losses, slopes):
    x, y = torch.tensor(DISTANCES + 1, requires_grad=True), torch.ones(5, dtype=torch.float64)
    loss = getattr(F, op)
    close(loss(x, y, reduction="none", **keywords), losses)
    close(loss(x, y, **keywords), np.mean(losses))
    loss(x, y, reduction="sum", **keywords).backward()
    close(x.grad, slopes, gradient=True)


def test_old_flags_and_sizes_warn():
    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert F.mse_loss(x, y, size_average=False).item() == 6
    with pytest.warns(UserWarning, match="please use reduction='none' instead"):
        assert F.mse_loss(x, y, reduce=False).shape == (2, 3)
    with pytest.warns(UserWarning, match=r"Using a target size \(torch.Size\(\[3\]\)\) that is different"):
        assert F.mse_loss(x, torch.zeros(3)).item() == 1


def test_binary_cross_entropy():
    p, y = np.array([0.0, 1.0, 0.5, 1.0, 0.25]), np.array([0.0, 1.0, 0.5, 0.0, 1.0])
    x = torch.tensor(p, requires_grad=True)
    loss = F.binary_cross_entropy(x, torch.tensor(y), reduction="none")
    close(loss, [0, 0, math.log(2), 100, math.log(4)])
    loss.sum().backward()
    close(x.grad, [0, 0, 0, 1e12, -4], gradient=True)
    with pytest.raises(ValueError, match=r"is deprecated\. Please ensure they have the same size\."):
        F.binary_cross_entropy(x, torch.zeros(1))
    with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
        F.binary_cross_entropy(torch.tensor([1.5]), torch.tensor([1.0]))


def test_binary_cross_entropy_with_logits():
    x = torch.tensor([-1e4, 0.0, 1e4, 2.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    close(loss, [1e4, math.log(2), 0, math.log1p(math.exp(2))])
    loss.sum().backward()
    close(x.grad, [-1, 0, 0, 1 / (1 + math.exp(-2))], gradient=True)
    weighted = F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(3.0), reduction="none")
    close(weighted, [3e4, 2 * math.log(2), 0, math.log1p(math.exp(2))])


def test_kl_div():
    p, q = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[1.0, 0.0], [0.5, 0.5]])
    expected = math.log(2) + 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    close(F.kl_div(torch.tensor(np.log(p)), torch.tensor(q), reduction="sum"), expected)
    close(F.kl_div(torch.tensor(np.log(p)), torch.tensor(q), reduction="batchmean"), expected / 2)


def test_second_derivative_of_cross_entropy():
    x = torch.tensor(LOGITS, requires_grad=True)
    (first,) = torch.autograd.grad(F.cross_entropy(x, torch.tensor(TARGET)), x, create_graph=True)
    direction = RANDOM.standard_normal(LOGITS.shape)
    (second,) = torch.autograd.grad((first * torch.tensor(direction)).sum(), x)
    p = np.exp(logs())
    close(second, p * (direction - (p * direction).sum(1, keepdims=True)) / 5, gradient=True)
