"""Draws of counts and of Gamma variables: means, spreads, exact chances, refusals, gradients."""

from __future__ import annotations

import math

import pytest
from tolerances import close

import tritorch as torch


@pytest.fixture(autouse=True)
def seeded():
    with torch.device("cpu"):
        torch.manual_seed(5)
        yield


@pytest.mark.parametrize("rate", [0.3, 4.0, 300.0])
def test_poisson_has_its_mean_and_variance(rate):
    drawn = torch.poisson(torch.full((20000,), rate)).double()
    for found in (drawn.mean().item(), drawn.var().item()):
        assert abs(found - rate) < 5 * math.sqrt(rate * (1 + 2 * rate) / 20000)


def test_poisson_chances_are_the_formula():
    drawn = torch.poisson(torch.full((50000,), 2.5))
    for count in range(6):
        chance = math.exp(-2.5) * 2.5**count / math.factorial(count)
        assert abs((drawn == count).double().mean().item() - chance) < 5 * math.sqrt(chance / 50000)
    assert torch.poisson(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert torch.poisson(torch.ones(2).half()).dtype is torch.float16


def test_draws_repeat_from_a_generator():
    rates = torch.full((9,), 7.0)
    draws = [torch.poisson(rates, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*draws)


def test_binomial_counts_successes():
    count, chance = torch.tensor([0.0, 10.0, 10.0, 10.0]), torch.tensor([0.5, 0.0, 1.0, 0.3])
    drawn = torch.stack([torch.binomial(count, chance) for _ in range(2000)])
    assert drawn[:, 0].max() == 0 and drawn[:, 1].max() == 0 and drawn[:, 2].min() == 10
    assert abs(drawn[:, 3].mean().item() - 3) < 5 * math.sqrt(2.1 / 2000)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: torch.poisson(torch.ones(3).long()),
            NotImplementedError,
            "\"poisson_cpu\" not implemented for 'Long'",
        ),
        (lambda: torch.poisson(-torch.ones(3)), RuntimeError, "expected rate to be non-negative"),
        (lambda: torch.binomial(torch.ones(3).long(), torch.ones(3)), ValueError, "dtypes for count, got: Long"),
        (
            lambda: torch.binomial(torch.ones(3), torch.ones(3).double()),
            RuntimeError,
            "Found dtype Double",
        ),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("shape", [0.3, 1.0, 20.0])
def test_gamma_has_its_mean_and_variance(shape):
    drawn = torch._standard_gamma(torch.full((20000,), shape)).double()
    for found in (drawn.mean().item(), drawn.var().item()):
        assert abs(found - shape) < 5 * math.sqrt(shape * (6 + 2 * shape) / 20000)


def test_gamma_moves_with_its_shape_along_the_same_chance():
    shape = torch.tensor([0.3, 1.0, 5.0, 60.0], dtype=torch.float64, requires_grad=True)
    drawn = torch._standard_gamma(shape)
    drawn.sum().backward()
    x, step = drawn.detach(), 1e-6
    moved = x + step * shape.grad
    close(torch.igamma(shape.detach() + step, moved), torch.igamma(shape.detach(), x))
