"""The NumPy path against torch on the CPU, in one process and one run: ratios of medians, measured in turn.

    pip install torch && python benchmarks/cpu.py [--quick] [--json FILE]

Each case runs ours and theirs alternately, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tritorch

TARGETS = {"chain forward": 2.0, "chain forward+backward": 2.0, "regression step": 2.0, "cnn step": 2.5}


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


CASES = {
    "chain forward": chain,
    "chain forward+backward": chain_gradient,
    "regression step": regression,
    "cnn step": cnn,
}


def seconds_per_call(function, repeats):
    """The mean time of a call over `repeats` calls."""
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - started) / repeats


def compare(make, rounds, seconds):
    """Medians of ours and theirs, timed alternately, each round about `seconds` long."""
    ours, theirs = make(tritorch), make(torch)
    repeats = []
    for function in (ours, theirs):
        function()
        repeats.append(max(1, int(seconds / seconds_per_call(function, 3))))
    times = [[seconds_per_call(f, n) for f, n in zip((ours, theirs), repeats, strict=True)] for _ in range(rounds)]
    pairs = sorted(a / b for a, b in times)
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return mine, other, statistics.median(pairs), pairs[0], pairs[-1]


def main():
    """Measure all cases, show the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # torch's word about Dropout2d on matrices
    tritorch.set_default_device("cpu")
    rounds, seconds = (5, 0.1) if options.quick else (11, 0.5)
    table = Table(
        "case", "ours", "torch", "ratio", "spread", "target", title=f"CPU step times, torch {torch.__version__}"
    )
    rows = []
    for name, make in CASES.items():
        mine, other, ratio, low, high = compare(make, rounds, seconds)
        good = ratio <= TARGETS[name]
        rows.append({"case": name, "ours_us": mine * 1e6, "torch_us": other * 1e6, "ratio": ratio, "low": low,
                     "high": high, "target": TARGETS[name]})  # fmt: skip
        table.add_row(name, f"{mine * 1e6:,.1f} us", f"{other * 1e6:,.1f} us",
                      f"[{'green' if good else 'red'}]{ratio:.2f}[/]", f"{low:.2f}-{high:.2f}",
                      f"<= {TARGETS[name]}")  # fmt: skip
    Console().print(table)
    if options.json:
        about = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
                 "threads": torch.get_num_threads(), "ratio": "our time over torch's: below 1 is faster"}  # fmt: skip
        with open(options.json, "w") as file:
            json.dump({"suite": "cpu", "environment": about, "rows": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
