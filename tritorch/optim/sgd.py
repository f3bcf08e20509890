"""Stochastic gradient descent."""

from __future__ import annotations

from tritorch import creation
from tritorch.autograd.inplace import bump
from tritorch.ops.base import TABLE
from tritorch.optim.optimizer import Optimizer, alike, check_rate, check_ways, refuse
from tritorch.runtime import transfer

SgdStep = TABLE["sgd_step"]


class SGD(Optimizer):
    """p - lr d, with d = g + weight_decay p, or with momentum d = v = momentum v + (1 - dampening) d; also Nesterov's.

    `foreach` and `fused` are taken and make no difference: a group is always one launch.
    """

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False,
                 foreach=None, differentiable=False, fused=None):  # fmt: skip
        check_rate(lr)
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        refuse("SGD", differentiable)
        check_ways(foreach, fused)
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, group):
        """One launch for all parameters of the group; those that get their first gradient take another."""
        lr, momentum = float(group["lr"]), float(group["momentum"])
        numbers = (lr, momentum, float(group["dampening"]), float(group["weight_decay"]), group["nesterov"],
                   group["maximize"])  # fmt: skip
        for params in alike(group["params"]):
            if not momentum:
                SgdStep.apply(*numbers, False, *params, *[each._grad for each in params])
            else:
                fresh = [each for each in params if self.state[each].get("momentum_buffer") is None]
                for each in fresh:
                    array = transfer.empty(each.array.shape, each.array.dtype, each.device)
                    self.state[each]["momentum_buffer"] = creation.wrap(array, each.device)
                self._update_velocities((*numbers, True), fresh)
                new = set(map(id, fresh))
                self._update_velocities((*numbers, False), [each for each in params if id(each) not in new])
            for each in params:
                bump(each)

    def _update_velocities(self, numbers, params):
        if params:
            velocities = [self.state[each]["momentum_buffer"] for each in params]
            SgdStep.apply(*numbers, *params, *[each._grad for each in params], *velocities)
