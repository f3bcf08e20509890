"""Steps of optimizers over many tensors of unlike sizes, as a net has them: a matrix and a vector in turns."""

from __future__ import annotations

from functools import partial

from tritorch.autotune.problem import Work
from tritorch.bench.bandwidth import BandwidthCase, chosen
from tritorch.bench.case import Input

DTYPES = ("float32",)
AXIS = "weights"
FULL = tuple(1 << power for power in range(18, 29, 2))
QUICK, SMALL, TINY = (1 << 20, 1 << 27), (1 << 14, 1 << 18), (1 << 11,)
PAIRS, WIDTH = 16, 64  # matrices, each with a vector as long as its rows; counts are multiples of their product

# How many numbers of a weight are read and written: the weight twice, its slope, and each state twice.
KINDS = {
    "SGD momentum": (5, lambda lib, weights: lib.optim.SGD(weights, lr=0.01, momentum=0.9)),
    "Adam": (7, lambda lib, weights: lib.optim.Adam(weights, lr=1e-3)),
    "AdamW": (7, lambda lib, weights: lib.optim.AdamW(weights, lr=1e-3)),
}


def cases(dtypes, quick, small):
    """Every optimizer over counts of weights."""
    for dtype in dtypes:
        for name, (moved, make) in KINDS.items():
            for count in chosen(FULL, QUICK, SMALL, TINY, quick, small):
                yield case(name, moved, make, count, dtype)


def case(name, moved, make, count, dtype):
    """One of them."""
    rows = count // PAIRS // WIDTH
    pair = Input((rows, WIDTH)), Input((WIDTH,))
    return BandwidthCase(
        name=f"{name} {count} weights",
        dtype=dtype,
        inputs=pair * PAIRS * 2,
        step=partial(_step, make),
        work=Work(0, 4 * moved * (count + PAIRS * WIDTH), dtype),
        unit="GB/s",
        line=name,
        size=count,
        reduced=lambda weights: tuple(each.clone() for each in weights),
    )


def _step(make, lib, *tensors):
    weights = [lib.nn.Parameter(each.clone()) for each in tensors[: 2 * PAIRS]]
    for weight, slope in zip(weights, tensors[2 * PAIRS :], strict=True):
        weight.grad = slope
    optimizer = make(lib, weights)

    def step():
        optimizer.step()
        return tuple(each.detach() for each in weights)

    return step
