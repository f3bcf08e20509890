"""Adagrad: gradients divided by the root of the sum of their squares."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate, check_ways
from tritorch.optim.elementwise import Elementwise, number, scalar


class Adagrad(Elementwise):
    """p - lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps), with s `initial_accumulator_value` plus the sum of g^2.

    `foreach` and `fused` are taken and make no difference: a group is always one launch.
    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.
    """

    op = TABLE["adagrad_step"]

    def __init__(self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10,
                 foreach=None, *, maximize=False, differentiable=False, fused=None, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(
            lr_decay=lr_decay, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value,
            epsilon=eps,
        )  # fmt: skip
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)
        check_ways(foreach, fused, differentiable)
        for group in self.param_groups:
            for each in group["params"]:
                self.start(each, self.state[each], group)

    def share_memory(self):
        """Move the sums into shared memory, for processes that train together."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def buffers(self, group):
        """The sum of squares."""
        return ["sum"]

    def start(self, parameter, state, group):
        """The sum begins with `initial_accumulator_value`."""
        state["step"] = scalar(0)
        state["sum"] = self.filled(parameter, self.defaults["initial_accumulator_value"], group)

    def options(self, group, progress):
        """Of the op; `progress` is the number of the step."""
        names = "lr", "lr_decay", "eps", "weight_decay"
        return *[number(group[each], group) for each in names], group["maximize"], progress
