"""Adam, and AdamW, which takes the weight decay off the weights."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_betas, check_not_negative, check_rate, check_ways
from tritorch.optim.elementwise import Elementwise, number
from tritorch.tensor import Tensor


class Adam(Elementwise):
    """p - lr m / (sqrt(v) + eps), with moments of the gradient averaged by `betas` and freed of their bias.

    `foreach`, `fused` and `capturable` are taken and make no difference: a group is always one launch.
    Sources: Kingma, Ba, "Adam: a method for stochastic optimization", 2015; Reddi, Kale, Kumar, "On the convergence of
    Adam and beyond", 2018, for `amsgrad`.
    """

    op = TABLE["adam_step"]

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, foreach=None,
                 maximize=False, capturable=False, differentiable=False, fused=None,
                 decoupled_weight_decay=False, master_weights=False):  # fmt: skip
        lists = bool(foreach) and not capturable
        if lists and isinstance(lr, Tensor):
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_rate(lr)
        check_not_negative(epsilon=eps)
        _check_sizes(betas)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        _check_kinds(betas, lists)
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)
        check_ways(foreach, fused, differentiable)

    def buffers(self, group):
        """The two moments, and the largest second one for AMSGrad."""
        return ["exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None]

    def options(self, group, progress):
        """Of the op; `progress` is the number of the step."""
        values = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
        return (
            *[number(each, group) for each in values], group["decoupled_weight_decay"], group["maximize"],
            group["amsgrad"], progress,
        )  # fmt: skip


def _check_sizes(betas):
    for at, each in enumerate(betas):
        if isinstance(each, Tensor) and each.numel() != 1:
            raise ValueError(f"Tensor betas[{at}] must be 1-element")


def _check_kinds(betas, lists):
    """Refuse a number beside a tensor; `lists` says that foreach was asked for, which takes no tensors."""
    for kind in (float, Tensor):
        if all(isinstance(each, kind) for each in betas):
            break
    else:
        raise ValueError("betas must be either both floats or both Tensors")
    for at, each in enumerate(betas):
        if isinstance(each, Tensor) and lists:
            raise ValueError(f"betas[{at}] as a Tensor is not supported for capturable=False and foreach=True")


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves and not by way of the moments.

    Source: Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *,
                 maximize=False, foreach=None, capturable=False, differentiable=False, fused=None,
                 master_weights=False):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True, master_weights=master_weights,
        )  # fmt: skip

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:  # whatever optimizer the state comes from
            group["decoupled_weight_decay"] = True
