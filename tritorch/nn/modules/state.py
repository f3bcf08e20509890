"""Saving and loading the state of a module: `state_dict` and `load_state_dict`, all or nothing."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.parameter import Parameter
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
        raise RuntimeError("get_extra_state is for subclasses to write")

    def set_extra_state(self, state):
        """Take back what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state is for subclasses to write, where get_extra_state is")

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
        if not errors:
            _run_post_hooks(self, keys)
        if strict:
            for text, names in (("Unexpected", unexpected), ("Missing", missing)):
                if names:
                    listed = ", ".join(f'"{name}"' for name in names)
                    errors.insert(0, f"{text} key(s) in state_dict: {listed}. ")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        with no_grad():
            for write in loading.writes:
                write()
        return keys

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        """What this module itself takes of `state_dict`; subclasses may override it."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        writes, local = getattr(state_dict, "writes", None), dict(self._local_state())
        now = [] if writes is None else writes
        for name, own in local.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            problem = _mismatch(key, own, state_dict[key])
            if problem:
                error_msgs.append(problem)
            else:
                now.append(self._write_of(name, own, state_dict[key], local_metadata.get("assign_to_params_buffers")))
        if type(self).set_extra_state is not ModuleState.set_extra_state and prefix + EXTRA in state_dict:
            now.append(lambda: self.set_extra_state(state_dict[prefix + EXTRA]))
        elif type(self).set_extra_state is not ModuleState.set_extra_state:
            missing_keys.append(prefix + EXTRA)
        if writes is None:  # called by hand on a plain dict
            with no_grad():
                for write in now:
                    write()
        if strict:
            _list_unexpected(self, state_dict, prefix, local, unexpected_keys)

    def _write_of(self, name, own, value, assign):
        if not assign:
            return lambda: own.copy_(value)
        if isinstance(own, Parameter) and not isinstance(value, Parameter):
            value = Parameter(value, own.requires)
        return lambda: setattr(self, name, value)


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
    for each in module.modules():
        for hook in each._load_state_dict_post_hooks.values():
            hook(each, keys)


def _mismatch(key, own, value):
    if not isinstance(value, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(value)}"
        )
    if own.array.shape != value.array.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {Size(value.array.shape)} from checkpoint, "
            f"the shape in current model is {Size(own.array.shape)}."
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
