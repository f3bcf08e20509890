"""Normalisations: running statistics, what may be written over afterwards, and what PyTorch refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.nn import functional as F

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((4, 3, 5)).astype("f") * 2 + 1


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def test_batch_norm_moves_running_statistics():
    mean, variance = torch.zeros(3), torch.ones(3)
    F.batch_norm(torch.tensor(X), mean, variance, training=True, momentum=0.25)
    close(mean, 0.25 * X.mean((0, 2)))
    close(variance, 0.75 + 0.25 * X.var((0, 2), ddof=1))
    before = mean.tolist()
    out = F.batch_norm(torch.tensor(X), mean, variance)
    assert mean.tolist() == before
    scale = 1 / np.sqrt(variance.numpy() + 1e-5)
    close(out, (X - mean.numpy()[:, None]) * scale[:, None])


def test_instance_norm_moves_running_statistics_by_their_mean_over_the_batch():
    mean, variance = torch.zeros(3), torch.ones(3)
    F.instance_norm(torch.tensor(X), mean, variance, momentum=0.5)
    close(mean, 0.5 * X.mean(2).mean(0))
    close(variance, 0.5 + 0.5 * X.var(2, ddof=1).mean(0))


def test_running_statistics_that_somebody_saved_are_noticed():
    mean, variance = torch.zeros(3), torch.ones(3)
    x = torch.tensor(X, requires_grad=True)
    out = F.batch_norm(x, mean, variance)
    F.batch_norm(x, mean, variance, training=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.layer_norm(x, (5,)),
        lambda x: F.rms_norm(x, (5,)),
        lambda x: F.group_norm(x, 3),
    ],
)
def test_the_result_may_be_written_over(norm):
    x, y = (torch.tensor(X, requires_grad=True) for _ in range(2))
    norm(x).relu_().sum().backward()
    norm(y).relu().sum().backward()
    close(x.grad, y.grad.numpy(), gradient=True)


def test_a_large_mean_does_not_cancel():
    x = RANDOM.standard_normal((16, 200)) + 1000
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    assert np.abs(F.layer_norm(torch.tensor(x.astype("f")), (200,)).numpy() - expected).max() < 1e-3


def test_local_response_norm():
    squares = np.pad(X * X, ((0, 0), (1, 1), (0, 0)))
    mean = (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]) / 3
    close(F.local_response_norm(torch.tensor(X), 3, 0.5, 0.75, 2.0), X / (2 + 0.5 * mean) ** 0.75)


def test_renorm_scales_what_is_too_long():
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    close(x.renorm(2, 0, 1.0), [[0.6, 0.8], [0.3, 0.4]])


def test_max_norm_scales_the_rows_that_are_named_in_place():
    weight = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4]])
    close(F.embedding(torch.tensor([0, 2, 0]), weight, max_norm=1.0), [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]])
    close(weight, [[0.6, 0.8], [6.0, 8.0], [0.3, 0.4]])


def test_gradients_scaled_by_frequency():
    weight = torch.zeros(3, 2, requires_grad=True)
    F.embedding(torch.tensor([0, 2, 0, 0]), weight, scale_grad_by_freq=True).sum().backward()
    close(weight.grad, [[1, 1], [0, 0], [1, 1]])
    weight.grad = None
    bags = torch.tensor([0, 1])
    F.embedding_bag(torch.tensor([0, 2, 0, 0]), weight, bags, scale_grad_by_freq=True, mode="sum").sum().backward()
    close(weight.grad, [[1, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_end_where_the_last_offset_says(mode):
    weight = torch.arange(8.0).reshape(4, 2).requires_grad_()
    numbers, offsets = torch.tensor([1, 3, 0, 2]), torch.tensor([0, 2, 2, 3])
    found = F.embedding_bag(numbers, weight, offsets, mode=mode, include_last_offset=True)
    rows = weight.detach().numpy()
    first = {"sum": rows[1] + rows[3], "mean": (rows[1] + rows[3]) / 2, "max": rows[3]}[mode]
    close(found, [first, [0, 0], rows[0]])
    found.sum().backward()
    share = {"sum": [1, 1], "mean": [0.5, 0.5], "max": [0, 1]}[mode]
    close(weight.grad, np.array([1, share[0], 0, share[1]])[:, None] * [1, 1])


FAULTS = {
    "Given normalized_shape=[4], expected input with shape [*, 4], but got input of size[4, 3, 5]": (
        lambda x: F.layer_norm(x, (4,)), RuntimeError
    ),
    "Expected weight to be of same shape as normalized_shape, but got weight of shape [3]": (
        lambda x: F.rms_norm(x, (5,), torch.ones(3)), RuntimeError
    ),
    "Expected number of channels in input to be divisible by num_groups": (lambda x: F.group_norm(x, 2), RuntimeError),
    "Expected more than 1 value per channel when training, got input size": (
        lambda x: F.batch_norm(x[:1, :, :1], None, None, training=True), ValueError
    ),
    "running_mean must be defined in evaluation mode": (lambda x: F.batch_norm(x, None, None), RuntimeError),
    "weight should contain 3 elements not 2": (
        lambda x: F.batch_norm(x, None, None, torch.ones(2), training=True), RuntimeError
    ),
    "Expected more than 1 spatial element when training": (lambda x: F.instance_norm(x[:, :, :1]), ValueError),
    "mixed dtype (CPU): expect parameter to have scalar type of Float": (
        lambda x: F.layer_norm(x, (5,), torch.ones(5).double()), RuntimeError
    ),
    '"batch_norm" not implemented for \'Long\'': (
        lambda x: F.batch_norm(x.long(), torch.zeros(3), torch.ones(3)), NotImplementedError
    ),
    "renorm: non-positive-norm not supported": (lambda x: x.renorm(-1, 0, 1.0), RuntimeError),
    "offsets has to be a 1D Tensor but got None": (
        lambda x: F.embedding_bag(torch.tensor([0]), x[0]), ValueError
    ),
    "offsets[0] has to be 0": (
        lambda x: F.embedding_bag(torch.tensor([0]), x[0], torch.tensor([1])), RuntimeError
    ),
    "per_sample_weights is only supported for mode='sum'": (
        lambda x: F.embedding_bag(torch.tensor([[0]]), x[0], per_sample_weights=torch.ones(1, 1)), NotImplementedError
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", FAULTS)
def test_faults_read_as_pytorchs(message):
    act, kind = FAULTS[message]
    with pytest.raises(kind) as caught:
        act(torch.tensor(X))
    assert message in str(caught.value)
