"""Adam, and AdamW, which takes the weight decay off the weights."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.autograd.inplace import bump
from tritorch.ops.base import TABLE
from tritorch.optim.optimizer import Optimizer, alike, check_rate, check_ways, refuse
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor

AdamStep = TABLE["adam_step"]


class Adam(Optimizer):
    """p - lr m / (sqrt(v) + eps), with moments of the gradient averaged by `betas` and freed of their bias.

    `foreach`, `fused` and `capturable` are taken and make no difference: a group is always one launch.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, foreach=None,
                 maximize=False, capturable=False, differentiable=False, fused=None,
                 decoupled_weight_decay=False):  # fmt: skip
        lists = bool(foreach) and not capturable
        if lists and isinstance(lr, Tensor):
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_rate(lr)
        if eps < 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        betas = _checked_betas(betas, lists)
        refuse(type(self).__name__, differentiable)
        check_ways(foreach, fused)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, group):
        """One launch for all parameters of the group that are at the same step."""
        beta1, beta2 = (float(each) for each in group["betas"])
        numbers = (float(group["lr"]), beta1, beta2, float(group["eps"]), float(group["weight_decay"]),
                   group["decoupled_weight_decay"], group["maximize"], group["amsgrad"])  # fmt: skip
        names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"][: 3 if group["amsgrad"] else 2]
        for params in alike(group["params"]):
            steps: dict[int, list] = {}
            for each in params:
                steps.setdefault(self._next_step(each, names), []).append(each)
            for step, members in steps.items():
                moments = [self.state[each][name] for name in names for each in members]
                AdamStep.apply(*numbers, step, *members, *[each._grad for each in members], *moments)
            for each in params:
                bump(each)

    def _next_step(self, parameter, names):
        state = self.state[parameter]
        if not state:
            state["step"] = creation.wrap(np.zeros((), np.float32), CPU)
            for name in names:
                state[name] = creation.full_of("Adam", parameter.array.shape, 0, parameter.dtype, parameter.device)
        count = state["step"].array
        count += 1
        return int(count)


def _checked_betas(betas, lists):
    """The two decay rates as numbers; `lists` says that foreach was asked for, which takes no tensors."""
    for number, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{number}] must be 1-element")
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {number}: {beta}")
    first, second = betas
    if not any(isinstance(first, kind) and isinstance(second, kind) for kind in (float, Tensor)):
        raise ValueError("betas must be either both floats or both Tensors")
    if isinstance(first, Tensor) and lists:
        raise ValueError("betas[0] as a Tensor is not supported for capturable=False and foreach=True")
    return float(first), float(second)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves and not by way of the moments."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *,
                 maximize=False, foreach=None, capturable=False, differentiable=False, fused=None):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
