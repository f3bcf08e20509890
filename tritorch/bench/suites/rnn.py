"""LSTM and GRU layers over a sequence, forward, and forward with backward."""

from __future__ import annotations

from functools import partial

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32", "tf32")

GATES = {"LSTM": 4, "GRU": 3}
STEPS, BATCH, SMALL_STEPS, SMALL_BATCH = 128, 64, 8, 4
FULL, QUICK, SMALL = (256, 512, 1024), (256,), (16, 32)


def cases(dtypes, quick, small):
    """Both kinds, every width."""
    steps, batch = (SMALL_STEPS, SMALL_BATCH) if small else (STEPS, BATCH)
    for dtype in dtypes:
        for kind in GATES:
            for width in (SMALL[:1] if quick else SMALL) if small else QUICK if quick else FULL:
                for backward in (False, True):
                    yield case(kind, steps, batch, width, backward, dtype)


def case(kind, steps, batch, width, backward, dtype):
    """A layer as wide as its input."""
    rows = GATES[kind] * width
    scale = width**-0.5
    shapes = ((rows, width), (rows, width), (rows,), (rows,))
    sequence = (steps, batch, width)
    weights = 2 * rows * (width + 1)
    flops = 2 * steps * batch * rows * 2 * width * (3 if backward else 1)
    elements = (2 * steps * batch * width + weights) * (2 if backward else 1)
    return Case(
        name=f"{kind} {'forward+backward' if backward else 'forward'} T={steps} B={batch} H={width}",
        dtype=dtype,
        inputs=(Input(sequence, requires_grad=backward), Input(sequence), *(Input(shape, scale) for shape in shapes)),
        step=partial(_backward if backward else _forward, kind),
        work=work_of(flops, elements, dtype),
        length=steps * batch if backward else width,
        unit="ms",
        gives_gradients=backward,
    )


def _layer(kind, lib, data, weights):
    """The layer as people make it, with the given weights."""
    layer = getattr(lib.nn, kind)(data.shape[-1], data.shape[-1], device=data.device, dtype=data.dtype)
    with lib.no_grad():
        for parameter, weight in zip(layer.parameters(), weights, strict=True):
            parameter.copy_(weight)
    return layer


def _forward(kind, lib, data, _, *weights):
    layer = _layer(kind, lib, data, weights)

    def step():
        with lib.no_grad():
            return layer(data)[0]

    return step


def _backward(kind, lib, data, grad, *weights):
    layer = _layer(kind, lib, data, weights)
    wanted = (data, *layer.parameters())
    return lambda: lib.autograd.grad(layer(data)[0], wanted, grad)
