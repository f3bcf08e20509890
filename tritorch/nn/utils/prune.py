"""Pruning: parameters of which a mask sets some elements to zero.

The parameter `name` becomes `name_orig`, the mask the buffer `name_mask`, and a forward pre-hook computes their
product. A method says in PRUNING_TYPE what it is applied to where a mask is there already: the elements that are left
("unstructured"), the slices along `dim` of which something is left ("structured"), or all ("global").
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable

from tritorch.nn.modules.module import Module
from tritorch.nn.utils.convert_parameters import parameters_to_vector
from tritorch.ops.base import EXPORTS

_rand, _rand_like, _topk, _kthvalue = (EXPORTS[name] for name in ("rand", "rand_like", "topk", "kthvalue"))
_norm, _ones_like, _zeros_like = (EXPORTS[name] for name in ("norm", "ones_like", "zeros_like"))


class BasePruningMethod(ABC):
    """A forward pre-hook that masks a parameter; a method says which elements in `compute_mask`."""

    PRUNING_TYPE: str
    _tensor_name: str

    def __call__(self, module, inputs):
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t, default_mask):
        """The mask for the scores `t`, where `default_mask` is there already."""

    def apply_mask(self, module):
        """The parameter times its mask."""
        if getattr(self, "_tensor_name", None) is None:
            raise AssertionError(f"Module {module} has to be pruned")
        original = getattr(module, f"{self._tensor_name}_orig")
        return getattr(module, f"{self._tensor_name}_mask").to(original.dtype) * original

    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        """Prune the parameter `name` of a module, after what pruned it before; returns the hook."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        key = _hook_of(module, name)
        before = None if key is None else module._forward_pre_hooks.pop(key)
        if before is not None:
            container = before if isinstance(before, PruningContainer) else PruningContainer(before)
            container.add_pruning_method(method)
            method = container
        original = getattr(module, name)
        if importance_scores is None:
            scores = original
        elif importance_scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, "
                f"got {importance_scores.shape} vs {original.shape}"
            )
        else:
            scores = importance_scores
        if before is None:
            module.register_parameter(f"{name}_orig", original)
            del module._parameters[name]
            mask = _ones_like(original)
        else:
            mask = getattr(module, f"{name}_mask").detach().clone()
        method._enter(module, name, scores, mask, original if before is None else None)
        return method

    def _enter(self, module, name, scores, mask, original):
        """Compute the mask and start to use it; on an error, leave the module as it was."""
        try:
            found = self.compute_mask(scores.detach(), mask.detach())
        except Exception:
            if original is not None:
                del module._parameters[f"{name}_orig"]
                module.register_parameter(name, original)
            raise
        module.register_buffer(f"{name}_mask", found)
        setattr(module, name, self.apply_mask(module))
        module.register_forward_pre_hook(self)

    def prune(self, t, default_mask=None, importance_scores=None):
        """The tensor `t` with elements set to zero, without any module."""
        if importance_scores is None:
            importance_scores = t
        elif importance_scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        mask = _ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(importance_scores.detach(), mask.detach())

    def remove(self, module):
        """Make the masked parameter an ordinary one."""
        name = self._tensor_name
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(f"{name}_orig")
        original.data = weight.detach()
        del module._buffers[f"{name}_mask"]
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Several methods on one parameter, each after those before it."""

    def __init__(self, *args):
        self._pruning_methods = ()
        methods = args[0] if len(args) == 1 and isinstance(args[0], Iterable) else args
        for method in methods:
            if not self._pruning_methods:
                self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method):
        """Add a method that acts on the same parameter."""
        if method is not None and not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self):
        return len(self._pruning_methods)

    def __iter__(self):
        return iter(self._pruning_methods)

    def __getitem__(self, at):
        return self._pruning_methods[at]

    def compute_mask(self, t, default_mask):
        """The mask that is there, with that of the newest method in the part it is applied to."""
        method = self._pruning_methods[-1]
        part = _part_of(method, t, default_mask)
        mask = default_mask.to(t.dtype)
        mask[part] = method.compute_mask(t[part], default_mask[part]).to(mask.dtype)
        return mask


def _part_of(method, t, mask):
    """What a method is applied to, as an index."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    whole = [slice(None)] * t.ndim
    if method.PRUNING_TYPE == "structured":
        if not hasattr(method, "dim"):
            raise AttributeError(
                'Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.'
            )
        dim = method.dim if method.dim >= 0 else t.ndim + method.dim
        if dim < 0:
            raise IndexError(f"Index is out of bounds for tensor with dimensions {t.ndim}")
        whole[dim] = mask.sum([each for each in range(t.ndim) if each != dim]) != 0
    elif method.PRUNING_TYPE != "global":
        raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
    return tuple(whole)


# ------------------------------------------------------------------------------------------------- amounts


