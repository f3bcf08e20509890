"""Rprop: steps by the sign of the gradient alone."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.optim.checks import check_rate
from tritorch.optim.elementwise import Elementwise, number


class Rprop(Elementwise):
    """p - sign(g) s, with a step size s for each element, `lr` at first.

    s is multiplied by the larger of `etas` while the gradient keeps its sign and by the smaller when it changes, and
    kept within `step_sizes`. For whole batches: the noise of small ones is all sign.
    `foreach` and `capturable` are taken and make no difference: a group is always one launch.
    Source: Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning", 1993.
    """

    op = TABLE["rprop_step"]

    def __init__(self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), *, capturable=False, foreach=None,
                 maximize=False, differentiable=False, master_weights=False):  # fmt: skip
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults, master_weights)

    def buffers(self, group):
        """The gradient before, and the step sizes."""
        return ["prev", "step_size"]

    def start(self, parameter, state, group):
        """All step sizes are `lr`."""
        super().start(parameter, state, group)
        state["step_size"] = self.filled(parameter, float(group["lr"]), group)

    def options(self, group, progress):
        """Of the op, which does not depend on the number of the step."""
        return *[number(each, group) for each in (*group["etas"], *group["step_sizes"])], group["maximize"]
