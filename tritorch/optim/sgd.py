"""Stochastic gradient descent."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate, check_ways
from tritorch.optim.elementwise import Elementwise, number


class SGD(Elementwise):
    """p - lr d, with d = g + weight_decay p, or with momentum d = v = momentum v + (1 - dampening) d; also Nesterov's.

    `foreach` and `fused` are taken and make no difference: a group is always one launch.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    op = TABLE["sgd_step"]
    scalars = ()

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False,
                 foreach=None, differentiable=False, fused=None, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, defaults, master_weights)
        check_ways(foreach, fused, differentiable)

    def buffers(self, group):
        """The velocity, with momentum."""
        return ["momentum_buffer" if group["momentum"] else None]

    @property
    def can_skip(self):
        """As of others, but with dampening the host has to know which step is the first."""
        return super().can_skip and not any(group["dampening"] for group in self.param_groups)

    def _by_progress(self, params, group):
        """Parameters that get their first gradient, whose velocity becomes it, and the others."""
        if not group["momentum"]:
            return {False: params}
        found: dict = {}
        for each in params:
            state = self.state[each]
            first = state.get("momentum_buffer") is None
            if first:
                state["momentum_buffer"] = self.filled(each, 0, group)
            found.setdefault(first, []).append(each)
        return found

    def options(self, group, progress):
        """Of the op; `progress` says that the velocities are new."""
        names = "lr", "momentum", "dampening", "weight_decay"
        return *[number(group[each], group) for each in names], group["nesterov"], group["maximize"], progress
