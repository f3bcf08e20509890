"""Training steps through the Triton kernels, interpreted: the same numbers as on the CPU, and a loss that falls."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn, optim
from tritorch.nn import functional as F
from tritorch.utils.data import DataLoader, TensorDataset

EXAMPLES = Path(__file__).parents[2] / "examples"


class Net(nn.Module):
    """The documents' classifier, made small."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, 1), nn.Conv2d(4, 6, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout2d(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(24, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(self.dropout1(x), 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def losses_and_weights(device, make_optimizer, steps=3):
    with torch.device(device):
        torch.manual_seed(0)
        model = Net()
        optimizer = make_optimizer(model.parameters())
        random = np.random.default_rng(0)
        x = torch.from_numpy(random.standard_normal((6, 1, 8, 8)).astype("f"))
        y = torch.from_numpy(random.integers(0, 3, 6))
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize(
    "make_optimizer",
    [lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), lambda p: optim.Adam(p, lr=0.01)],
    ids=["sgd", "adam"],
)
def test_a_step_is_the_same_as_on_the_cpu(make_optimizer):
    kernels, weights = losses_and_weights("interpreter", make_optimizer)
    host, host_weights = losses_and_weights("cpu", make_optimizer)
    relative, absolute = tolerance("float32", gradient=True, length=64)
    assert np.allclose(kernels, host, relative, absolute)
    for mine, theirs in zip(weights, host_weights, strict=True):
        assert np.allclose(mine, theirs, relative, absolute)


def test_regression_by_batches_learns():
    with torch.device("interpreter"):
        x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        loader = DataLoader(TensorDataset(x, 2 * x), batch_size=2)
        torch.manual_seed(0)
        model, criterion = nn.Linear(1, 1), nn.MSELoss()
        optimizer = optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for _ in range(6):
            for inputs, labels in loader:
                loss = criterion(model(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    assert model.weight.device.type == "interpreter"
    assert losses[-1] < losses[0] / 10


def test_the_digits_example_runs_quickly(monkeypatch, tmp_path):
    saved = tmp_path / "model.safetensors"
    monkeypatch.setattr(sys, "argv", ["digits_cnn.py", "--device", "interpreter", "--quick", "--save", str(saved)])
    runpy.run_path(str(EXAMPLES / "digits_cnn.py"), run_name="__main__")
    assert set(torch.load(saved)) >= {"conv1.weight", "fc2.bias"}
