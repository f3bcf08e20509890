"""In-place calls on device="cuda" of the stub: one launch, no copy, nothing allocated, also when a plan replays."""

from __future__ import annotations

import bridge
import numpy as np
import pytest

import tritorch as torch
from tritorch.runtime.cuda import memory
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture
def launched(interpreted, compiled_once):
    """The grid of each launch; launches are interpreted as before."""
    found = []

    def look(kernel, grid, args, constants, options):
        found.append(kernel.__name__)
        bridge.interpret_launch(kernel, grid, args, constants, options)

    before = set_launch_hook(look)
    yield found
    set_launch_hook(before)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CHANGES = {
    "add": (lambda x, y: x.add_(y), lambda x, y: x + y),
    "alpha": (lambda x, y: x.add_(y, alpha=-0.5), lambda x, y: x - np.float32(0.5) * y),
    "scaled": (lambda x, y: x.mul_(0.5), lambda x, y: x * np.float32(0.5)),
    "row": (lambda x, y: x.mul_(y[0]), lambda x, y: x * y[0]),
    "relu": (lambda x, y: x.relu_(), lambda x, y: np.maximum(x, 0)),
    "part": (lambda x, y: x[:, 1:].sub_(y[:, 1:]), lambda x, y: np.concatenate([x[:, :1], (x - y)[:, 1:]], 1)),
    "turned": (lambda x, y: x.t().add_(y.t()), lambda x, y: x + y),
    "cast": (lambda x, y: x.copy_(y.to(torch.float64)), lambda x, y: y),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_launch_and_no_memory(name, launched, stub):
    change, expected = CHANGES[name]
    start, other = numbers(6, 40), numbers(6, 40, seed=1)
    x, y = torch.tensor(start, device="cuda"), torch.tensor(other, device="cuda")
    for _ in range(4):  # from the third time on by a plan
        if name == "cast":
            y = torch.tensor(other.astype(np.float64), device="cuda")
            change = lambda x, y: x.copy_(y)  # noqa: E731
        before, pointer = x.cpu().numpy(), x.array.pointer
        launched.clear()
        held = memory.memory_allocated()
        memory.reset_peak_memory_stats()
        change(x, y)
        assert len(launched) == 1
        assert memory.max_memory_allocated() == held
        assert x.array.pointer == pointer
        np.testing.assert_allclose(x.cpu().numpy(), expected(before, other), rtol=1e-6, atol=1e-6)


def test_overlapping_elements_go_by_a_copy(launched):
    x = torch.tensor(numbers(8), device="cuda")
    before = x.cpu().numpy()
    x[1:].add_(x[:-1])
    np.testing.assert_allclose(x.cpu().numpy()[1:], before[1:] + before[:-1], rtol=1e-6)
