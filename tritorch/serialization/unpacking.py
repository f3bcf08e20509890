"""From JSON back to the object: the inverse of `packing`."""

from __future__ import annotations

from enum import Enum
from functools import partial

import numpy as np

from tritorch.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from tritorch.runtime import dtypes
from tritorch.runtime.device import Device
from tritorch.serialization import container, kinds, objects
from tritorch.serialization.assembly import Assembly, Storage
from tritorch.serialization.errors import ILL_FORMED, Corrupt, Refused
from tritorch.serialization.packing import INTERNAL
from tritorch.serialization.safe import set_state

RULES: dict = {}  # the first key of an entry -> the function that makes its value


def _rule(key):
    def register(function):
        RULES[key] = function
        return function

    return register


class Unpacker:
    """Makes one object from its structure and the arrays of its file."""

    def __init__(self, source, entries, trust):
        self.source, self.entries, self.trust = source, entries, trust
        self.assembly = Assembly()
        self.storages: dict = {}
        self.known: dict = {}  # id in the file -> what was made of it

    def unpack(self, value):
        """The value of a piece of JSON."""
        if isinstance(value, list):
            return [self.unpack(each) for each in value]
        if not isinstance(value, dict):
            return value
        key = next(iter(value), None)
        try:
            if key in kinds.BY_NAME:
                return kinds.BY_NAME[key].unpack(value[key], self.unpack)
            if key in RULES:
                return RULES[key](self, value[key], value)
        except ILL_FORMED as error:
            what = f"{type(error).__name__}: {error}"
            raise Corrupt(f"the structure in its metadata is corrupt ({what})") from None
        raise Corrupt(f"the structure in its metadata has an entry of unknown kind {key!r}")

    def array(self, name):
        """A stored array, of memory of its own."""
        entry = self._entry(name)
        return self.source.vector(entry.start, entry.length).view(entry.dtype).reshape(entry.shape)

    def _entry(self, name):
        if name not in self.entries:
            raise Corrupt(f"the structure in its metadata refers to {name!r}, which the file does not have")
        return self.entries[name]

    def tensor(self, name, location, entry):
        """A tensor on a stored array; those on the same array share its memory."""
        stored = self._entry(name)
        if stored.dtype not in dtypes.BY_NUMPY:
            raise Corrupt(f"tensor {name!r} has dtype {stored.dtype}, which tensors do not have")
        order = entry.get("order")
        key = name, location, str(order)
        if key not in self.storages:
            self.storages[key] = Storage(self._elements(stored, order), location)
        shape = list(stored.shape)
        offset, shape, strides = entry.get("view") or (0, shape, _strides(shape, order))
        return self.assembly.tensor(self.storages[key], dtypes.of(stored.dtype), offset, shape, strides)

    def _elements(self, stored, order):
        """The bytes of an array, moved to the order of dimensions that its tensor had in memory."""
        data = self.source.vector(stored.start, stored.length)
        if order is None:
            return data
        array = data.view(stored.dtype).reshape(stored.shape)
        return np.ascontiguousarray(array.transpose(order)).reshape(-1).view(np.uint8)

    def keep(self, entry, made):
        """Remember what later references mean."""
        if "id" in entry:
            self.known[entry["id"]] = made
        return made

    def find(self, path):
        """The class or function at a path, if the user trusts the file or has allowed it."""
        found = objects.find(path, self.trust)
        if found is None:
            raise Refused(objects.refusal(path, self.trust))
        return found


def _strides(shape, order):
    """The strides, in elements, of a contiguous array, or of one whose dimensions lie in `order`."""
    strides, step = [0] * len(shape), 1
    for dim in reversed(order or range(len(shape))):
        strides[dim] = step
        step *= shape[dim]
    return strides


def _with_attributes(unpacker, made, entry):
    """A tensor with what the user had put on it."""
    for name, value in unpacker.unpack(entry["attributes"]).items() if "attributes" in entry else ():
        if name in INTERNAL or name in dir(type(made)):
            raise Corrupt(f"a tensor has an attribute {name!r}, which would change what it is")
        setattr(made, name, value)
    return unpacker.keep(entry, made)


@_rule("lazy")
def _lazy(unpacker, parts, entry):
    parameter, requires, device, name = parts
    kind = UninitializedParameter if parameter else UninitializedBuffer
    return kind(requires, Device(*device), dtypes.NAMES[name])


@_rule("sparse")
def _sparse(unpacker, parts, entry):
    from tritorch.sparse import sparse_coo_tensor

    indices, values = unpacker.unpack(parts[0]), unpacker.unpack(parts[1])
    return unpacker.keep(entry, sparse_coo_tensor(indices, values, parts[2], is_coalesced=parts[3]))


@_rule("tensor")
def _tensor(unpacker, name, entry):
    made = unpacker.tensor(name, str(Device(*entry["device"])), entry)
    if "class" in entry:
        made = unpacker.assembly.alias(made, unpacker.find(entry["class"]))
    if entry.get("requires_grad", False):
        made.requires_grad_()
    return _with_attributes(unpacker, made, entry)


@_rule("parameter")
def _parameter(unpacker, name, entry):
    data = unpacker.tensor(name, str(Device(*entry["device"])), entry)
    kind = unpacker.find(entry["class"]) if "class" in entry else Parameter
    made = unpacker.assembly.alias(data, kind)
    made.requires = bool(entry.get("requires_grad", True))
    return _with_attributes(unpacker, made, entry)


@_rule("array")
def _array(unpacker, stored, entry):
    if isinstance(stored, str):
        return unpacker.array(stored)
    name, code, shape = stored
    kind = container.plain_dtype(code)
    return unpacker.array(name).reshape(-1).view(np.uint8).view(kind).reshape(shape)


@_rule("scalar")
def _scalar(unpacker, stored, entry):
    return _array(unpacker, stored, entry)[()]


@_rule("same")
def _same(unpacker, number, entry):
    return unpacker.known[number]


@_rule("global")
def _global(unpacker, path, entry):
    return unpacker.find(path)


@_rule("member")
def _member(unpacker, parts, entry):
    kind = unpacker.find(parts[0])
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        raise Refused(f"it holds a member of {parts[0]}, which is no enumeration")
    return kind[parts[1]]


@_rule("method")
def _method(unpacker, parts, entry):
    owner, name = unpacker.unpack(parts[0]), parts[1]
    unpacker.find(objects.path_of(type(owner)) or "")  # only of objects that the file may have
    return getattr(owner, name)


@_rule("partial")
def _partial(unpacker, parts, entry):
    function, arguments, named = map(unpacker.unpack, parts)
    return partial(function, *arguments, **named)


@_rule("object")
def _object(unpacker, path, entry):
    kind = unpacker.find(path)
    if not isinstance(kind, type):
        raise Refused(f"it holds an instance of {path}, which is not a class")
    made = kind.__new__(kind, *unpacker.unpack(entry.get("arguments", [])))
    unpacker.keep(entry, made)
    if "items" in entry:
        made.extend(unpacker.unpack(entry["items"]))
    for key, value in unpacker.unpack(entry["pairs"]).items() if "pairs" in entry else ():
        made[key] = value
    if "state" in entry:
        set_state(made, unpacker.unpack(entry["state"]))
    return made
