"""From an object to JSON with names in the place of tensors, and the arrays by name.

Objects of classes, such as whole modules, are written as the path of their class and their state, and only loaded where
the user says so. A tensor or object met a second time is written as a reference to the first.
"""

from __future__ import annotations

import copyreg
import enum
import types
from functools import partial
from pickle import PicklingError

import numpy as np

from tritorch.autograd.variable import Variable
from tritorch.nn.parameter import Parameter, is_lazy
from tritorch.serialization import container, kinds, regions
from tritorch.serialization.objects import path_of
from tritorch.tensor import Tensor

PLAIN = (type(None), bool, str, int)
HIDDEN = ("_modules", "_parameters", "_buffers")  # so that a module's tensors have the names of its state_dict
# What a tensor has of itself; other attributes were put there by the user.
INTERNAL = frozenset(("array", "device", *vars(Variable)))
CODE = (type, types.FunctionType, types.BuiltinFunctionType)


class Packer:
    """Collects the tensors of one object while it is written down."""

    def __init__(self):
        self.names, self.members = regions.Names(), []
        self.seen: dict = {}  # id -> (entry, value): what is met again is the same when loaded
        self.numbers = 0
        self.open: set = set()  # the containers around the value being packed

    def structure(self, obj):
        """The object as JSON, after which `names.arrays` is complete."""
        packed = self.pack(obj, ())
        regions.store(self.members, self.names)
        return packed

    def pack(self, value, path):
        """A value as JSON."""
        if type(value) in PLAIN:
            return value
        if id(value) in self.seen:
            return self._again(self.seen[id(value)][0])
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), path)}
        if type(value) is np.ndarray:
            return {"array": self._array(value, path)}
        if id(value) in self.open:
            raise ValueError(f"save(): {_where(path)} holds itself, which only modules and other objects may")
        self.open.add(id(value))
        try:
            return self._container(value, path)
        finally:
            self.open.discard(id(value))

    def _container(self, value, path):
        if type(value) is list:
            return [self.pack(each, (*path, str(number))) for number, each in enumerate(value)]
        kind = kinds.of(value)
        if kind is None:
            return self._object(value, path)
        try:
            return {kind.name: kind.pack(value, lambda each, label: self.pack(each, _longer(path, label)))}
        except kinds.NotPlain as error:
            raise TypeError(_refusal(path, str(error))) from None

    def _again(self, entry):
        if "id" not in entry:
            entry["id"] = self.numbers
            self.numbers += 1
        return {"same": entry["id"]}

    def _enter(self, entry, value):
        self.seen[id(value)] = entry, value
        return entry

    # ---------------------------------------------------------------------------------------- tensors and arrays

    def _tensor(self, value, path):
        if is_lazy(value):
            kind, (requires, device, dtype) = value.__reduce__()
            return {"lazy": [issubclass(kind, Parameter), requires, [device.type, device.index], dtype.name]}
        if value.is_sparse:
            parts = [self.pack(each, path) for each in (value._indices(), value._values())]
            return self._enter({"sparse": [*parts, list(value.size()), value.is_coalesced()]}, value)
        device, key = value.device, "parameter" if isinstance(value, Parameter) else "tensor"
        entry = self._enter({key: None, "device": [device.type, device.index]}, value)
        if value.requires_grad is not (key == "parameter"):
            entry["requires_grad"] = value.requires_grad
        if type(value) not in (Tensor, Parameter):
            entry["class"] = path_of(type(value))
        if own := {name: each for name, each in vars(value).items() if name not in INTERNAL}:
            entry["attributes"] = self.pack(own, path)
        self.members.append(regions.Member(entry, key, value.detach().array, path))
        return entry

    def _array(self, value, path):
        """An array's name; with its dtype and shape where the format does not have the dtype."""
        if value.dtype.hasobject or value.dtype.fields is not None:
            raise TypeError(_refusal(path, f"a NumPy array of dtype {value.dtype}"))
        if container.code_of(value.dtype) is not None:
            return self.names.add(path, value)
        raw = np.frombuffer(value.tobytes(), np.uint8)
        return [self.names.add(path, raw), value.dtype.str, list(value.shape)]

    # ---------------------------------------------------------------------------------------- objects

    def _object(self, value, path):
        if isinstance(value, CODE):
            return {"global": self._path(value, path)}
        if isinstance(value, enum.Enum):
            return {"member": [self._path(type(value), path), value.name]}
        if type(value) is types.MethodType:
            return {"method": [self.pack(value.__self__, path), value.__name__]}
        if type(value) is partial:
            parts = [value.func, list(value.args), value.keywords]
            return {"partial": [self.pack(each, _longer(path, str(n))) for n, each in enumerate(parts)]}
        reduced = value.__reduce_ex__(2)
        plain = isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__
        if not plain:
            raise TypeError(_refusal(path, _class_name(value)))
        _, (cls, *arguments), state, items, pairs = (*reduced, None, None, None)[:5]
        entry = self._enter({"object": self._path(cls, path)}, value)
        if arguments:
            entry["arguments"] = self.pack(arguments, path)
        if state is not None:
            entry["state"] = self.pack(state, path)
        if items is not None:
            entry["items"] = self.pack(list(items), path)
        if pairs is not None:
            entry["pairs"] = self.pack(dict(pairs), path)
        return entry

    def _path(self, value, path):
        found = path_of(value)
        if found is None:
            name = getattr(value, "__qualname__", value)
            raise PicklingError(
                f"save(): {_where(path)} needs {name} of {getattr(value, '__module__', None)}, which cannot be found "
                "by this name when it is loaded; define it at the top of a module, or save a state_dict()"
            )
        return found


def _longer(path, label):
    return path if label is None or label in HIDDEN else (*path, label)


def _where(path):
    return "obj" + "".join(f"[{key!r}]" for key in path)


def _class_name(value):
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _refusal(path, what):
    return (
        f"save(): {_where(path)} is {what}, which cannot be saved without pickle; "
        "save tensors, numbers, strings, dicts, lists and tuples, such as a module's state_dict()"
    )
