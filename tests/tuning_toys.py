"""A problem whose configs do what configs should not: for tests of the tuner, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tritorch.autotune import Space, choices, kernel
from tritorch.autotune.problem import Call, Problem, Work
from tritorch.runtime import transfer
from tritorch.runtime.language import tl

GOOD, RAISES, WRONG, BESIDE, UNSET, READS_BESIDE, WRITES_INPUT, HANGS, DIES, ABORTS = range(10)


def misbehave(config):
    """What a config does to its process."""
    if config["DOES"] == HANGS:
        time.sleep(1000)
    if config["DOES"] == DIES:
        os._exit(3)
    if config["DOES"] == ABORTS:  # as a failing assertion of a library does
        os.abort()


def toy_default(device, *, size):
    """A good config."""
    return {"BLOCK": 64, "DOES": GOOD, "num_warps": 4}


@kernel(
    space=Space(BLOCK=choices(32, 64, 128), DOES=choices(*range(10), default=GOOD), num_warps=choices(1, 2, 4)),
    default=toy_default,
)
def double(
    x,  # what is doubled: (size,)
    out,  # the results: (size,)
    size,
    BLOCK: tl.constexpr,
    DOES: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < size + (1 if DOES == 5 else 0), other=0.0)
    tl.static_assert(DOES != 1, "this config cannot be compiled")
    if DOES == 2:
        value += 1
    if DOES == 5:
        value += tl.sum(value, 0) * 0
    if DOES == 6:
        tl.store(x + i, value + 1, mask=i < size)
    last = size - 1 if DOES == 4 else size + 1 if DOES == 3 else size
    tl.store(out + i, value * 2, mask=i < last)


NAME = f"{__name__}.double"


def multiply_default(device, *, size):
    """A config that fits every GPU."""
    return {"SIDE": 64, "DEPTH": 32, "DOES": GOOD, "num_warps": 4, "num_stages": 2}


@kernel(
    space=Space(SIDE=choices(16, 64, 256), DEPTH=choices(32, 256), DOES=choices(GOOD, RAISES, HANGS, DIES),
                num_warps=choices(4, 8, 64), num_stages=choices(1, 2, 4, 6)),
    default=multiply_default,
)  # fmt: skip
def multiply(
    x,  # (size, size)
    y,  # (size, size)
    out,  # x @ y: (size, size)
    size,
    SIDE: tl.constexpr,
    DEPTH: tl.constexpr,
    DOES: tl.constexpr,
):
    tl.static_assert(DOES == 0, "this config cannot be compiled")
    row, column = tl.program_id(0) * SIDE + tl.arange(0, SIDE), tl.program_id(1) * SIDE + tl.arange(0, SIDE)
    k = tl.arange(0, DEPTH)
    total = tl.zeros([SIDE, SIDE], tl.float32)
    for start in range(0, size, DEPTH):
        a = tl.load(x + row[:, None] * size + (start + k)[None, :])
        b = tl.load(y + (start + k)[:, None] * size + column[None, :])
        total = tl.dot(a, b, total)
    tl.store(out + row[:, None] * size + column[None, :], total.to(out.dtype.element_ty))


MULTIPLY = f"{__name__}.multiply"


class ProductCall(Call):
    """Multiplies once; with some configs it does not come so far."""

    def __init__(self, size, device):
        self.size, self.device = size, device
        self.operands = [transfer.mirror(np.zeros((size, size), np.float16), device) for _ in range(2)]
        self.work = Work(2 * size**3, 6 * size**2, "float16")

    def run(self):
        out = transfer.empty((self.size, self.size), np.dtype(np.float16), self.device)
        config = multiply.config((*self.operands, out), size=self.size)
        misbehave(config)
        blocks = -(-self.size // config["SIDE"])
        multiply[(blocks, blocks)](*self.operands, out, self.size, **config)
        return (out,)

    def compare(self, results):
        return 0.0, ""


class Product(Problem):
    """Multiplying two square matrices."""

    kind, name, label, dtype = "product", "multiply", "size=1024", "float16"

    def to_json(self):
        return {}

    @classmethod
    def from_json(cls, found):
        return cls()

    def call(self, device, values=True):
        return ProductCall(1024, device)


class ToyCall(Call):
    """Doubles once."""

    def __init__(self, size, device):
        self.x, self.device = np.arange(size, dtype=np.float32), device
        self.array = transfer.mirror(self.x, device)
        self.work = Work(flops=size, bytes=8 * size, dtype="float32")

    def run(self):
        out = transfer.empty(self.array.shape, self.array.dtype, self.device)
        size = self.array.size
        config = double.config((self.array, out), size=size)
        misbehave(config)
        double[(-(-size // config["BLOCK"]),)](self.array, out, size, **config)
        return (out,)

    def compare(self, results):
        off = np.abs(transfer.to_host(results[0]).astype(np.float64) - 2 * self.x.astype(np.float64))
        at = int(np.where(np.isnan(off), np.inf, off).argmax())
        error = float("inf") if np.isnan(off[at]) else off[at] / 1e-3
        return error, f"largest difference at [{at}]"


class Toy(Problem):
    """Doubling `size` numbers."""

    kind, name, dtype = "toy", "double", "float32"

    def __init__(self, size=100):
        self.size, self.label = size, f"size={size}"

    def to_json(self):
        return {"size": self.size}

    @classmethod
    def from_json(cls, found):
        if found["size"] < 0:
            raise ValueError(f"size must not be negative, got {found['size']}")
        return cls(found["size"])

    def call(self, device, values=True):
        return ToyCall(self.size, device)


def config(**knobs):
    """A config of `double`."""
    return {"BLOCK": 64, "DOES": GOOD, "num_warps": 4} | knobs


def ends(pid, seconds=10.0):
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@contextmanager
def program(text):
    """A process that runs `text` with everything of this module at hand, and minds Ctrl-C; killed in the end."""
    start = (
        "import signal, sys; sys.path.insert(0, 'tests')\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background are deaf to it
        "from tuning_toys import *\n"
    )
    root = Path(__file__).parents[1]
    running = subprocess.Popen(
        [sys.executable, "-c", start + text], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()
