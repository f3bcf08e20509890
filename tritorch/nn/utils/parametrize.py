"""Parametrizations: a parameter or buffer of a module that is computed from others by modules.

A module with one gets a class of its own, a subclass of its class in which the tensor is a property. What it is
computed from stands under `parametrizations.NAME.original`, or `original0`, `original1`, ... where it is several.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.modules.container import ModuleDict, ModuleList
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor


class _Cache:
    """Values of properties, kept while somebody is inside `cached`."""

    depth = 0
    values: dict = {}  # noqa: RUF012, one for all


class cached:
    """Inside, each parametrized tensor is computed once."""

    def __enter__(self):
        _Cache.depth += 1

    def __exit__(self, *_):
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values.clear()


def _put(module, name, tensor):
    """Make a tensor a parameter of a module, or a buffer if it is none."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _take_over(destination, source):
    """Give a tensor the memory of another, and its sizes."""
    if destination is not source:
        destination.data = source.detach()


class ParametrizationList(ModuleList):
    """The modules that a tensor passes one after another, with the tensor or tensors they start from.

    With `unsafe`, shape and dtype of what they give are not compared with those of the original.
    """

    def __init__(self, modules, original, unsafe=False):
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        start = self._start(original)
        self.is_tensor = isinstance(start, Tensor)
        self.ntensors = 1 if self.is_tensor else len(start)
        if self.is_tensor:
            self._check_start(original, start)
            with no_grad():
                _take_over(original, start)
            _put(self, "original", original)
        else:
            for number, each in enumerate(start):
                self._keep_one_of_several(number, each, original)
        if not unsafe:
            _check_result(self(), shape, dtype)

    def _start(self, original):
        """What the modules have to start from to give the original, as far as they can say."""
        start = original
        with no_grad():
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    try:
                        start = module.right_inverse(start)
                    except NotImplementedError:  # by convention: it has none, for these settings
                        continue
        if not isinstance(start, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(start).__name__}"
            )
        return start

    @staticmethod
    def _check_start(original, start):
        for what in ("dtype", "device"):
            before, after = getattr(original, what), getattr(start, what)
            if before != after:
                raise ValueError(
                    f"When `right_inverse` outputs one tensor, it may not change the {what}.\n"
                    f"original.{what}: {before}\nright_inverse(original).{what}: {after}"
                )

    def _keep_one_of_several(self, number, tensor, original):
        if not isinstance(tensor, Tensor):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got element {number} of the sequence with type {type(tensor).__name__}."
            )
        if isinstance(original, Parameter):
            tensor = Parameter(tensor, original.requires_grad)
        _put(self, f"original{number}", tensor.requires_grad_(original.requires_grad))

    def right_inverse(self, value):
        """Set what the modules start from so that they give `value`."""
        with no_grad():
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            if self.is_tensor:
                self._set_one("original", value, "`right_inverse` should return a tensor. Got")
                return
            if not isinstance(value, Sequence):
                raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(value).__name__}.")
            if len(value) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. "
                    f"Got a sequence of length {len(value)}."
                )
            for number, each in enumerate(value):
                words = f"`right_inverse` must return a sequence of tensors. Got element {number} of type"
                self._set_one(f"original{number}", each, words)

    def _set_one(self, name, value, words):
        if not isinstance(value, Tensor):
            raise ValueError(f"{words} {type(value).__name__}")
        own = getattr(self, name)
        if own.dtype != value.dtype:
            raise ValueError(
                f"The tensor returned by `right_inverse` has dtype {value.dtype} while `{name}` has dtype {own.dtype}"
            )
        _take_over(own, value)

    def originals(self):
        """The names and tensors that the modules start from."""
        names = ["original"] if self.is_tensor else [f"original{number}" for number in range(self.ntensors)]
        return {name: getattr(self, name) for name in names}

    def forward(self):
        """The tensor."""
        first, *others = self
        value = first(*self.originals().values())
        for module in others:
            value = module(value)
        return value


def _check_result(found, shape, dtype):
    if not isinstance(found, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(found).__name__}.")
    for what, before, after in (("dtype", dtype, found.dtype), ("shape", shape, found.shape)):
        if before != after:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is "
                f"enabled.\nunparametrized {what}: {before}\nparametrized {what}: {after}"
            )


def _give_own_class(module):
    """Make the module the only one of a subclass of its class, which can have properties."""

    def refuse(self):
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    def deepcopy(self, memo):
        made = memo[id(self)] = object.__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made

    kind = type(module)
    members = {"__getstate__": refuse, "__module__": kind.__module__}
    if not hasattr(kind, "__deepcopy__"):
        members["__deepcopy__"] = deepcopy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), members)
    module.parametrizations = ModuleDict()


def _property_of(name):
    def read(self):
        if not _Cache.depth:
            return self.parametrizations[name]()
        key = id(self), name
        if key not in _Cache.values:
            _Cache.values[key] = self.parametrizations[name]()
        return _Cache.values[key]

    def write(self, value):
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Let the parameter or buffer `tensor_name` of a module be what the module `parametrization` makes of it.

    If that has a method `right_inverse`, assigning to the tensor works, and it starts from the inverse of its value;
    else its value changes now. `unsafe` lets shape and dtype change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            value = getattr(module, tensor_name)
            _check_result(parametrization(value), value.shape, value.dtype)
        own = module.parametrizations[tensor_name]
        own.append(parametrization)
        own.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        made = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_own_class(module)
        setattr(type(module), tensor_name, _property_of(tensor_name))
        module.parametrizations[tensor_name] = made
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def is_parametrized(module, tensor_name=None):
    """Whether a module has parametrizations, or one of `tensor_name`."""
    parametrizations = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Make the tensor a parameter or buffer again, with the value it has, or the one it was computed from."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    own = module.parametrizations[tensor_name]
    if own.is_tensor:
        original = own.original
        if leave_parametrized:
            with no_grad():
                _take_over(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _put(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module):
    """The class of a module without what parametrizations made of it."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module, to_module, tensor_name=None):
    """Give a module the parametrizations of another, or of one tensor of it, and what they start from."""
    if not is_parametrized(from_module):
        return to_module
    if tensor_name is not None and not is_parametrized(from_module, tensor_name):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        source = from_module.parametrizations[name]
        for each in source:
            register_parametrization(to_module, name, each)
        for key, tensor in source.originals().items():
            setattr(to_module.parametrizations[name], key, tensor)
    return to_module


__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip
