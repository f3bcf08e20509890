"""Stochastic gradient descent."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate, check_ways
from tritorch.optim.elementwise import Elementwise, number, scalar


class SGD(Elementwise):
    """p - lr d, with d = g + weight_decay p, or with momentum d = v = momentum v + (1 - dampening) d; also Nesterov's.

    `foreach` and `fused` are taken and make no difference: a group is always one launch.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    op = TABLE["sgd_step"]
    scalars = ("new",)
    uncounted = True

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
        self._news: dict = {}  # of parameters whose steps the device may skip: whether the velocity is new, as a scalar
        super().__init__(params, defaults, master_weights)
        check_ways(foreach, fused, differentiable)

    def buffers(self, group):
        """The velocity, with momentum."""
        return ["momentum_buffer" if group["momentum"] else None]

    def _is_counted(self, parameter, group, found):
        """As of others, but without dampening a velocity of zeros does for a new one."""
        return bool(group["momentum"] and group["dampening"]) and super()._is_counted(parameter, group, found)

    def holder(self, parameter, group):
        """Whether a velocity is new, which the host does not know where the device may have skipped steps."""
        is_new = self._start_velocity(parameter, group)
        if is_new or parameter not in self._news:
            self._news[parameter] = {"new": scalar(is_new)}
        return self._news[parameter]

    def _start_velocity(self, parameter, group):
        """Whether there was none."""
        state = self.state[parameter]
        if state.get("momentum_buffer") is not None:
            return False
        state["momentum_buffer"] = self.filled(parameter, 0, group)
        return True

    def _settle(self):
        """Learn from the device which velocities are still new, which is waited for, and forget those."""
        for parameter, own in self._news.items():
            if own["new"].item():
                self.state[parameter].pop("momentum_buffer", None)
        self._news.clear()
        self._sharing.clear()

    def state_dict(self):
        """As of others, with the velocities of those that took a step."""
        self._settle()
        return super().state_dict()

    def __getstate__(self):
        self._settle()
        return super().__getstate__()

    def __setstate__(self, state):
        self._news: dict = {}
        super().__setstate__(state)

    def _by_progress(self, params, group):
        """Parameters that get their first gradient, whose velocity becomes it, and the others."""
        if not group["momentum"]:
            return {False: params}
        found: dict = {}
        for each in params:
            found.setdefault(self._start_velocity(each, group), []).append(each)
        return found

    def options(self, group, progress):
        """Of the op; `progress` says that the velocities are new."""
        names = "lr", "momentum", "dampening", "weight_decay"
        return *[number(group[each], group) for each in names], group["nesterov"], group["maximize"], progress
