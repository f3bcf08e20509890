"""Layers against plain NumPy, or against each other where two say the same."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional as F

RANDOM = np.random.default_rng(0)


def draw(*shape):
    return torch.tensor(RANDOM.standard_normal(shape).astype("f4"))


@pytest.mark.parametrize("mode, numpy_mode", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_convolutions_pad_as_asked(mode, numpy_mode):
    layer, x = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode), draw(1, 2, 5, 6)
    padded = torch.tensor(np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (2, 2)), numpy_mode))
    close(layer(x), F.conv2d(padded, layer.weight, layer.bias).detach().numpy())
    same = nn.Conv1d(2, 3, 4, padding="same", padding_mode=mode)  # one more behind than before
    padded = torch.tensor(np.pad(x[:, :, 0].numpy(), ((0, 0), (0, 0), (1, 2)), numpy_mode))
    close(same(x[:, :, 0]), F.conv1d(padded, same.weight, same.bias).detach().numpy())


def test_transposed_convolutions_take_an_output_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    assert layer(draw(1, 2, 4, 5)).shape == (1, 3, 7, 9)
    assert layer(draw(1, 2, 4, 5), output_size=(8, 10)).shape == layer(draw(2, 4, 5), (3, 8, 10))[None].shape
    with pytest.raises(ValueError, match=r"requested an output size of \(9, 9\), but valid sizes range from \[7, 9\]"):
        layer(draw(1, 2, 4, 5), output_size=(9, 9))
    with pytest.raises(ValueError, match="output_size must have 2 or 4 elements"):
        layer(draw(1, 2, 4, 5), output_size=(9,))


def test_batch_norm_without_momentum_averages_all_batches():
    layer, batches = nn.BatchNorm1d(3, momentum=None), [draw(4, 3) + at for at in range(3)]
    for batch in batches:
        layer(batch)
    close(layer.running_mean, np.mean([batch.numpy().mean(0) for batch in batches], 0))
    assert layer.num_batches_tracked.item() == 3
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.num_batches_tracked.item() == 0


def test_an_empty_batch_changes_no_statistic():
    for device in ("cpu", "interpreter"):
        layer = nn.BatchNorm2d(3, device=device)
        x = torch.ones(0, 3, 2, 2, device=device, requires_grad=True)
        layer(x).sum().backward()
        assert layer.running_mean.tolist() == [0, 0, 0] and layer.weight.grad.tolist() == [0, 0, 0]
        assert x.grad.shape == x.shape


def test_states_from_before_batches_were_counted_load():
    layer = nn.BatchNorm1d(3)
    state = {name: value for name, value in layer.state_dict().items() if name != "num_batches_tracked"}
    layer.load_state_dict(state)
    assert len(state) == 4
    old = nn.InstanceNorm1d(3, track_running_stats=True).state_dict()
    del old._metadata, old["num_batches_tracked"]
    with pytest.raises(RuntimeError, match=r"Unexpected running stats buffer.* with track_running_stats=False"):
        nn.InstanceNorm1d(3).load_state_dict(old)


def test_sync_batch_norm_is_batch_norm_of_the_same_tensors():
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), draw(5, 3)
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(net))
    assert type(twin[1]) is nn.SyncBatchNorm and torch.equal(net(x), twin(x))
    assert torch.equal(net[1].running_var, twin[1].running_var)
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(nn.Tanh())) is nn.Tanh
    with pytest.raises(ValueError, match="expected at least 2D input"):
        twin[1](draw(3))


def test_instance_norm_of_one_image():
    layer, x = nn.InstanceNorm2d(3, affine=True), draw(2, 3, 4, 5)
    close(layer(x)[1], layer(x[1]).detach().numpy())
    with pytest.warns(UserWarning, match="input's size at dim=1 does not match num_features"):
        nn.InstanceNorm2d(5)(x)
    with pytest.raises(ValueError, match=r"to match num_features \(5\), but got: 3"):
        nn.InstanceNorm2d(5, affine=True)(x)


@pytest.mark.parametrize("size", (1, 2, 3, 4, 9))
def test_cross_map_norm(size):
    x = draw(2, 5, 2, 3).numpy()
    squares, reach, near = x * x, (size - 1) // 2, np.zeros_like(x)
    for channel in range(5):
        seen = {*range(max(0, channel - reach), min(5, channel + reach + 1)), 0} if channel > reach else None
        near[:, channel] = sum(squares[:, at] for at in (seen or range(min(5, channel + reach + 1))))
    close(nn.CrossMapLRN2d(size, alpha=1.0, k=2)(torch.tensor(x)), x * (2 + near / size) ** -0.75)


def test_unpooling_puts_the_largest_back():
    x = draw(1, 2, 6)
    values, places = nn.MaxPool1d(2, return_indices=True)(x)
    back = nn.MaxUnpool1d(2)(values, places)
    close(nn.MaxPool1d(2)(back.abs()), values.abs().numpy())
    assert (back != 0).sum().item() == 6 and back.shape == x.shape
    assert nn.MaxUnpool1d(2)(values, places, output_size=(7,)).shape == (1, 2, 7)


def test_bags_are_reduced_rows():
    bags = nn.EmbeddingBag(6, 3, mode="sum", padding_idx=0)
    rows = nn.Embedding.from_pretrained(bags.weight.detach(), padding_idx=0)
    tokens = torch.tensor([[1, 2, 5], [0, 4, 4]])
    close(bags(tokens), rows(tokens).sum(1).numpy())
    close(
        bags(torch.tensor([1, 2, 4]), torch.tensor([0, 2])),
        torch.stack([rows.weight[1] + rows.weight[2], rows.weight[4]]).numpy(),
    )
    assert not rows.weight.requires_grad and nn.Embedding.from_pretrained(draw(2, 2), freeze=False).weight.requires_grad
    assert not nn.EmbeddingBag.from_pretrained(draw(2, 2)).weight.requires_grad


def test_sparse_embeddings_train_with_dense_gradients():
    for layer in (nn.Embedding(4, 2, sparse=True), nn.EmbeddingBag(4, 2, sparse=True)):
        layer(torch.tensor([[1, 1]])).sum().backward()
        assert layer.weight.grad.shape == (4, 2) and layer.weight.grad[0].tolist() == [0, 0]


def test_rows_are_scaled_down_to_the_largest_norm():
    layer = nn.Embedding(3, 4, max_norm=1.0, _weight=torch.full((3, 4), 2.0))
    layer(torch.tensor([0, 2]))
    close(layer.weight.norm(dim=1), [1, 4, 1])


def test_adaptive_softmax():
    layer, x, target = (
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 6], div_value=2.0),
        draw(6, 8),
        torch.tensor([0, 2, 3, 5, 6, 11]),
    )
    whole = layer.log_prob(x)
    close(whole.exp().sum(1), np.ones(6))
    output, loss = layer(x, target)
    close(output, whole.gather(1, target[:, None]).squeeze(1).detach().numpy())
    close(loss, -output.mean().item())
    assert layer.predict(x).tolist() == whole.argmax(1).tolist()
    close(layer(x[2], target[2]).output, output[2].item())
    loss.backward()
    assert all(each.grad is not None for each in layer.parameters())
    with pytest.raises(RuntimeError, match=r"Target values should be in \[0, 11\], but values in range \[1, 12\]"):
        layer(x[:2], torch.tensor([1, 12]))
    with pytest.raises(ValueError, match="cutoffs should be a sequence of unique, positive integers"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [6, 3])


def test_linear_cross_entropy_is_both():
    layer, x, target = (
        nn.LinearCrossEntropyLoss(4, 5, out_features=(2,), bias=True),
        draw(3, 4),
        torch.tensor([[0, 1], [2, 3], [4, 0]]),
    )
    close(layer(x, target), F.cross_entropy(layer.linear(x).reshape(3, 5, 2), target).item())


@pytest.mark.parametrize(
    "use, error, text",
    [
        (lambda: nn.TripletMarginLoss(margin=0), ValueError, "expected margin to be greater than 0, got 0 instead"),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "only p == 1 and p == 2 supported"),
        (lambda: nn.FractionalMaxPool2d(2), ValueError, "either an output size, or a pooling ratio"),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), ValueError, "must be between 0 and 1 (got 1.5)"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_channels (3) must be divisible by num_groups (2)"),
        (lambda: nn.BatchNorm2d(3)(torch.ones(2, 3)), ValueError, "expected 4D input (got 2D input)"),
        (lambda: nn.CircularPad1d(1)(torch.ones(2)), ValueError, "expected 2D or 3D input (got 1D input)"),
        (lambda: nn.Conv2d(4, 4, 3, padding="x"), ValueError, "Invalid padding string 'x'"),
        (lambda: nn.ConvTranspose1d(4, 4, 3, padding_mode="reflect"), ValueError, 'Only "zeros" padding mode'),
        (lambda: nn.Embedding(2, 3, padding_idx=2), AssertionError, "Padding_idx must be within num_embeddings"),
        (lambda: nn.Hardtanh(1, 0), AssertionError, "max_val (0) must be greater than min_val (1)"),
        (lambda: nn.MSELoss(reduction="x")(torch.ones(1), torch.ones(1)), ValueError, "x is not a valid value"),
    ],
)  # fmt: skip
def test_errors(use, error, text):
    with pytest.raises(error) as caught:
        use()
    assert text in str(caught.value)


@pytest.mark.parametrize("spatial", (1, 2, 3))
def test_gradients_of_convolutions_as_functions(spatial):
    x, weight = draw(2, 4, *[6] * spatial), draw(6, 2, *[3] * spatial)
    x.requires_grad_(), weight.requires_grad_()
    output = getattr(F, f"conv{spatial}d")(x, weight, None, 2, 1, 1, 2)
    grad = draw(*output.shape)
    output.backward(grad)
    found = getattr(nn.grad, f"conv{spatial}d_input")(x.shape, weight, grad, 2, 1, 1, 2)
    close(found, x.grad.numpy(), gradient=True)
    found = getattr(nn.grad, f"conv{spatial}d_weight")(x, weight.shape, grad, stride=2, padding=1, groups=2)
    close(found, weight.grad.numpy(), gradient=True)
