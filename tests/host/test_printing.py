"""Tensors print as PyTorch prints them; every expectation here was printed by PyTorch 2.13."""

from __future__ import annotations

import pytest

import tritorch as torch


@pytest.fixture(autouse=True)
def on_the_cpu():
    with torch.device("cpu"):
        yield
    torch.set_printoptions(profile="default")


NAN, INF = float("nan"), float("inf")
TEXTS = {
    "tensor([1., 2.])": lambda: torch.tensor([1.0, 2]),
    "tensor([1.5000, 2.2500])": lambda: torch.tensor([1.5, 2.25]),
    "tensor(3)": lambda: torch.tensor(3),
    "tensor(2.5000)": lambda: torch.tensor(2.5),
    "tensor([ True, False])": lambda: torch.tensor([True, False]),
    "tensor([])": lambda: torch.tensor([]),
    "tensor([], size=(0, 3))": lambda: torch.zeros(0, 3),
    "tensor([], size=(3, 0, 2), dtype=torch.int64)": lambda: torch.zeros(3, 0, 2, dtype=torch.int64),
    "tensor([1.0000e-05, 1.0000e+00])": lambda: torch.tensor([1e-5, 1.0]),
    "tensor([nan, inf, 1.])": lambda: torch.tensor([NAN, INF, 1.0]),
    "tensor([   nan,    inf, 1.5000])": lambda: torch.tensor([NAN, INF, 1.5]),
    "tensor([ -1.5000,  22.7500, 333.1250])": lambda: torch.tensor([-1.5, 22.75, 333.125]),
    "tensor([0., 0.])": lambda: torch.zeros(2),
    "tensor([[ 1,  2],\n        [30, -4]])": lambda: torch.tensor([[1, 2], [30, -4]]),
    "tensor([1, 2], dtype=torch.uint8)": lambda: torch.tensor([1, 2], dtype=torch.uint8),
    "tensor([1.5000, 2.0938], dtype=torch.bfloat16)": lambda: torch.tensor([1.5, 2.1], dtype=torch.bfloat16),
    "tensor([[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]])": lambda: torch.arange(8).view(
        2, 2, 2
    ),
    "tensor([   0,    1,    2,  ..., 1998, 1999, 2000])": lambda: torch.arange(2001),
    "tensor([1., 1.], requires_grad=True)": lambda: torch.ones(2, requires_grad=True),
    "tensor([2., 2.], grad_fn=<AddBackward0>)": lambda: torch.ones(2, requires_grad=True) + 1,
    "tensor([0.5000, 0.5000], grad_fn=<DivBackward0>)": lambda: torch.ones(2, requires_grad=True) / 2,
    "tensor([1., 1.], dtype=torch.float64, grad_fn=<ToCopyBackward0>)": (
        lambda: torch.ones(2, requires_grad=True).double()
    ),
    "tensor([1., 1.], device='interpreter')": lambda: torch.ones(2, device="interpreter"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_prints(text):
    assert repr(TEXTS[text]()) == text


def test_corners_of_a_large_matrix():
    lines = repr(torch.arange(2000.0).reshape(40, 50)).split("\n")
    assert len(lines) == 13  # two lines for each of six rows, one for the dots
    assert lines[0] == "tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 4.7000e+01, 4.8000e+01,"
    assert lines[1] == "         4.9000e+01],"


def test_long_rows_are_broken():
    assert repr(torch.arange(25)) == (
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24])"
    )


def test_options():
    torch.set_printoptions(precision=2)
    assert repr(torch.tensor([1.23456])) == "tensor([1.23])"
    torch.set_printoptions(sci_mode=True)
    assert repr(torch.tensor([1.5])) == "tensor([1.50e+00])"
    torch.set_printoptions(profile="default", threshold=3, edgeitems=1)
    assert repr(torch.arange(9)) == "tensor([0,  ..., 8])"
    with pytest.raises(ValueError, match="default, short, full"):
        torch.set_printoptions(profile="long")


def test_zeros_are_never_scientific():
    torch.set_printoptions(sci_mode=True)
    assert repr(torch.zeros(2)) == "tensor([0., 0.])"


def test_one_number_is_formatted_as_a_number():
    leaf = torch.tensor(2.5, requires_grad=True)
    assert f"{leaf:.2f}" == "2.50" and f"{leaf}" == "2.5" and f"{torch.tensor(3):4d}" == "   3"
    for many in (torch.ones(2), torch.ones(1), torch.nn.Parameter(torch.tensor(2.5))):
        with pytest.raises(TypeError, match="unsupported format string"):
            f"{many:.2f}"
    assert leaf.__repr__(tensor_contents="...") == "tensor(..., requires_grad=True)"
