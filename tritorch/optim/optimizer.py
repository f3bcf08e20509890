"""Optimizer: parameter groups, their state, and a step that hands each group to one op."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict, defaultdict
from copy import deepcopy

from tritorch.autograd.grad_mode import enable_grad, no_grad
from tritorch.autograd.hooks import add_hook
from tritorch.tensor import Tensor


class _Required:
    def __repr__(self):
        return "<required parameter>"


required = _Required()  # as a default: every group has to say it


class Optimizer:
    """Base of all optimizers. A member gives `update(group)`, or overrides `step`."""

    def __init__(self, params, defaults):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {params.type()}"
            )
        self.defaults = defaults
        self.state: defaultdict = defaultdict(dict)
        self.param_groups: list[dict] = []
        self._pre_hooks, self._post_hooks = OrderedDict(), OrderedDict()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    def add_param_group(self, param_group):
        """Add a group of parameters, a dict with "params" and what differs from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = param_group
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        named = [each for each in params if isinstance(each, tuple)]
        if named:
            if len(named) != len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = [name for name, _ in named]
            params = [each for _, each in named]
        group["params"] = params
        self._check_params(params)
        if any(("param_names" in other) != ("param_names" in group) for other in self.param_groups):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if 'param_names' in group else 'without'} names to the optimizer"
            )
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        self.param_groups.append(group)

    def _check_params(self, params):
        for each in params:
            if not isinstance(each, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(each).__name__}")
            if not (each.is_leaf or each.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        own = {id(each) for each in params}
        if len(own) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=4,
            )
        if any(id(each) in own for group in self.param_groups for each in group["params"]):
            raise ValueError("some parameters appear in more than one parameter group")

    # -------------------------------------------------------------------------------------------- steps

    def step(self, closure=None):
        """Update all parameters that have a gradient. `closure` computes the loss again, for those that need it."""
        for hook in tuple(self._pre_hooks.values()):
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                self.update(group)
        for hook in tuple(self._post_hooks.values()):
            hook(self, (closure,), {})
        return loss

    def update(self, group):
        """Update the parameters of one group."""
        raise NotImplementedError(f"{type(self).__name__} has neither a step nor an update")

    def zero_grad(self, set_to_none=True):
        """Forget the gradients, or write zeros over them."""
        for group in self.param_groups:
            for each in group["params"]:
                if set_to_none:
                    each._grad = None
                elif each._grad is not None:
                    each._grad.detach_().zero_() if each._grad.view is None else each._grad.zero_()

    def register_step_pre_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` before every step."""
        return add_hook(self._pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return add_hook(self._post_hooks, hook)

    # -------------------------------------------------------------------------------------------- state

    def state_dict(self):
        """State and groups, with a number in the place of each parameter."""
        numbers = {}
        for each in itertools.chain.from_iterable(group["params"] for group in self.param_groups):
            numbers.setdefault(id(each), len(numbers))
        groups = []
        for group in self.param_groups:
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[id(each)] for each in group["params"]]
            groups.append(packed)
        state = {numbers[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave; the numbers are matched with the parameters in order."""
        groups, saved = self.param_groups, state_dict["param_groups"]
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
            state[key if parameter is None else parameter] = _adopted(value, parameter)
        self.state = state
        self.param_groups = [
            {"params": own["params"], **{k: deepcopy(v) for k, v in other.items() if k != "params"}}
            for own, other in zip(groups, saved, strict=True)
        ]

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._pre_hooks, self._post_hooks = OrderedDict(), OrderedDict()

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines.extend(f"    {name}: {group[name]}" for name in sorted(group) if name != "params")
        return "\n".join([*lines, ")"])


def _adopted(value, parameter, name=None):
    """A copy of loaded state, with the dtype and on the device of its parameter, except for counts of steps."""
    if isinstance(value, Tensor):
        if parameter is None or name == "step":
            return value.detach().clone()
        dtype = parameter.dtype if parameter.is_floating_point() else None
        return value.detach().to(device=parameter.device, dtype=dtype, copy=True)
    if isinstance(value, dict):
        return {key: _adopted(each, parameter, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_adopted(each, parameter) for each in value)
    return deepcopy(value)


def check_one_element(lr):
    """Refuse a learning rate that is a tensor of several."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def check_rate(lr):
    """Refuse a learning rate that is negative, or a tensor of several."""
    check_one_element(lr)
    if not lr >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_not_negative(**options):
    """Refuse an option that is negative; `epsilon` is what errors call eps."""
    for name, value in options.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas):
    """Refuse decay rates that are not in [0, 1)."""
    for at in range(2):
        if not 0.0 <= betas[at] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {at}: {betas[at]}")


def check_ways(foreach, fused, differentiable):
    """Refuse two ways to take a step at once, though here they are the same or chosen elsewhere."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def alike(params):
    """The parameters that have a gradient, in groups of one dtype and device: what one launch can update."""
    found: dict = {}
    for each in params:
        gradient = each._grad
        if gradient is not None:
            found.setdefault((each.array.dtype, gradient.array.dtype, each.device), []).append(each)
    return found.values()
