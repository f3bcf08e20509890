"""Special functions that are made of others, or whose arguments are checked first."""

from __future__ import annotations

import math

from tritorch.autograd.grad_mode import state
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors


@export("polygamma", "special.polygamma", out=True)
def polygamma(n, input):
    """The derivative of order n of digamma."""
    need_tensors("polygamma", input=input)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return TABLE["digamma"].apply(input)
    factorial = float(math.factorial(n)) if n <= 170 else math.inf
    return TABLE["polygamma"].apply(n, factorial if n % 2 else -factorial, input)


@export("Tensor.polygamma")
def polygamma_method(self, n):
    """The derivative of order n of digamma."""
    return polygamma(n, self)


@export("mvlgamma", "Tensor.mvlgamma", "special.multigammaln", out=True)
def mvlgamma(input, p):
    """log of the multivariate gamma function: p (p - 1) / 4 log(pi) + the sum over j < p of lgamma(input - j / 2)."""
    need_tensors("mvlgamma", input=input)
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if not input.is_floating_point():
        input = input.to(TABLE["lgamma"].apply(input).dtype)
    found = TABLE["lgamma"].apply(input)
    for j in range(1, p):
        found = found + TABLE["lgamma"].apply(input - 0.5 * j)
    return found + p * (p - 1) / 4 * math.log(math.pi)


def _by_second(op, input, other):
    """A function of two tensors that has a gradient by the second only: refused where one by the first is wanted."""
    need_tensors(op, input=input, other=other)
    if state.recording and input.requires_grad:
        raise NotImplementedError(f"the derivative for '{op}: input' is not implemented.")
    return TABLE[op].apply(input, other)


@export("igamma", "Tensor.igamma", "special.gammainc", out=True)
def igamma(input, other):
    """The regularised lower incomplete gamma function; it has a gradient by `other` only."""
    return _by_second("igamma", input, other)


@export("igammac", "Tensor.igammac", "special.gammaincc", out=True)
def igammac(input, other):
    """The regularised upper incomplete gamma function; it has a gradient by `other` only."""
    return _by_second("igammac", input, other)
