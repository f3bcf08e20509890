"""A convolutional net takes training steps on device="cuda" and ends where the CPU ends."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("interpreted")


def trained(device, steps=3):
    """Losses and final parameters of a small net, on the host."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 4, 10),
    )  # fmt: skip
    random = np.random.default_rng(0)
    images = torch.tensor(random.standard_normal((6, 1, 8, 8)).astype(np.float32)).to(device)
    labels = torch.tensor(random.integers(0, 10, 6)).to(device)
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.CrossEntropyLoss()(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.device.type == device for parameter in model.parameters())
    return losses, [parameter.detach().cpu().numpy() for parameter in model.parameters()]


def test_the_same_net_comes_out():
    losses, parameters = trained("cuda")
    expected, truths = trained("cpu")
    assert losses[-1] < losses[0]
    relative, absolute = tolerance("float32", gradient=True)
    np.testing.assert_allclose(losses, expected, relative, absolute)
    for parameter, truth in zip(parameters, truths, strict=True):
        np.testing.assert_allclose(parameter, truth, relative, absolute)


def test_a_device_as_context_is_the_one_that_its_name_means():
    with torch.device("cuda"):
        made = torch.tensor([1.0])
    assert made.device is torch.ones(1, device="cuda").device
    assert (made + torch.ones(1, device="cuda")).item() == 2
