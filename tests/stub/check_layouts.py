"""Layouts on device="cuda": strides are the CPU's, moves and copies keep them, and gradients lie as their leaves."""

from __future__ import annotations

import copy

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional as F
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("interpreted")

CALLS = {
    "relu": F.relu, "residual": lambda t: t + t * 2, "in place": lambda t: t.clone().mul_(2), "clone": torch.clone,
    "cast": lambda t: t.double(), "zeros_like": torch.zeros_like, "dropout": lambda t: F.dropout(t, 0.5),
    "batch_norm": lambda t: F.batch_norm(t, None, None, training=True), "group_norm": lambda t: F.group_norm(t, 2),
    "max_pool": lambda t: F.max_pool2d(t, 2), "avg_pool": lambda t: F.avg_pool2d(t, 2),
    "mean": lambda t: F.adaptive_avg_pool2d(t, 1),
    "bilinear": lambda t: F.interpolate(t, scale_factor=2, mode="bilinear"),
    "pad": lambda t: F.pad(t, (1, 1)), "cat": lambda t: torch.cat([t, t], 1), "deepcopy": copy.deepcopy,
    "there and back": lambda t: t.cpu(), "contiguous": lambda t: t.contiguous(),
}  # fmt: skip


def images(device):
    values = torch.arange(2 * 4 * 6 * 4, dtype=torch.float32).reshape(2, 4, 6, 4)
    return values.to(memory_format=torch.channels_last).to(device)


@pytest.mark.parametrize("name", CALLS)
def test_strides_and_values_are_those_of_the_cpu(name):
    found, wanted = CALLS[name](images("cuda")), CALLS[name](images("cpu"))
    assert found.stride() == wanted.stride()
    if name != "dropout":
        assert torch.allclose(found.cpu(), wanted, atol=1e-5)


def test_a_module_lies_on_the_gpu_as_it_did_and_so_do_its_gradients():
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    model = model.to(memory_format=torch.channels_last).to("cuda")
    assert model[0].weight.stride() == (36, 1, 12, 4)
    for _ in range(2):  # taken over, then added to
        model(images("cuda")).sum().backward()
        assert model[0].weight.grad.stride() == (36, 1, 12, 4)


def test_gradients_that_lie_on_one_another_are_told_apart():
    first, second = (torch.ones(2, 3, device="cuda", requires_grad=True) for _ in range(2))
    (first.reshape(3, 2) * 1 + second.reshape(6).reshape(3, 2)).sum().backward()
    first.grad.add_(1)
    assert second.grad.tolist() == [[1, 1, 1], [1, 1, 1]]
    expanded = torch.ones(3, device="cuda", requires_grad=True)
    for _ in range(2):
        expanded.sum().backward()
    assert expanded.grad.tolist() == [2, 2, 2]
