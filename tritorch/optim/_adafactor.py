"""Adafactor: mean squares of gradients kept as a row and a column for each matrix."""

from __future__ import annotations

import math

from tritorch.optim.checks import check_one_element
from tritorch.optim.elementwise import scalar
from tritorch.optim.optimizer import Optimizer
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU
from tritorch.runtime.limits import finfo


class Adafactor(Optimizer):
    """p - a u / max(1, rms(u) / d), with u = g / sqrt(v) and a = max(eps2, rms(p)) min(lr, 1 / sqrt(step)).

    v averages g^2, by 1 - step^beta2_decay. Of a matrix it keeps only the means of rows and columns, R and C, and is
    R C / mean(R): memory for m + n numbers in the place of m n. `eps` is (eps1, eps2); v is at least eps1^2, where
    None stands for the smallest step of the dtype at 1. Weight decay is taken off the weights.
    A composition of ops: the means of rows, columns and whole tensors have to be there before the first element can
    move, so that one launch cannot do. `foreach` is taken and makes no difference. Steps are counted on the host until
    a GradScaler lets the device decide whether they are taken.
    Source: Shazeer, Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.
    """

    can_skip = True

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, *, foreach=None,
                 maximize=False):  # fmt: skip
        check_one_element(lr)
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, group):
        """One parameter after the other."""
        for each in group["params"]:
            if each._grad is None:
                continue
            state = self.state[each]
            if not state:
                self._start(each._grad, state)
            if self.found_inf is not None:
                state["step"] = state["step"].to(each.device)
            with self.skippable(each):
                self._update(each, -each._grad if group["maximize"] else each._grad, state, group)

    def _update(self, parameter, gradient, state, group):
        lr, (eps1, eps2) = float(group["lr"]), group["eps"]
        smallest = finfo(parameter.dtype).eps if eps1 is None else eps1
        state["step"] += 1
        share, most = _share_and_rate(state["step"], group["beta2_decay"], lr, gradient.dtype)
        rate = _mean_size(parameter).clamp(min=eps2) * most
        if group["weight_decay"]:
            parameter.mul_(1 - lr * group["weight_decay"])
        squares = self._squares(gradient, state, share, smallest)
        change = squares.clamp(min=smallest * smallest).rsqrt() * gradient
        parameter.sub_(change * (rate / (_mean_size(change) / group["d"]).clamp(min=1.0)))

    def _start(self, gradient, state):
        state["step"] = scalar(0)
        if gradient.dim() > 1:
            state["row_var"] = gradient.new_zeros((*gradient.shape[:-1], 1))
            state["col_var"] = gradient.new_zeros((*gradient.shape[:-2], 1, gradient.shape[-1]))
        else:
            state["variance"] = gradient.new_zeros(gradient.shape)

    @staticmethod
    def _squares(gradient, state, share, smallest):
        """Bring the averages up to date; gives the mean squares that they stand for."""
        squares = gradient * gradient
        if gradient.dim() < 2:
            return state["variance"].lerp_(squares, share)
        rows = state["row_var"].lerp_(squares.mean(dim=-1, keepdim=True), share)
        columns = state["col_var"].lerp_(squares.mean(dim=-2, keepdim=True), share)
        return rows @ columns / rows.mean(dim=-2, keepdim=True).clamp(min=smallest)


def _share_and_rate(count, decay, lr, dtype):
    """The share of a gradient in the averages, and the rate: numbers, or tensors on the device that counts."""
    if count.device is CPU:
        step = count.item()
        return step**decay, min(lr, 1 / math.sqrt(step))
    step = count.to(dtypes.float64)
    return (step**decay).to(dtype), (1 / step.sqrt()).clamp(max=lr).to(dtype)


def _mean_size(tensor):
    """The root of the mean square, as a tensor: a GPU need not be waited for."""
    return tensor.norm(2) / math.sqrt(tensor.numel())
