"""Adamax: Adam by the largest gradient in the place of the mean square."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_betas, check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number


class Adamax(Elementwise):
    """p - lr m / u, with m the average of the gradient, freed of its bias, and u its largest size, fading by beta2.

    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Kingma, Ba, "Adam: a method for stochastic optimization", 2015, section 7.
    """

    op = TABLE["adamax_step"]

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, foreach=None, *, maximize=False,
                 differentiable=False, capturable=False, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(epsilon=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The average, and the largest size."""
        return ["exp_avg", "exp_inf"]

    def options(self, group, progress):
        """Of the op; `progress` is the number of the step."""
        values = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
        return *[number(each, group) for each in values], group["maximize"], progress
