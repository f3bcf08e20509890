"""What benchmarks/cpu.py measures: for each case a function of a library that makes a step, and the ratio allowed.

Single ops have the sizes of a CIFAR ResNet (batch 64) and of a small GPT (8 times 128 tokens of width 128, 4096 words).
"""

from __future__ import annotations

import numpy as np


def chain(lib):
    """((a*b+a)@b).relu().sum() on 8x8, without gradients."""
    a, b = (lib.from_numpy(np.random.default_rng(k).standard_normal((8, 8)).astype("f")) for k in range(2))
    return lambda: ((a * b + a) @ b).relu().sum()


def chain_gradient(lib):
    """The same with its gradient."""
    a, b = (
        lib.from_numpy(np.random.default_rng(k).standard_normal((8, 8)).astype("f")).requires_grad_() for k in range(2)
    )

    def step():
        a.grad = b.grad = None
        ((a * b + a) @ b).relu().sum().backward()

    return step


def regression(lib):
    """A step of the two-layer regression: forward, loss, gradient, SGD."""
    net = lib.nn.Sequential(lib.nn.Linear(1, 10), lib.nn.ReLU(), lib.nn.Linear(10, 1))
    optimizer = lib.optim.SGD(net.parameters(), lr=0.01)
    criterion = lib.nn.MSELoss()
    x = lib.from_numpy(np.random.default_rng(0).random((100, 1)).astype("f"))
    y = x * 0.1 + 1

    def step():
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cnn(lib):
    """A step of the MNIST-shaped convolutional net at batch 64."""
    nn, functional = lib.nn, lib.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout2d(0.25), nn.Dropout2d(0.5)
            self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, x):
            x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
            x = self.dropout1(functional.max_pool2d(x, 2))
            x = self.dropout2(functional.relu(self.fc1(lib.flatten(x, 1))))
            return functional.log_softmax(self.fc2(x), dim=1)

    net, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = lib.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    random = np.random.default_rng(0)
    x = lib.from_numpy(random.standard_normal((64, 1, 28, 28)).astype("f"))
    y = lib.from_numpy(random.integers(0, 10, 64))

    def step():
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()

    return step


def of_op(function, *shapes, gradient=True, numbers=()):
    """A step of one op: `function(lib, *tensors)` of normal tensors of `shapes`, each with its gradient if asked.

    `numbers` are (shape, below) of integer tensors that come after them.
    """

    def make(lib):
        random = np.random.default_rng(0)
        tensors = [lib.from_numpy(random.standard_normal(shape).astype("f")) for shape in shapes]
        integers = [lib.from_numpy(random.integers(0, below, shape)) for shape, below in numbers]
        result = function(lib, *tensors, *integers)
        seed = lib.from_numpy(random.standard_normal(tuple(result.shape)).astype("f"))
        if not gradient:
            return lambda: function(lib, *tensors, *integers)
        for each in tensors:
            each.requires_grad_()

        def step():
            for each in tensors:
                each.grad = None
            function(lib, *tensors, *integers).backward(seed)

        return step

    return make


def batch_norm(training):
    """batch_norm with running statistics."""
    running = {}

    def function(lib, x, weight, bias):
        channels = x.shape[1]
        if (lib, channels) not in running:
            running[lib, channels] = lib.zeros(channels), lib.ones(channels)
        return lib.nn.functional.batch_norm(x, *running[lib, channels], weight, bias, training)

    return function


def layer_norm(lib, x, weight, bias):
    """layer_norm over the last dimension."""
    return lib.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias)


def softmax(lib, x):
    """softmax over the last dimension."""
    return lib.nn.functional.softmax(x, -1)


def cross_entropy(lib, x, target):
    """The mean cross entropy."""
    return lib.nn.functional.cross_entropy(x, target)


def embedding(lib, weight, numbers):
    """Rows by number."""
    return lib.nn.functional.embedding(numbers, weight)


CASES = {
    "chain forward": (chain, 2.0),
    "chain forward+backward": (chain_gradient, 2.0),
    "regression step": (regression, 2.0),
    "cnn step": (cnn, 2.5),
}

OPS = {
    "batch_norm 64x64x32x32": (batch_norm(True), ((64, 64, 32, 32), (64,), (64,)), ()),
    "batch_norm 64x128x16x16": (batch_norm(True), ((64, 128, 16, 16), (128,), (128,)), ()),
    "batch_norm eval 64x64x32x32": (batch_norm(False), ((64, 64, 32, 32), (64,), (64,)), ()),
    "layer_norm 8x128x128": (layer_norm, ((8, 128, 128), (128,), (128,)), ()),
    "softmax 8x4x128x128": (softmax, ((8, 4, 128, 128),), ()),
    "cross_entropy 1024x4096": (cross_entropy, ((1024, 4096),), (((1024,), 4096),)),
    "embedding 4096x128, 1024 tokens": (embedding, ((4096, 128),), (((8, 128), 4096),)),
}

for _name, (_function, _shapes, _numbers) in OPS.items():
    CASES[f"{_name} forward"] = of_op(_function, *_shapes, gradient=False, numbers=_numbers), 2.0
    CASES[f"{_name} forward+backward"] = of_op(_function, *_shapes, numbers=_numbers), 2.0
