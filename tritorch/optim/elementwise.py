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

    With `master_weights`, each float16 or bfloat16 parameter has a float32 copy in its state, "master", beside float32
    buffers: the step is that of the copy, and the parameter is the copy rounded. Without, a step smaller than the
    rounding of a parameter is lost. A parameter that is written to from elsewhere takes its copy's value at the next
    step: load weights before the first one.

    Counts of steps are numbers of the host. Where the device decides whether a step is taken (GradScaler), or a graph
    captures it (`capturable`), they are tensors of the device, one for all parameters that are equally far.
    """

    op: type
    uncounted: object = 1  # in the place of what `advance` gives, where the device counts

    def __init__(self, params, defaults, master_weights=False):
        self._sharing: dict = {}  # of scalars on a device, by the first one: they, and how many parameters have them
        if master_weights:
            defaults["master_weights"] = True
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        self._sharing = {}
        for own in self.state.values():
            for name in self.scalars if isinstance(own, dict) else ():
                if isinstance(own.get(name), (int, float)):  # as old checkpoints have them
                    own[name] = scalar(own[name])
                elif name in own:
                    own[name] = own[name].to(CPU)

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
                state[name] = self.filled(parameter, 0, group)

    def advance(self, state, group):
        """Count the step; gives what the step depends on and parameters can differ in."""
        count = state["step"].array
        step = count.item() + 1  # NumPy's own sum takes thirty times as long, for each parameter
        count[...] = step
        return int(step)

    def filled(self, parameter, value, group):
        """A tensor like the parameter, strides and all, full of one value; float32 beside a master."""
        dtype = dtypes.float32 if has_master(parameter, group) else None
        return creation.like(type(self).__name__, parameter, value, dtype, None, False)

    # -------------------------------------------------------------------------------------------- a step

    def update(self, group):
        """One launch for all parameters of the group that are alike and equally far."""
        for params in alike(group["params"]):
            found = None if self.found_inf is None else self.found_inf[params[0].device]
            counted = self._is_counted(params[0], group, found)
            split = self._by_scalars if counted else self._by_progress
            for progress, members in split(params, group).items():
                if group["differentiable"]:
                    self._update_recorded(group, progress, members)
                else:
                    self._update(group, progress, members, found, counted)

    def _update(self, group, progress, members, found, counted):
        states, master = [self.state[each] for each in members], has_master(members[0], group)
        buffers = [state[name] for name in self.buffers(group) if name is not None for state in states]
        lists = *members, *[each._grad for each in members], *buffers
        if not (master or counted or found is not None):
            self.op.apply(*self.options(group, progress), *lists)
        else:
            scalars = self._scalars(members[0], group) if counted else []
            options = self.options(group, self.uncounted if counted else progress)
            masters = [_master(each, state) for each, state in zip(members, states, strict=True)] if master else []
            self.op.mixed.apply(*options, master, len(scalars), found, *scalars, *lists, *masters)
        for each in members:
            bump(each)

    def _by_progress(self, params, group):
        found: dict = {}
        for each in params:
            found.setdefault(self.advance(self.holder(each, group), group), []).append(each)
        return found

    # -------------------------------------------------------------------------------------------- counts on the device

    @property
    def can_skip(self):
        """Whether a step can be skipped on the device, by `found_inf`, without the host knowing of it."""
        return not any(group["differentiable"] for group in self.param_groups)

    def _is_counted(self, parameter, group, found):
        """Whether steps are counted on the device: where they may be skipped there or captured, and from then on."""
        if parameter.device is CPU or group["differentiable"]:
            return False
        return found is not None or bool(group.get("capturable") or self._sharing)

    def _by_scalars(self, params, group):
        """Parameters whose scalars are the same tensors on their device; those that agree on the host become so."""
        found: dict = {}
        for each in params:
            own = self._scalars(each, group)
            on_host = own[0].device is CPU
            found.setdefault(tuple([float(one.array) if on_host else id(one) for one in own]), []).append(each)
        for members in found.values():
            self._share(members, group)
        return found

    def _scalars(self, parameter, group):
        holder = self.holder(parameter, group)
        return [holder[name] for name in self.scalars]

    def holder(self, parameter, group):
        """The dict with the scalars of a parameter: its state, which starts here at its first step."""
        state = self.state[parameter]
        if not state:
            self.start(parameter, state, group)
        return state

    def _share(self, members, group):
        """Give parameters scalars of their own on their device, which no other parameter has."""
        own = self._scalars(members[0], group)
        before = self._sharing.get(id(own[0]))
        if before is not None and before[1] == len(members):
            return
        if before is not None:
            self._sharing[id(own[0])] = before[0], before[1] - len(members)  # others go on without these
        own = [each.detach().to(members[0].device, copy=True) for each in own]
        for each in members:
            self.holder(each, group).update(zip(self.scalars, own, strict=True))
        self._sharing[id(own[0])] = own, len(members)

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


def has_master(parameter, group):
    """Whether the steps of a parameter are those of a float32 copy."""
    return "master_weights" in group and group["master_weights"] and parameter.dtype in _HALVES


_HALVES = (dtypes.float16, dtypes.bfloat16)


def _master(parameter, state):
    """The float32 copy, made of the parameter at its first step."""
    if "master" not in state:
        state["master"] = parameter.detach().to(dtypes.float32)
    return state["master"]


def scalar(value):
    """A number of the state, such as the count of steps: on the host, float64 if that is the default dtype."""
    wide = dtypes.get_default_dtype() is dtypes.float64
    return creation.wrap(np.full((), value, np.float64 if wide else np.float32), CPU)


def number(value, group):
    """An option as a float; a tensor stays one where the step is recorded, so that gradients reach it."""
    return value if isinstance(value, Tensor) and group["differentiable"] else float(value)
