"""RMSprop: gradients divided by the root of their mean square."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number


class RMSprop(Elementwise):
    """p - lr g / (sqrt(v) + eps), with v the average of g^2 by `alpha`; also with momentum, and centered.

    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Sources: Hinton, lecture 6 of "Neural networks for machine learning", 2012; Graves, "Generating sequences with
    recurrent neural networks", 2013, for `centered`.
    """

    op = TABLE["rmsprop_step"]

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False,
                 capturable=False, foreach=None, maximize=False, differentiable=False,
                 *, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The mean square; with momentum what it carries; centered, the mean."""
        moving, centered = group["momentum"] > 0, group["centered"]
        return ["square_avg", "momentum_buffer" if moving else None, "grad_avg" if centered else None]

    def options(self, group, progress):
        """Of the op, which does not depend on the number of the step."""
        names = "lr", "alpha", "eps", "weight_decay", "momentum"
        return *[number(group[each], group) for each in names], group["centered"], group["maximize"]
