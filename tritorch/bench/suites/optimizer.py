"""Steps of optimizers, and clipping, over many tensors as a net has them: a matrix and a vector in turns."""

from __future__ import annotations

from functools import partial

from tritorch.autotune.problem import Work
from tritorch.bench.bandwidth import BandwidthCase, chosen
from tritorch.bench.case import Input

DTYPES = ("float32",)
AXIS = "weights"
FULL = tuple(1 << power for power in range(18, 29, 2))
QUICK, SMALL, TINY = (1 << 20, 1 << 27), (1 << 14, 1 << 18), (1 << 11,)
CLIPPING = "clip_grad_norm_"  # whose result is a sum over all weights
PAIRS, WIDTH = 16, 64  # matrices, each with a vector as long as its rows; counts are multiples of their product

# How many numbers of a weight are read and written, and what does it: an optimizer its slope once, the weight and each
# state twice; clipping the slope for the norm, and twice to scale it.
KINDS = {
    "SGD momentum": (5, lambda lib, weights: lib.optim.SGD(weights, lr=0.01, momentum=0.9).step),
    "Adam": (7, lambda lib, weights: lib.optim.Adam(weights, lr=1e-3).step),
    "AdamW": (7, lambda lib, weights: lib.optim.AdamW(weights, lr=1e-3).step),
    CLIPPING: (3, lambda lib, weights: partial(lib.nn.utils.clip_grad_norm_, weights, 1.0)),
}


def cases(dtypes, quick, small):
    """All of them over counts of weights."""
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
        length=count if name == CLIPPING else 1,
        unit="GB/s",
        line=name,
        size=count,
        reduced=lambda found: tuple(each.clone() for each in found),
    )


def _step(make, lib, *tensors):
    weights = [lib.nn.Parameter(each.clone()) for each in tensors[: 2 * PAIRS]]
    for weight, slope in zip(weights, tensors[2 * PAIRS :], strict=True):
        weight.grad = slope.clone()
    act = make(lib, weights)

    def step():
        norm = act()
        return tuple(each.detach() for each in weights) if norm is None else (norm,)

    return step
