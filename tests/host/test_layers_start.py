"""How layers start: PyTorch's distributions, drawn in its order."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn import init

# A sample's deviation is off by about 0.5 / sqrt(size) (uniform) or 0.7 / sqrt(size) (normal): five times that is let.


def uniform(bound):
    def holds(values):
        off = abs(values.std() * math.sqrt(3) / bound - 1)
        return np.abs(values).max() < bound and off * math.sqrt(values.size) < 2.5

    return holds


def normal(deviation):
    def holds(values):
        off = max(abs(values.std() / deviation - 1), abs(values.mean()) / deviation)
        return off * math.sqrt(values.size) < 5

    return holds


def value(number):
    return lambda values: bool((values == number).all())


STARTS = [
    (lambda: nn.Linear(100, 80), {"weight": uniform(0.1), "bias": uniform(0.1)}),
    (lambda: nn.Bilinear(25, 9, 60), {"weight": uniform(0.2), "bias": uniform(0.2)}),
    (lambda: nn.Conv1d(20, 60, 5), {"weight": uniform(0.1), "bias": uniform(0.1)}),
    (lambda: nn.Conv2d(8, 100, 5, groups=2), {"weight": uniform(0.1), "bias": uniform(0.1)}),
    (lambda: nn.ConvTranspose2d(8, 50, 2, groups=2), {"weight": uniform(0.1), "bias": uniform(0.1)}),
    (lambda: nn.BatchNorm1d(9), {"weight": value(1), "bias": value(0), "running_mean": value(0)}),
    (lambda: nn.GroupNorm(3, 9), {"weight": value(1), "bias": value(0)}),
    (lambda: nn.RMSNorm(9), {"weight": value(1)}),
    (lambda: nn.PReLU(5), {"weight": value(0.25)}),
    (lambda: nn.Embedding(90, 20), {"weight": normal(1)}),
    (lambda: nn.EmbeddingBag(90, 20), {"weight": normal(1)}),
    (lambda: nn.LSTM(9, 25), {"weight_ih_l0": uniform(0.2), "weight_hh_l0": uniform(0.2), "bias_ih_l0": uniform(0.2)}),
    (lambda: nn.GRUCell(9, 25), {"weight_ih": uniform(0.2), "weight_hh": uniform(0.2), "bias_hh": uniform(0.2)}),
    (
        lambda: nn.MultiheadAttention(24, 2),
        {
            "in_proj_weight": uniform(math.sqrt(6 / 96)), "in_proj_bias": value(0),
            "out_proj.weight": uniform(1 / math.sqrt(24)), "out_proj.bias": value(0),
        },
    ),
    (
        lambda: nn.Transformer(24, 2, 1, 1, 48),
        {"encoder.layers.0.linear1.weight": uniform(math.sqrt(6 / 72)), "decoder.norm.weight": value(1)},
    ),
]  # fmt: skip


@pytest.mark.parametrize("make, starts", STARTS)
def test_how_a_layer_starts(make, starts):
    state = make().state_dict()
    for name, holds in starts.items():
        assert holds(state[name].numpy()), name


def test_padding_rows_start_at_zero_and_stay_there():
    layer = nn.Embedding(4, 3, padding_idx=-1)
    assert layer.padding_idx == 3 and layer.weight[3].tolist() == [0, 0, 0] and layer.weight[0].abs().sum() > 0
    layer(torch.tensor([1, 3])).sum().backward()
    assert layer.weight.grad[3].tolist() == [0, 0, 0] and layer.weight.grad[1].tolist() == [1, 1, 1]


def test_draws_come_in_pytorchs_order():
    torch.manual_seed(5)
    layer = nn.Linear(3, 2)
    torch.manual_seed(5)
    weight = torch.empty(2, 3).uniform_(-1 / math.sqrt(3), 1 / math.sqrt(3))
    bias = torch.empty(2).uniform_(-1 / math.sqrt(3), 1 / math.sqrt(3))
    assert torch.allclose(layer.weight, weight) and torch.allclose(layer.bias, bias)
    torch.manual_seed(5)
    lazy = nn.LazyLinear(2)
    lazy(torch.ones(1, 3))
    assert torch.equal(lazy.weight, layer.weight) and torch.equal(lazy.bias, layer.bias)


def test_sparse_columns():
    values = init.sparse_(torch.ones(10, 6), 0.35, std=2.0)
    assert (values == 0).sum(0).tolist() == [4] * 6
    with pytest.raises(ValueError, match="Only tensors with 2 dimensions are supported"):
        init.sparse_(torch.ones(2), 0.5)


@pytest.mark.parametrize(
    "old", ["constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "orthogonal", "sparse",
            "uniform", "xavier_normal", "xavier_uniform"],
)  # fmt: skip
def test_old_names_of_init(old):
    values = torch.zeros(3, 3, 3) if old == "dirac" else torch.zeros(3, 3)
    more = {"constant": (1.0,), "sparse": (0.5,)}.get(old, ())
    with pytest.warns(FutureWarning, match=f"`nn.init.{old}` is now deprecated in favor of `nn.init.{old}_`."):
        assert getattr(init, old)(values, *more) is values
    assert values.abs().sum() > 0
