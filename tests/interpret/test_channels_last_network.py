"""Interpret tier: a network whose channels lie innermost keeps them there, forward and backward, without copies."""

from __future__ import annotations

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.ops.base import TABLE
from tritorch.ops.layout import lying_by
from tritorch.runtime import transfer
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.memory_format import CHANNELS_INNERMOST
from tritorch.vision.models import resnet18


@pytest.fixture
def copies(monkeypatch):
    """The arrays that are copied because their elements do not lie in order."""
    found, copy = [], transfer.contiguous_copy

    def noted(array):
        found.append(array)
        return copy(array)

    monkeypatch.setattr(transfer, "contiguous_copy", noted)
    return found


@pytest.fixture
def quick_convolutions(monkeypatch):
    """Convolutions by NumPy, with results whose channels lie innermost: interpreted, they would take minutes."""
    for name in ("convolution", "convolution_input_gradient", "convolution_weight_gradient"):
        op = TABLE[name]

        def forward(self, *args, op=op):
            return lying_by(op.host(*args), CHANNELS_INNERMOST[4])

        monkeypatch.setattr(op, "forward", forward)


def step(model, images):
    """The activations and their gradients of a pass forward and backward, and what it launches."""
    activations, gradients = [], []

    def keep(module, args, result):
        if result.dim() == 4:
            activations.append(result)
            result.register_hook(gradients.append)

    handles = [each.register_forward_hook(keep) for each in model.modules()]
    with recording_launches() as launches:
        torch.nn.functional.cross_entropy(model(images), torch.tensor([3, 1])).backward()
    for each in handles:
        each.remove()
    return activations, gradients, launches


def conversions(launches):
    """Copies to other strides; others are made of gradients that somebody else, here the recording, holds too."""
    return [each for each in launches if each.kernel.__name__ == "_copy" and each.keywords["RANK"]]


def test_a_resnet_keeps_its_channels_innermost(quick_convolutions, copies):
    model = resnet18(num_classes=10).to(memory_format=torch.channels_last).to("interpreter")  # made quickly
    torch.set_default_device("interpreter")
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.layer1.parameters(), lr=0.1, momentum=0.9)
    activations, gradients, launches = step(model, images)
    assert len(activations) > 60
    for each in activations:
        assert each.is_contiguous(memory_format=torch.channels_last), each.stride()
    for each in gradients:
        assert each.is_contiguous(memory_format=torch.channels_last), each.stride()
    assert len(launches) > 200
    assert not conversions(launches)
    for each in model.parameters():
        assert each.grad.stride() == each.stride()
    with recording_launches() as launches:
        optimizer.step()
    assert launches
    assert not conversions(launches)
    for state in optimizer.state.values():
        buffer = state["momentum_buffer"]
        assert buffer.dim() < 4 or buffer.is_contiguous(memory_format=torch.channels_last)
    assert not copies


def test_the_format_of_a_network_changes_nothing(quick_convolutions):
    torch.set_default_device("interpreter")
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, padding=1),
        nn.GroupNorm(3, 6), nn.SiLU(), nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip
    images = torch.randn(2, 3, 8, 8)
    step(model, images)
    plain = [each.grad.clone() for each in model.parameters()]
    model.zero_grad()
    step(model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last))
    for each, wanted in zip(model.parameters(), plain, strict=True):
        assert torch.allclose(each.grad, wanted, atol=1e-5)
