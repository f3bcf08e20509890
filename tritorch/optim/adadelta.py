"""Adadelta: steps as large as the last ones were, whatever the unit of the gradient."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number


class Adadelta(Elementwise):
    """p - lr d, with d = sqrt(u + eps) / sqrt(v + eps) g, where v averages g^2 and u averages d^2, both by `rho`.

    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Zeiler, "Adadelta: an adaptive learning rate method", 2012.
    """

    op = TABLE["adadelta_step"]

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, foreach=None, *, capturable=False,
                 maximize=False, differentiable=False, master_weights=False):  # fmt: skip
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(epsilon=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The average squares of gradients and of steps."""
        return ["square_avg", "acc_delta"]

    def options(self, group, progress):
        """Of the op, which does not depend on the number of the step."""
        return *[number(group[each], group) for each in ("lr", "rho", "eps", "weight_decay")], group["maximize"]
