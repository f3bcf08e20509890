"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_not_negative, check_rate
from tritorch.optim.elementwise import Elementwise, number, scalar


class ASGD(Elementwise):
    """Gradient descent with a fading rate eta = lr / (1 + lambd lr step)^alpha, that also averages the values.

    Each step shrinks the value by lambd eta. The average, `ax` in the state, takes in all values from step `t0` on.
    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    op = TABLE["asgd_step"]
    scalars = ("step", "eta", "mu")
    uncounted = (1, 1)

    def __init__(self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, foreach=None, maximize=False,
                 differentiable=False, capturable=False, *, master_weights=False):  # fmt: skip
        check_rate(lr)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The average."""
        return ["ax"]

    def start(self, parameter, state, group):
        """Also the rate, and the share of a new value in the average."""
        state["step"], state["eta"], state["mu"] = scalar(0), scalar(float(group["lr"])), scalar(1)
        self.add_buffers(parameter, state, group)

    def advance(self, state, group):
        """Count the step; gives its rate and share, and works out those of the next one."""
        step = super().advance(state, group)
        eta, mu = state["eta"].array, state["mu"].array
        now = float(eta), float(mu)
        rates = float(group["lr"]), group["lambd"], group["alpha"], group["t0"]
        eta[...], mu[...] = self.op.following(step, *rates)
        return now

    def options(self, group, progress):
        """Of the op; `progress` is the rate and the share of this step."""
        names = "lr", "lambd", "alpha", "t0", "weight_decay"
        return *[number(group[each], group) for each in names], group["maximize"], *progress
