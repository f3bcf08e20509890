"""Optimizer: parameter groups, their state, and a step that hands each group to one op."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from contextlib import contextmanager
from copy import deepcopy

from tritorch.autograd.grad_mode import enable_grad, set_grad_enabled
from tritorch.creation import zeros_like
from tritorch.optim.hooks import Hooked
from tritorch.optim.hooks import register_optimizer_step_post_hook as register_optimizer_step_post_hook
from tritorch.optim.hooks import register_optimizer_step_pre_hook as register_optimizer_step_pre_hook
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor


class _Required:
    def __repr__(self):
        return "<required parameter>"


required = _Required()  # as a default: every group has to say it


class Optimizer(Hooked):
    """Base of all optimizers. A member gives `update(group)`, or overrides `step`.

    params    tensors, pairs (name, tensor), or dicts: groups with "params" and options that differ from the defaults
    defaults  the options of groups that do not give them
    """

    scalars: tuple[str, ...] = ("step",)  # the numbers in the state of a parameter
    found_inf: dict | None = None  # for each device (1,), not 0 where a step is to be skipped: while a GradScaler steps
    can_skip = False  # whether `step` heeds it

    def __init__(self, params, defaults):
        self.defaults = defaults
        self._make_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {params.type()}"
            )
        self.state: defaultdict = defaultdict(dict)
        self.param_groups: list[dict] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group):
        """Add a group of parameters, a dict with "params" and what differs from the defaults; it becomes the group."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = param_group
        _unpack(group)
        for each in group["params"]:
            if not isinstance(each, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {_type_name(each)}")
            if not (self.defaults.get("differentiable") or each.is_leaf or each.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        self._check_against_others(group)
        self.param_groups.append(group)

    def _check_against_others(self, group):
        own = {id(each) for each in group["params"]}
        if len(own) != len(group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=4,
            )
        named = "param_names" in group
        if any(("param_names" in other) != named for other in self.param_groups):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if named else 'without'} names to the optimizer"
            )
        if any(id(each) in own for other in self.param_groups for each in other["params"]):
            raise ValueError("some parameters appear in more than one parameter group")

    # -------------------------------------------------------------------------------------------- steps

    def step(self, closure=None):
        """Update all parameters that have a gradient. `closure` computes the loss again, for those that need it."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for group in self.param_groups:
                self.update(group)
        return loss

    def update(self, group):
        """Update the parameters of one group."""
        raise NotImplementedError(f"{type(self).__name__} has neither a step nor an update")

    @contextmanager
    def skippable(self, parameter):
        """Undo on the device what is done inside to a parameter and its state, in place, if `found_inf` says so."""
        if self.found_inf is None:
            yield
            return
        tensors = [parameter, *self.state[parameter].values()]
        before = [each.detach().clone() for each in tensors]
        yield
        is_good = self.found_inf[parameter.device][0] == 0
        for each, old in zip(tensors, before, strict=True):
            each.copy_(each.where(is_good, old))

    def zero_grad(self, set_to_none=True):
        """Forget the gradients, or write zeros over them."""
        for group in self.param_groups:
            for each in group["params"]:
                if set_to_none:
                    each._grad = None
                elif each._grad is not None:
                    each._grad.detach_().zero_() if each._grad.view is None else each._grad.zero_()

    # -------------------------------------------------------------------------------------------- state

    def state_dict(self):
        """State and groups, with a number in the place of each parameter."""
        for hook in tuple(self._optimizer_state_dict_pre_hooks.values()):
            hook(self)
        numbers: dict[int, int] = {}
        count, groups = 0, []
        for group in self.param_groups:
            for number, each in enumerate(group["params"], count):
                numbers.setdefault(id(each), number)
            count += len(group["params"])
            packed = {name: value for name, value in group.items() if name != "params"}
            groups.append(packed | {"params": [numbers[id(each)] for each in group["params"]]})
        state = {numbers[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        found = {"state": state, "param_groups": groups}
        for hook in tuple(self._optimizer_state_dict_post_hooks.values()):
            changed = hook(self, found)
            found = found if changed is None else changed
        return found

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave; the numbers are matched with the parameters in order.

        State takes the dtype and device of its parameter, and options come from `state_dict`, the learning rate too.
        """
        state_dict = state_dict.copy()
        for hook in tuple(self._optimizer_load_state_dict_pre_hooks.values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(own["params"]) != len(other["params"]) for own, other in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        numbers = itertools.chain.from_iterable(group["params"] for group in saved)
        parameters = dict(zip(numbers, itertools.chain.from_iterable(g["params"] for g in groups), strict=True))
        state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            parameter = parameters.get(key)
            state[key if parameter is None else parameter] = self._adopted(value, parameter)
        for own, other in zip(groups, saved, strict=True):
            other["params"] = own["params"]
            if "param_names" in own:
                other.setdefault("param_names", own["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in tuple(self._optimizer_load_state_dict_post_hooks.values()):
            hook(self)

    def _adopted(self, value, parameter, name=None, wide=False):
        """A copy of loaded state, with the dtype and on the device of its parameter, but for numbers.

        It is float32 if `wide`, beside a master.
        """
        if isinstance(value, Tensor):
            if parameter is None:
                return value.detach().clone()
            if name in self.scalars:
                return value.detach().to(device=CPU, copy=True)
            dtype = dtypes.float32 if wide else parameter.dtype if parameter.is_floating_point() else None
            found = value.detach().to(device=parameter.device, dtype=dtype, copy=True)
            lies_alike = found.shape != parameter.shape or found.stride() == parameter.stride()
            return found if lies_alike else zeros_like(parameter, dtype=found.dtype).copy_(found)
        if isinstance(value, dict):
            return {key: self._adopted(each, parameter, key, "master" in value) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._adopted(each, parameter) for each in value)
        return deepcopy(value)

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._make_hooks()
        for group in self.param_groups:  # state of an older version lacks the newer options
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines.extend(f"    {name}: {group[name]}" for name in sorted(group) if name != "params")
        return "\n".join([*lines, ")"])


def _unpack(group):
    """Make "params" of a group a list of what is given, and "param_names" of the names beside it."""
    params = group["params"]
    if isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    params = [params] if isinstance(params, Tensor) else list(params)
    names = [each[0] for each in params if isinstance(each, tuple)]
    if names and len(names) != len(params):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    if names:
        group["param_names"] = names
        params = [each[1] for each in params]
    group["params"] = params


def _type_name(value):
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def alike(params):
    """The parameters that have a gradient, in groups of one dtype and device: what one launch can update."""
    found: dict = {}
    for each in params:
        gradient = each._grad
        if gradient is not None:
            found.setdefault((each.array.dtype, gradient.array.dtype, each.device), []).append(each)
    return found.values()
