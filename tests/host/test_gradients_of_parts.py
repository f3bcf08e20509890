"""Gradients of parts of a tensor, which the engine writes side by side where it can, against one part at a time."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import grad, gradgradcheck
from tritorch.runtime.kernel import recording_launches

PARTS = {
    "chunks": lambda x: x.chunk(3, -1),
    "uneven": lambda x: x.split([1, 3, 2], -1),
    "some": lambda x: x.split([1, 3, 2], -1)[::2],
    "indices": lambda x: x.unbind(1),
    "backwards": lambda x: [x[-1], x[2], x[-4], x[1]],
    "outer first": lambda x: [x[0], x[3], x[1], x[2]],
    "overlapping": lambda x: [x[:3], x[1:], x[2], x[2]],
    "steps": lambda x: [x[::2], x[1::2]],
    "of two dimensions": lambda x: [x[1], x[:, 2], x[2:], x[0, 1], x[..., 3:]],
    "nothing": lambda x: [x[2:2], x[:2], x[4:], x[2:]],
    "and the whole": lambda x: [x[:2], x[2:], x, x[1]],
    "with new dimensions": lambda x: [x[None, 1], x[2:, None], x[3]],
}


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def weighted(parts, seeds):
    return sum((part * seed).sum() for part, seed in zip(parts, seeds, strict=True))


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("leaf", [True, False])
def test_parts(kind, leaf):
    x = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    inner = x if leaf else x * 1
    parts = PARTS[kind](inner)
    seeds = [torch.randn(*part.shape, dtype=torch.float64) for part in parts]
    expected = np.zeros((4, 5, 6))
    for part, seed in zip(parts, seeds, strict=True):
        expected += grad((part * seed).sum(), x, retain_graph=True)[0].numpy()
    total = weighted(parts, seeds)
    for _ in range(2):
        close(grad(total, x, retain_graph=True)[0], expected, gradient=True)
    total.backward()
    close(x.grad, expected, gradient=True)


def test_chunks_are_written_into_one_gradient(device):
    if device == "cpu":
        return  # which launches nothing
    x = torch.randn(4, 6, requires_grad=True)
    parts, seeds = x.chunk(3, 1), [torch.ones(4, 2) for _ in range(3)]
    with recording_launches() as launches:
        torch.autograd.backward(parts, seeds)
    assert [launch.kernel.__name__ for launch in launches].count("_fill") == 1
    assert not [launch for launch in launches if launch.kernel.__name__ == "pointwise_kernel"]


def test_a_seed_is_not_written_to():
    x = torch.randn(4, 3, requires_grad=True)
    seed = torch.ones(4, 3)
    y = x * 1
    torch.autograd.backward([y, y[0], y[1]], [seed, seed[0], seed[1]])
    assert seed.eq(1).all()
    assert x.grad.tolist() == [[2.0] * 3, [2.0] * 3, [1.0] * 3, [1.0] * 3]


def test_hooks_see_what_they_saw():
    x = torch.randn(4, 3, requires_grad=True)
    y = x * 1
    seen = []
    y.register_hook(lambda gradient: seen.append(gradient.tolist()))
    parts = y.unbind(0)
    parts[1].register_hook(lambda gradient: gradient * 5)
    parts[2].grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 2,))
    torch.stack(parts).sum().backward()
    assert x.grad[:, 0].tolist() == [1, 5, 2, 1]
    assert seen == [x.grad.tolist()]


def test_second_derivatives_go_through_parts():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x: x[0] ** 2 * x[1] + x[2] ** 3, [x])


def test_leaves_keep_their_gradients_apart():
    x, y = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    total = x + y
    (total[:2].sum() + total[2:].sum() * 2).backward()
    x.grad.add_(1)
    assert y.grad[:, 0].tolist() == [1, 1, 2, 2]
