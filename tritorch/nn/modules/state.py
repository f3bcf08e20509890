"""Saving and loading the state of a module: `state_dict` and `load_state_dict`, all or nothing."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.modules.hooks import WithModule
from tritorch.nn.parameter import Parameter, is_lazy
from tritorch.tensor import Size, Tensor

EXTRA = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ("missing_keys", "unexpected_keys"))):
    """What `load_state_dict` did not find, and what it found beyond."""

    __slots__ = ()

    def __repr__(self):
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _Write:
    """One tensor to be written, or put in the place of another, which can be taken back."""

    def __init__(self, module, name, own, value, assign):
        self.module, self.name, self.own, self.value, self.assign = module, name, own, value, assign
        self.before = None

    def do(self, keep=False):
        """Write; with `keep` remember what there was."""
        if self.assign:
            setattr(self.module, self.name, self.value)
        else:
            self.before = self.own.detach().clone() if keep else None
            self.own.copy_(self.value)

    def undo(self):
        """Write what there was."""
        if self.assign:
            setattr(self.module, self.name, self.own)
        else:
            self.own.copy_(self.before)


class _Extra:
    """The extra state to be taken back by a module."""

    def __init__(self, module, state):
        self.module, self.state = module, state

    def do(self, keep=False):
        """Hand it over."""
        self.module.set_extra_state(self.state)

    def undo(self):
        """Nothing: only the module knows what there was."""


class _Loading(OrderedDict):
    """A state dict on its way in: writes wait in a list until it is known that all can be made."""

    def part(self, prefix):
        """What belongs to the module at `prefix`."""
        found = _Loading((key, value) for key, value in self.items() if key.startswith(prefix))
        found.writes = self.writes
        return found


class ModuleState:
    """The part of Module that saves and loads."""

    _version = 1

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        """All parameters and persistent buffers by dotted name, sharing memory with the module."""
        if args:  # the old way: by position
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination = given.get("destination", destination)
            prefix, keep_vars = given.get("prefix", prefix), given.get("keep_vars", keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        return destination

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        for name, value in self._local_state():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not ModuleState.get_extra_state:
            destination[prefix + EXTRA] = self.get_extra_state()

    def _local_state(self):
        for name, value in self._parameters.items():
            if value is not None:
                yield name, value
        for name, value in self._buffers.items():
            if value is not None and name not in self._non_persistent_buffers_set:
                yield name, value

    def get_extra_state(self):
        """What a subclass saves beside tensors."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: subclasses write their own."
        )

    def set_extra_state(self, state):
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: subclasses write their own."
        )

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy `state_dict` into parameters and buffers; on any error all are listed and nothing is changed."""
        if not hasattr(state_dict, "items") or not hasattr(state_dict, "keys"):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing, unexpected, errors = [], [], []
        metadata = getattr(state_dict, "_metadata", None)
        loading = _Loading(state_dict)
        loading.writes = []
        _load_tree(self, loading, "", metadata, assign, missing, unexpected, errors)
        keys = _IncompatibleKeys(missing, unexpected)
        with no_grad():
            written = not errors and any(module._load_state_dict_post_hooks for module in self.modules())
            if written:  # the hooks see what was loaded, and may say that a key is not missed after all
                for write in loading.writes:
                    write.do(keep=True)
                _run_post_hooks(self, keys)
            errors = (_complaints(keys) if strict else []) + errors
            if written and errors:
                for write in reversed(loading.writes):
                    write.undo()
            elif not written and not errors:
                for write in loading.writes:
                    write.do()
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        return keys

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        """What this module itself takes of `state_dict`; subclasses may override it."""
        given = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        for hook in list(self._load_state_dict_pre_hooks.values()):
            hook(*((self, *given) if isinstance(hook, WithModule) else given))
        writes, local = getattr(state_dict, "writes", None), dict(self._local_state())
        assign, now = local_metadata.get("assign_to_params_buffers"), [] if writes is None else writes
        for name, own in local.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.extend([key] if strict else ())
                continue
            value = state_dict[key]
            problem = _mismatch(key, own, value)
            if problem:
                error_msgs.append(problem)
            elif not is_lazy(own):
                now.append(_Write(self, name, own, _fitted(own, value, assign), assign))
        if type(self).set_extra_state is not ModuleState.set_extra_state:
            if prefix + EXTRA in state_dict:
                now.append(_Extra(self, state_dict[prefix + EXTRA]))
            elif strict:
                missing_keys.append(prefix + EXTRA)
        if writes is None:  # called by hand on a plain dict
            with no_grad():
                for write in now:
                    write.do()
        if strict:
            _list_unexpected(self, state_dict, prefix, local, unexpected_keys)


def _fitted(own, value, assign):
    """The value as it is written: PyTorch's first versions saved scalars as vectors of one element."""
    if not own.dim() and value.dim() == 1:
        value = value[0]
    if assign and isinstance(own, Parameter):
        if not isinstance(value, Parameter):
            return Parameter(value, own.requires_grad)
        return value.requires_grad_(own.requires_grad)
    return value


def _load_tree(module, loading, prefix, metadata, assign, missing, unexpected, errors):
    local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(loading, prefix, local, True, missing, unexpected, errors)
    for name, child in module._modules.items():
        if child is not None:
            inner = f"{prefix}{name}."
            _load_tree(child, loading.part(inner), inner, metadata, assign, missing, unexpected, errors)


def _run_post_hooks(module, keys):
    """Those of the modules inside first."""
    for child in module._modules.values():
        if child is not None:
            _run_post_hooks(child, keys)
    for hook in list(module._load_state_dict_post_hooks.values()):
        if hook(module, keys) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, "
                "if incompatible_keys need to be modified, it should be done inplace."
            )


def _complaints(keys):
    """What strict loading says about keys."""
    found = []
    for text, names in (("Missing", keys.missing_keys), ("Unexpected", keys.unexpected_keys)):
        if names:
            listed = ", ".join(f'"{name}"' for name in names)
            found.append(f"{text} key(s) in state_dict: {listed}. ")
    return found


def _mismatch(key, own, value):
    if not isinstance(value, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(value)}"
        )
    if is_lazy(own):
        return None
    shape = tuple(value.shape)
    if tuple(own.shape) != shape and (own.dim() or shape != (1,)):
        return (
            f"size mismatch for {key}: copying a param with shape {Size(shape)} from checkpoint, "
            f"the shape in current model is {own.shape}."
        )
    return None


def _list_unexpected(module, state_dict, prefix, local, unexpected):
    extra = prefix + EXTRA
    takes_extra = type(module).set_extra_state is not ModuleState.set_extra_state
    for key in state_dict:
        if not key.startswith(prefix):
            continue
        if key == extra:
            if not takes_extra:
                unexpected.append(key)
            continue
        first, dot, _ = key[len(prefix) :].partition(".")
        if dot:
            if first not in module._modules:
                unexpected.append(key)
        elif first not in local:
            unexpected.append(key)
