"""Steps of optimizers beside the same steps in NumPy."""

from __future__ import annotations

import numpy as np
from tolerances import tolerance

import tritorch as torch

SHAPES = ((3, 4), (5,), ())


def parameters(device="cpu", dtype=torch.float32):
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in SHAPES]
    return arrays, [torch.tensor(each, dtype=dtype, device=device).requires_grad_() for each in arrays]


def run(make, formula, device="cpu", dtype=torch.float32, steps=4):
    """Take steps with random gradients beside `formula(value, gradient, state, step)`, and compare."""
    arrays, params = parameters(device, dtype)
    optimizer, random = make(params), np.random.default_rng(1)
    states: list[dict] = [{} for _ in arrays]
    for step in range(1, steps + 1):
        for at, param in enumerate(params):
            gradient = random.standard_normal(param.shape)
            param.grad = torch.tensor(gradient, dtype=dtype, device=device)
            arrays[at] = formula(arrays[at], gradient, states[at], step)
        optimizer.step()
    relative, absolute = tolerance(dtype, length=4)
    for expected, param in zip(arrays, params, strict=True):
        np.testing.assert_allclose(param.detach().numpy().astype(np.float64), expected, rtol=relative, atol=absolute)
    return optimizer
