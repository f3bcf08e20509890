"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

import math

from tritorch.functional.linear_algebra import addmm
from tritorch.optim.checks import check_one_element
from tritorch.optim.optimizer import Optimizer
from tritorch.runtime import dtypes


def _original(rows, columns):
    return math.sqrt(max(1, rows / columns))


def _match_rms_adamw(rows, columns):
    return 0.2 * math.sqrt(max(rows, columns))


_RATES = {None: _original, "original": _original, "match_rms_adamw": _match_rms_adamw}


class Muon(Optimizer):
    """p (1 - lr weight_decay) - r lr O(u), for matrices alone, with O(u) the orthogonal matrix nearest to u.

    u is the average m of the gradient by `momentum`, or with `nesterov` the average of g and m. O(u) is approached by
    `ns_steps` iterations x = a x + (b G + c G G) x, G = x x^T, in bfloat16, where `ns_coefficients` are (a, b, c). The
    ratio r is sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)) if `adjust_lr_fn` is "match_rms_adamw".
    A composition of ops: each iteration multiplies matrices, which one launch over all parameters cannot.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    can_skip = True

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True,
                 ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, ns_steps=5, adjust_lr_fn=None):  # fmt: skip
        check_one_element(lr)
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in _RATES:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for each in group["params"]:
                if each.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {each.size()}"
                    )

    def update(self, group):
        """One matrix after the other."""
        for each in group["params"]:
            gradient = each._grad
            if gradient is None:
                continue
            if gradient.ndim != 2:
                raise ValueError("Param gradient must be a 2D matrix")
            state = self.state[each]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = gradient.new_zeros(gradient.shape)
            with self.skippable(each):
                self._update(each, gradient, state["momentum_buffer"], group)

    @staticmethod
    def _update(parameter, gradient, average, group):
        lr, momentum = float(group["lr"]), group["momentum"]
        average.lerp_(gradient, 1 - momentum)
        change = gradient.lerp(average, momentum) if group["nesterov"] else average
        change = orthogonal(change, group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - lr * group["weight_decay"])
        parameter.add_(change.to(parameter.dtype), alpha=-lr * _RATES[group["adjust_lr_fn"]](*parameter.shape))


def orthogonal(matrix, coefficients, steps, eps):
    """The orthogonal matrix nearest to one, roughly: its singular values come to lie around 1.

    Newton and Schulz's iteration with a polynomial of fifth degree, in bfloat16. The matrix is divided by its norm, or
    by `eps` if that is larger. Sums are computed in float32 and rounded once each, in the launches of the products.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)  # the smaller of the two products is the one to work with
    x = (matrix.T if tall else matrix).to(dtypes.bfloat16)
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = addmm(x, addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