def _check_amount(amount):
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (not isinstance(amount, numbers.Integral) and amount > 1):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount, size):
    """How many of `size` an amount is: itself, or that part of them."""
    if not isinstance(amount, numbers.Integral):
        return round(amount * size)
    if amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount


class _Amount(BasePruningMethod):
    """A method that prunes `amount` elements or slices, or that part of them."""

    def __init__(self, amount):
        _check_amount(amount)
        self.amount = amount


# ------------------------------------------------------------------------------------------------- methods


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        """The mask that is there."""
        return default_mask


class RandomUnstructured(_Amount):
    """Prunes elements at random."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        """Zeros where the largest of random numbers fall."""
        return _without(default_mask, lambda: _rand_like(t), _count(self.amount, t.numel()), True)


class L1Unstructured(_Amount):
    """Prunes the elements of the smallest magnitude."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        """Zeros where the scores are nearest to zero."""
        return _without(default_mask, t.abs, _count(self.amount, t.numel()), False)


def _without(mask, scores, count, largest):
    """A mask without the `count` elements that have the largest scores, or the smallest."""
    mask = mask.clone()
    if count:
        mask.view(-1)[_topk(scores().reshape(-1), count, largest=largest).indices] = 0
    return mask


class _Structured(_Amount):
    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim=-1):
        super().__init__(amount)
        self.dim = dim

    def _channels(self, t):
        """The number of slices, and how many of them are to go."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. "
                f"Found tensor of shape {t.shape} with {t.ndim} dims"
            )
        if self.dim >= t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        return t.shape[self.dim], _count(self.amount, t.shape[self.dim])

    def _keeping(self, t, default_mask, kept):
        mask = _zeros_like(t)
        whole = [slice(None)] * t.ndim
        whole[self.dim] = kept
        mask[tuple(whole)] = 1
        return mask * default_mask.to(mask.dtype)


class RandomStructured(_Structured):
    """Prunes slices along `dim` at random."""

    def compute_mask(self, t, default_mask):
        """Zeros in the slices that the smallest of random numbers fall on."""
        channels, count = self._channels(t)
        if not count:
            return default_mask
        drawn = _rand(channels, device=t.device)
        return self._keeping(t, default_mask, drawn > _kthvalue(drawn, count).values)


class LnStructured(_Structured):
    """Prunes the slices along `dim` with the smallest norm of order `n`."""

    def __init__(self, amount, n, dim=-1):
        super().__init__(amount, dim)
        self.n = n

    def compute_mask(self, t, default_mask):
        """Zeros in the slices with the smallest norms."""
        channels, count = self._channels(t)
        if not count:
            return default_mask
        own = self.dim % t.ndim
        norms = _norm(t, p=self.n, dim=[each for each in range(t.ndim) if each != own])
        return self._keeping(t, default_mask, _topk(norms, channels - count).indices)


class CustomFromMask(BasePruningMethod):
    """Prunes what a mask of the user's has as zero."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        """The product of both masks."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(default_mask.dtype)


# ------------------------------------------------------------------------------------------------- functions


def identity(module, name):
    """Make a parameter ready for pruning without pruning anything; returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name, amount):
    """Prune elements of a parameter at random; returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name, amount, importance_scores=None):
    """Prune the elements of a parameter, or of scores, that are nearest to zero; returns the module."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module, name, amount, dim):
    """Prune slices of a parameter along `dim` at random; returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prune the slices of a parameter along `dim` with the smallest norm of order `n`; returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name, mask):
    """Prune what `mask` has as zero; returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prune elements of several parameters, pairs of module and name, as if they were one."""
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    importance_scores = {} if importance_scores is None else importance_scores
    if not isinstance(importance_scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    parameters = list(parameters)
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {method.PRUNING_TYPE}"
        )
    method._tensor_name = "temp"
    values = [getattr(module, name) for module, name in parameters]
    scores = [importance_scores.get(pair, value) for pair, value in zip(parameters, values, strict=True)]
    masks = [
        getattr(module, f"{name}_mask", _ones_like(value))
        for (module, name), value in zip(parameters, values, strict=True)
    ]
    vectors = [parameters_to_vector(each).detach() for each in (scores, masks)]
    mask, start = PruningContainer(method).compute_mask(*vectors), 0
    for (module, name), value in zip(parameters, values, strict=True):
        custom_from_mask(module, name, mask[start : start + value.numel()].reshape(value.shape))
        start += value.numel()


def remove(module, name):
    """Make a pruned parameter an ordinary one, with its zeros; returns the module."""
    key = _hook_of(module, name)
    if key is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    module._forward_pre_hooks.pop(key).remove(module)
    return module


def is_pruned(module):
    """Whether anything in a module is pruned."""
    if not isinstance(module, Module):
        raise AttributeError(f"'{type(module).__name__}' object has no attribute 'named_modules'")
    return any(
        isinstance(hook, BasePruningMethod) for each in module.modules() for hook in each._forward_pre_hooks.values()
    )


def _hook_of(module, name):
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key
    return None
