"""Second derivatives of every op: the gradient, recorded, against differences of the gradient in float64."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

from tritorch.autograd import grad
from tritorch.ops.base import TABLE
from tritorch.runtime.device import CPU
from tritorch.validation import has_floating_input, is_differentiable, on_device, samples_of

STEP = 1e-6
# Central differences of doubles at this step resolve what float32 does.
RELATIVE, ABSOLUTE = tolerance("float32")
MOST_ELEMENTS = 400


def is_floating(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def usable(op, sample):
    floats = [each for each in sample if is_floating(each)]
    small = sum(each.size for each in floats) <= MOST_ELEMENTS
    finite = all(np.isfinite(each).all() for each in floats)
    return small and finite and has_floating_input(sample) and op.differentiable_at(*sample)


def gradients(op, sample, record):
    """The tensors of a sample and the gradient by each of a fixed combination of the results."""
    args = [on_device(each, CPU, True) for each in sample]
    results = op.apply(*args)
    results = [r for r in (results if isinstance(results, tuple) else (results,)) if r.requires_grad]
    wanted = [arg for arg in args if getattr(arg, "requires_grad", False)]
    random = np.random.default_rng(1)
    seeds = [on_device(np.asarray(random.standard_normal(r.shape)), CPU) for r in results]
    return wanted, grad(results, wanted, seeds, allow_unused=True, create_graph=record)


def moved(sample, directions, distance):
    """The sample, its floating arrays moved along their directions."""
    steps = iter(directions)
    return [np.asarray(each + distance * next(steps)) if is_floating(each) else each for each in sample]


def check(op, sample):
    wanted, recorded = gradients(op, sample, True)
    _, plain = gradients(op, sample, False)
    for a, b in zip(recorded, plain, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.allclose(a.detach().numpy(), b.numpy(), RELATIVE, ABSOLUTE)
    chosen = [at for at, each in enumerate(recorded) if each is not None and each.requires_grad]
    if not chosen:
        return
    random = np.random.default_rng(2)
    weights = [np.asarray(random.standard_normal(recorded[at].shape)) for at in chosen]
    # An argument without a gradient, such as class weights, is not moved.
    directions = [
        np.asarray(random.standard_normal(tensor.shape)) * (gradient is not None)
        for tensor, gradient in zip(wanted, recorded, strict=True)
    ]
    second = grad([recorded[at] for at in chosen], wanted, [on_device(w, CPU) for w in weights], allow_unused=True)
    parts = [(s.numpy() * d).sum() for s, d in zip(second, directions, strict=True) if s is not None]

    def value(distance):
        _, found = gradients(op, moved(sample, directions, distance), False)
        return sum((found[at].numpy() * w).sum() for at, w in zip(chosen, weights, strict=True))

    numeric = (value(STEP) - value(-STEP)) / (2 * STEP)
    assert abs(sum(parts) - numeric) <= ABSOLUTE + RELATIVE * (1 + abs(numeric) + sum(map(abs, parts)))


@pytest.mark.parametrize("name", sorted(name for name, op in TABLE.items() if is_differentiable(op)))
def test_second_derivative(name):
    op = TABLE[name]
    for sample in samples_of(op, np.float64):
        if usable(op, sample):
            check(op, sample)
