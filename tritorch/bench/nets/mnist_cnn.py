"""The convolutional net of PyTorch's MNIST example, 1.2 million weights, with SGD."""

from __future__ import annotations

from tritorch.bench.case import Input
from tritorch.bench.training import Training

USUAL = ("float32", "tf32")
BATCH, TINY_BATCH = 64, 4
PRODUCTS = 9 * 32 * 26 * 26 + 288 * 64 * 24 * 24 + 9216 * 128 + 128 * 10  # multiplications an image


def net(lib):
    """Images and their classes to the mean loss."""
    nn, functional = lib.nn, lib.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, x, classes):
            x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
            x = self.dropout1(functional.max_pool2d(x, 2)).flatten(1)
            x = self.dropout2(functional.relu(self.fc1(x)))
            return functional.nll_loss(functional.log_softmax(self.fc2(x), dim=1), classes)

    return Net()


def training(quick, small):
    """A batch of 64, on any device."""
    batch = TINY_BATCH if small and quick else BATCH
    return Training(
        sizes=f"batch {batch}",
        net=net,
        inputs=(Input((batch, 1, 28, 28)), Input((batch,), below=10)),
        optimizer=lambda lib, parameters: lib.optim.SGD(parameters, lr=0.01, momentum=0.9),
        count=batch,
        unit="images/s",
        flops=6 * batch * PRODUCTS,
        terms=9216,
    )
