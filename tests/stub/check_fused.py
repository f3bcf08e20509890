"""Launches of training steps on device="cuda": several layers in one, gradients that a product adds to, replayed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn
from tritorch.ops.matrix.kernel import matmul_kernel
from tritorch.runtime import plans
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("compiled_once")


def perceptron(activation):
    return nn.Sequential(nn.Linear(8, 16), activation(), nn.Linear(16, 8), activation(), nn.Linear(8, 4))


def inputs(device, width):
    values = np.random.default_rng(width).standard_normal((2, 3, width)).astype(np.float32)
    return torch.tensor(values, device=device)


ADDING = "a product that is added to something"


def launches_of(function):
    """How often each kernel is launched."""
    found = Counter()

    def note(kernel, grid, args, *_):
        found[kernel] += 1
        if kernel is matmul_kernel and args[3] is not None:  # the residual
            found[ADDING] += 1

    before = set_launch_hook(note)
    try:
        function()
    finally:
        set_launch_hook(before)
    return found


def launches_of_steps(net, x, times=4):
    """What a forward and a backward pass launch once plans answer: into no gradient, and into one that is there."""
    found = []
    for keep in (False, True):
        for _ in range(times):
            if not keep:
                net.zero_grad()
            results = []
            forward = launches_of(lambda: results.append(net(x)))  # noqa: B023
            backward = launches_of(results[0].sum().backward)
        found.append((forward, backward))
    return found


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_a_perceptron_is_a_launch_a_layer(activation):
    net, x = perceptron(activation).to("cuda"), inputs("cuda", 8)
    (forward, first), (_, second) = launches_of_steps(net, x)
    assert forward == {matmul_kernel: 3}  # 5 where layers are called one by one
    assert first[matmul_kernel] == second[matmul_kernel] == 5
    assert (first[ADDING], second[ADDING]) == (0, 3)
    assert second.total() - second[ADDING] - first.total() == 3  # the biases; twice as many where nothing is added
    apart = perceptron(activation).to("cuda")
    apart[0].register_forward_hook(lambda *_: None)
    apart[2].register_forward_hook(lambda *_: None)
    (forward, _), _ = launches_of_steps(apart, x)
    assert forward.total() == 5


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_layer_of_a_transformer(norm_first):
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first)
    net, x = net.to("cuda"), inputs("cuda", 8)
    (forward, first), (_, second) = launches_of_steps(net, x)
    together = forward.total() - forward[ADDING]
    assert forward[matmul_kernel] == 4
    assert second[matmul_kernel] == first[matmul_kernel]
    assert (forward[ADDING], first[ADDING], second[ADDING]) == (1, 0, 4)
    for layer in (net.linear1, net.linear2):
        layer.register_forward_hook(lambda *_: None)
    (forward, _), _ = launches_of_steps(net, x)
    assert forward.total() == together + 2  # the activation and the sum


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("make", [lambda: perceptron(nn.GELU), lambda: nn.TransformerEncoderLayer(
    8, 2, 16, dropout=0.0, batch_first=True)], ids=["perceptron", "transformer"])  # fmt: skip
def test_replayed_steps_are_right(make):
    found = []
    for device in ("cpu", "cuda"):
        plans.invalidate()
        torch.manual_seed(0)
        net = make().to(device)
        x = inputs(device, 8)
        for _ in range(5):
            (net(x) ** 2).sum().backward()
        found.append([parameter.grad.cpu().numpy() for parameter in net.parameters()])
    relative, absolute = tolerance("float32", gradient=True)
    for mine, true in zip(*found[::-1], strict=True):
        np.testing.assert_allclose(mine, true, relative, absolute * 5)
