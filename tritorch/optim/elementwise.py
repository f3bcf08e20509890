"""Elementwise: the optimizers whose step is one formula of single elements, run by one op over a whole group."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.autograd.inplace import bump
from tritorch.optim.optimizer import Optimizer, alike
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor


class Elementwise(Optimizer):
    """Base of the optimizers that take a step with one launch for all parameters of a group that are alike.

    A member names its op and gives `buffers` and `options`, and where its count of steps is not all that a parameter
    remembers beside its buffers, `start` and `advance`.
    """

    op: type

    def __setstate__(self, state):
        super().__setstate__(state)
        for own in self.state.values():
            for name in self.scalars if isinstance(own, dict) else ():
                if isinstance(own.get(name), (int, float)):  # as old checkpoints have them
                    own[name] = scalar(own[name])

    def buffers(self, group):
        """The names of the op's states, in its order, None for those that the group's options do without."""
        raise NotImplementedError(f"{type(self).__name__} does not say which buffers it has")

    def options(self, group, progress):
        """The op's options, with what `advance` said of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not say which options its op has")

    def start(self, parameter, state, group):
        """Fill the state of a parameter that takes its first step."""
        state["step"] = scalar(0)
        self.add_buffers(parameter, state, group)

    def add_buffers(self, parameter, state, group):
        """The buffers, full of zeros."""
        for name in self.buffers(group):
            if name is not None:
                state[name] = self.filled(parameter, 0)

    def advance(self, state, group):
        """Count the step; gives what the step depends on and parameters can differ in."""
        count = state["step"].array
        count += 1
        return int(count)

    def filled(self, parameter, value):
        """A tensor like the parameter, strides and all, full of one value."""
        return creation.like(type(self).__name__, parameter, value, None, None, False)

    def update(self, group):
        """One launch for all parameters of the group that are alike and equally far."""
        names = [name for name in self.buffers(group) if name is not None]
        for params in alike(group["params"]):
            for progress, members in self._by_progress(params, group).items():
                if group["differentiable"]:
                    self._update_recorded(group, progress, members)
                    continue
                states = [self.state[each] for each in members]
                buffers = [state[name] for name in names for state in states]
                self.op.apply(*self.options(group, progress), *members, *[each._grad for each in members], *buffers)
                for each in members:
                    bump(each)

    def _by_progress(self, params, group):
        found: dict = {}
        for each in params:
            state = self.state[each]
            if not state:
                self.start(each, state, group)
            found.setdefault(self.advance(state, group), []).append(each)
        return found

    def _update_recorded(self, group, progress, members):
        """The same by the formula on Tensors, op by op, all of which autograd records."""
        plan = self.op.plan(*self.options(group, progress))
        names = self.buffers(group)
        for each in members:
            state = self.state[each]
            tensors = [each, each._grad, *[state.get(name) for name in names]]
            value, *states = self.op.step.fn(*tensors, *plan.numbers, *plan.flags)
            each.copy_(value)
            state.update((name, new) for name, new in zip(names, states, strict=True) if name is not None)


def scalar(value):
    """A number of the state, such as the count of steps: on the host, float64 if that is the default dtype."""
    wide = dtypes.get_default_dtype() is dtypes.float64
    return creation.wrap(np.full((), value, np.float64 if wide else np.float32), CPU)


def number(value, group):
    """An option as a float; a tensor stays one where the step is recorded, so that gradients reach it."""
    return value if isinstance(value, Tensor) and group["differentiable"] else float(value)
