"""RAdam: Adam with a rectified step size."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_betas, check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number


class RAdam(Elementwise):
    """Adam whose first steps, while the variance of the gradients is unknown, are those of momentum, and then scaled.

    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.
    """

    op = TABLE["radam_step"]

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False, *,
                 foreach=None, maximize=False, capturable=False, differentiable=False,
                 master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(epsilon=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The two moments."""
        return ["exp_avg", "exp_avg_sq"]

    def options(self, group, progress):
        """Of the op; `progress` is the number of the step."""
        values = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
        return *[number(each, group) for each in values], group["decoupled_weight_decay"], group["maximize"], progress
