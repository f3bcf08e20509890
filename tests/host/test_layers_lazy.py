"""Lazy layers: before their first input, at it, and after."""

from __future__ import annotations

import copy
import pickle

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn.modules.lazy import LazyModuleMixin

FIRST = [
    (lambda: nn.LazyLinear(4), (2, 3), "Linear(in_features=3, out_features=4, bias=True)"),
    (lambda: nn.LazyConv1d(4, 3), (2, 3, 9), "Conv1d(3, 4, kernel_size=(3,), stride=(1,))"),
    (lambda: nn.LazyConv2d(4, 3, groups=2), (2, 9, 9), "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), groups=2)"),
    (lambda: nn.LazyConvTranspose1d(4, 3), (2, 3, 9), "ConvTranspose1d(3, 4, kernel_size=(3,), stride=(1,))"),
    (
        lambda: nn.LazyBatchNorm2d(),
        (2, 3, 4, 4),
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
    ),
    (
        lambda: nn.LazyInstanceNorm1d(),
        (3, 9),
        "InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
    ),
]


@pytest.mark.parametrize("make, shape, text", FIRST)
def test_the_first_input_makes_it(make, shape, text):
    layer = make()
    assert layer.has_uninitialized_params()
    parameters = list(layer.parameters())
    output = layer(torch.randn(*shape))
    assert repr(layer) == text and type(layer).__name__ == text.partition("(")[0]
    assert all(mine is now for mine, now in zip(parameters, layer.parameters(), strict=True))
    assert all(type(each) is nn.Parameter for each in parameters)
    output.sum().backward()
    assert all(each.grad is not None for each in parameters)
    assert not layer._forward_pre_hooks and not layer._load_state_dict_pre_hooks
    assert torch.equal(layer.eval()(torch.ones(*shape)), layer(torch.ones(*shape)))


def test_an_optimizer_made_before_the_first_forward_trains():
    net = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, losses = torch.randn(16, 3), []
    for _ in range(20):
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_state_goes_both_ways():
    lazy, full = nn.LazyLinear(4), nn.Linear(3, 4)
    assert [repr(value) for value in lazy.state_dict().values()] == ["<UninitializedParameter>"] * 2
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter or buffer"):
        full.load_state_dict(lazy.state_dict())
    assert str(nn.LazyLinear(4).load_state_dict(lazy.state_dict())) == "<All keys matched successfully>"
    lazy.load_state_dict(full.state_dict())
    x = torch.ones(2, 3)
    assert torch.equal(lazy(x), full(x)) and repr(lazy) == repr(full)
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight", "bias"'):
        nn.LazyLinear(4).load_state_dict({})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_waits_on_its_own(copied):
    layer = nn.LazyBatchNorm1d(dtype=torch.float64)
    other = copied(layer)
    other(torch.ones(2, 5, dtype=torch.float64))
    assert other.weight.shape == (5,) and layer.has_uninitialized_params() and not other._forward_pre_hooks
    layer(torch.ones(2, 3, dtype=torch.float64))
    assert layer.running_mean.shape == (3,) and layer.num_features == 3


def test_it_can_be_moved_before_it_is_made():
    layer = nn.LazyBatchNorm1d().to("interpreter", torch.float64)
    assert layer.weight.dtype is layer.running_var.dtype is torch.float64
    layer(torch.ones(2, 3, dtype=torch.float64, device="interpreter"))
    assert {value.device for value in layer.state_dict().values()} == {torch.device("interpreter")}
    assert nn.LazyLinear(2).half().float().double().weight.dtype is torch.float64


@pytest.mark.parametrize(
    "use, error, text",
    [
        (lambda: nn.LazyLinear(4).weight + 1, ValueError, "Attempted to use an uninitialized parameter"),
        (lambda: nn.LazyLinear(4).weight.numel(), ValueError, "dummy batch to initialize the parameters"),
        (lambda: nn.LazyLinear(4).weight.shape, RuntimeError, "Can't access the shape"),
        (lambda: nn.LazyLinear(4).share_memory(), RuntimeError, "Can't share memory on an uninitialized parameter"),
        (lambda: nn.LazyConv2d(4, 2, groups=2)(torch.ones(1, 3, 4, 4)), ValueError, "in_channels must be divisible"),
        (
            lambda: nn.LazyConv2d(3, 2)(torch.ones(2, 2)),
            RuntimeError,
            "Expected 3D (unbatched) or 4D (batched) input to LazyConv2d, but got input of size: torch.Size([2, 2])",
        ),
        (lambda: Unsaid()(1), NotImplementedError, "initialize_parameters is not implemented for Unsaid"),
        (lambda: Undone()(1), RuntimeError, "module Undone has not been fully initialized"),
    ],
)
def test_errors(use, error, text):
    with pytest.raises(error) as caught:
        use()
    assert text in str(caught.value)


class Unsaid(LazyModuleMixin, nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.UninitializedParameter()

    def forward(self, x):
        return x


class Undone(Unsaid):
    def initialize_parameters(self, x):
        """Nothing is made."""


def test_own_lazy_modules_take_their_inputs_by_name():
    class Scale(LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.seen = nn.UninitializedParameter(), nn.UninitializedBuffer(dtype=torch.int64)

        def initialize_parameters(self, x, add=0):
            self.scale.materialize(x.shape[-1:])
            self.seen.materialize((1,))
            nn.init.ones_(self.scale)

        def forward(self, x, add=0):
            return x * self.scale + add

    layer = Scale()
    assert layer(torch.ones(2, 3), add=2).tolist() == [[3] * 3] * 2
    assert layer.seen.dtype is torch.int64 and type(layer.seen) is torch.Tensor and "seen" in layer.state_dict()
