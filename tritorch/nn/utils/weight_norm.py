"""Weight normalisation: a weight as its direction and its length, learned apart; the form with hooks."""

from __future__ import annotations

import warnings

from tritorch.nn.parameter import Parameter
from tritorch.ops.base import EXPORTS

_norm = EXPORTS["linalg.vector_norm"]


def norm_except_dim(v, dim):
    """The length of each slice along `dim`, with dimensions of size one for the others; of all of v for dim -1."""
    if dim == -1:
        return _norm(v)
    return _norm(v, 2, [each for each in range(v.ndim) if each != dim], True)


def normalized(v, g, dim):
    """g v / |v|, with the length taken of each slice along `dim`."""
    return v * (g / norm_except_dim(v, dim))


class WeightNorm:
    """A forward pre-hook that computes the weight `name` from `name`_g and `name`_v.

    Source: Salimans, Kingma, "Weight Normalization", 2016.
    """

    def __init__(self, name, dim):
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module):
        """The weight, with its history."""
        return normalized(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module))

    def remove(self, module):
        """Make the weight a parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight.detach()))


def hook_of(module, kind, name):
    """The key of the hook of class `kind` on the parameter `name`, or None."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and hook.name == name:
            return key
    return None


def weight_norm(module, name="weight", dim=0):
    """Learn the length of each slice along `dim` of a parameter apart from its direction; deprecated."""
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if hook_of(module, WeightNorm, name) is not None:
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook, weight = WeightNorm(name, dim), getattr(module, name)
    del module._parameters[name]
    module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, hook.dim).detach()))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module, name="weight"):
    """Undo `weight_norm`: the parameter is the product again."""
    key = hook_of(module, WeightNorm, name)
    if key is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(key).remove(module)
    return module
