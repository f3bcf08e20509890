"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_betas, check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number, scalar


class NAdam(Elementwise):
    """Adam that moves along the gradient and the moment it will be part of, with a momentum that grows towards beta1.

    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    op = TABLE["nadam_step"]
    scalars = ("step", "mu_product")
    uncounted = (0.5, 1)

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
                 decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(epsilon=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The two moments."""
        return ["exp_avg", "exp_avg_sq"]

    def start(self, parameter, state, group):
        """Also the product of the momenta so far."""
        state["step"], state["mu_product"] = scalar(0), scalar(1)
        self.add_buffers(parameter, state, group)

    def advance(self, state, group):
        """Count the step, and multiply its momentum to the others'."""
        step = super().advance(state, group)
        product = state["mu_product"].array
        product *= float(group["betas"][0]) * (1 - 0.5 * 0.96 ** (step * float(group["momentum_decay"])))
        return float(product), step

    def options(self, group, progress):
        """Of the op; `progress` is the product of the momenta and the number of the step."""
        values = group["lr"], *group["betas"], group["eps"], group["weight_decay"], group["momentum_decay"]
        return *[number(each, group) for each in values], group["decoupled_weight_decay"], group["maximize"], *progress
