"""A problem whose configs do what configs should not: for tests of the tuner, in this process and in others."""

from __future__ import annotations

import os
import time

import numpy as np

from tritorch.autotune import Space, choices, kernel
from tritorch.autotune.problem import Call, Problem, Work
from tritorch.runtime import transfer
from tritorch.runtime.language import tl

GOOD, RAISES, WRONG, BESIDE, UNSET, READS_BESIDE, WRITES_INPUT, HANGS, DIES, ABORTS = range(10)


def leave():
    """End the process without a word."""
    os._exit(3)


def abort():
    """End the process as a failing assertion of a library does."""
    os.abort()


def hang():
    """Never come back."""
    time.sleep(1000)


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
    if DOES == 1:
        raise ValueError("this config cannot be compiled")
    if DOES == 2:
        value += 1
    if DOES == 5:
        value += tl.sum(value, 0) * 0
    if DOES == 6:
        tl.store(x + i, value + 1, mask=i < size)
    if DOES == 7:
        hang()
    if DOES == 8:
        leave()
    if DOES == 9:
        abort()
    last = size - 1 if DOES == 4 else size + 1 if DOES == 3 else size
    tl.store(out + i, value * 2, mask=i < last)


NAME = f"{__name__}.double"


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
        return cls(found["size"])

    def call(self, device, values=True):
        return ToyCall(self.size, device)


def config(**knobs):
    """A config of `double`."""
    return {"BLOCK": 64, "DOES": GOOD, "num_warps": 4} | knobs
