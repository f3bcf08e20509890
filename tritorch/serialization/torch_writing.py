"""Files that PyTorch's own `torch.load` reads, its default `weights_only=True` included: a zip archive with a pickle.

Only opcodes are written: nothing here unpickles, and no class of PyTorch is needed. What is no tensor, number, string,
container or other part of a state dict is refused, since it could only be written as code to be run.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np

from tritorch.nn.parameter import Parameter
from tritorch.runtime import dtypes, memory_format, transfer, views
from tritorch.runtime.device import Device
from tritorch.serialization import regions
from tritorch.serialization.torch_names import STORAGES
from tritorch.serialization.writing import write_file
from tritorch.tensor import Size, Tensor

PREFIXES = {name: prefix for prefix, name in STORAGES.items()}
REBUILD, REBUILD_TYPED, PARAMETER = "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"


def save_torch(obj, f):
    """Write state dicts and other plain data to a path or file object in PyTorch's own format, for PyTorch to load.

    A path is written whole or not at all. Tensors keep their strides and shared memory.
    """
    emitter = _Emitter()
    emitter.emit(obj)
    name = "archive" if hasattr(f, "write") else os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
    data, storages = emitter.finish()
    write_file(f, lambda file: _write_archive(file, name, data, storages))


def _write_archive(file, name, data, storages):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        archive.writestr(f"{name}/byteorder", sys.byteorder)
        for number, array in enumerate(storages):
            entry = zipfile.ZipInfo(f"{name}/data/{number}")
            with archive.open(entry, "w", force_zip64=array.size * array.itemsize >= 2**31) as member:
                if array.size:
                    member.write(np.ascontiguousarray(transfer.to_host(array)).reshape(-1).view(np.uint8).data)
        archive.writestr(f"{name}/version", "3\n")


class _Emitter:
    """Writes the opcodes of an object, protocol 2; tensors are filled in when it is known which share memory."""

    def __init__(self):
        self.parts: list = [pickle.PROTO + b"\x02"]  # bytes, and Members in the place of a tensor's call
        self.members: list = []
        self.memo: dict = {}  # id of what was written -> (its number, itself)
        self.path: list = []

    def emit(self, value):
        """Write the opcodes of a value."""
        if type(value) in SCALARS:
            self.write(SCALARS[type(value)](value))
        elif id(value) in self.memo:
            self.write(pickle.LONG_BINGET + struct.pack("<I", self.memo[id(value)][0]))
        elif isinstance(value, Tensor):
            self._tensor(value)
        else:
            rule = RULES.get(type(value))
            if rule is None and isinstance(value, np.dtype):
                rule = _dtype
            if rule is None and isinstance(value, np.generic):
                rule = _scalar
            if rule is None:
                kind = f"{type(value).__module__}.{type(value).__qualname__}"
                raise TypeError(f"save_torch(): {self.where()} is a {kind}, which only running code could make again")
            rule(self, value)

    def write(self, *parts):
        """Write opcodes as they are."""
        self.parts.extend(parts)

    def remember(self, value):
        """Write later occurrences of the value just written as a reference to it."""
        self.memo[id(value)] = len(self.memo), value
        self.write(pickle.LONG_BINPUT + struct.pack("<I", self.memo[id(value)][0]))

    def inside(self, label, value):
        """Write a value inside another."""
        self.path.append(label)
        self.emit(value)
        self.path.pop()

    def call(self, module, name, *arguments):
        """Write the call of a function."""
        self.write(_global(module, name))
        self.emit(arguments)
        self.write(pickle.REDUCE)

    def where(self):
        """The place of the value being written."""
        return "obj" + "".join(f"[{label!r}]" for label in self.path)

    def _tensor(self, value):
        if value.is_sparse:
            size = tuple(value.size())
            data = value._indices(), value._values(), Size(size), value.is_coalesced()
            self.call("torch._utils", "_rebuild_sparse_tensor", value.layout, data)
            self.remember(value)
            return
        array = value.detach().array
        if min(array.strides, default=0) < 0:
            array = np.ascontiguousarray(array)
        plain = {"device": str(value.device if value.device.is_cuda else "cpu"), "requires_grad": value.requires_grad}
        member = regions.Member(plain, None, array, ())
        parameter = isinstance(value, Parameter)
        if parameter:
            self.write(_global("torch._utils", PARAMETER), pickle.MARK)
        self.members.append(member)
        self.parts.append(member)
        if parameter:
            self.emit(value.requires_grad)
            self.write(HOOKS, pickle.TUPLE, pickle.REDUCE)
        self.remember(value)

    def finish(self):
        """The pickle, and the storages that it refers to by number."""
        storages: list = []
        for cluster in regions.clusters([member for member in self.members if member.array.size]):
            low, high = min(member.low for member in cluster), max(member.high for member in cluster)
            lowest = next(member.array for member in cluster if member.low == low)
            count = (high - low) // lowest.itemsize
            for member in cluster:
                member.entry.update(key=len(storages), count=count, offset=(member.low - low) // lowest.itemsize)
            storages.append(views.as_strided(lowest, (count,), (lowest.itemsize,)))
        for member in self.members:
            if not member.array.size:
                member.entry.update(key=len(storages), count=0, offset=0)
                storages.append(member.array)
        parts = (part if isinstance(part, bytes) else _rebuild_call(part) for part in (*self.parts, pickle.STOP))
        return b"".join(parts), storages


def _rebuild_call(member):
    """The call that makes a tensor on its storage."""
    entry, array = member.entry, member.array
    dtype = dtypes.of(array.dtype)
    prefix = PREFIXES.get(dtype.name)
    call = _Emitter()
    call.parts.clear()
    call.write(_global("torch._utils", REBUILD if prefix else REBUILD_TYPED), pickle.MARK, pickle.MARK)
    call.emit("storage")
    call.write(_global("torch", f"{prefix}Storage") if prefix else _global("torch.storage", "UntypedStorage"))
    call.emit(str(entry["key"]))
    call.emit(entry["device"])
    call.emit(entry["count"] * (1 if prefix else array.itemsize))
    call.write(pickle.TUPLE, pickle.BINPERSID)
    call.emit(entry["offset"])
    call.emit(tuple(array.shape))
    call.emit(tuple([step // array.itemsize for step in array.strides]))
    call.emit(entry["requires_grad"])
    call.write(HOOKS, b"" if prefix else _global("torch", dtype.name), pickle.TUPLE, pickle.REDUCE)
    return b"".join(call.parts)


# -------------------------------------------------------------------------------------------- opcodes of each type


def _global(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _int(value):
    if -(2**31) <= value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    data = pickle.encode_long(value)
    size = pickle.LONG1 + bytes([len(data)]) if len(data) < 256 else pickle.LONG4 + struct.pack("<i", len(data))
    return size + data


def _str(value):
    data = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


HOOKS = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
SCALARS = {
    type(None): lambda value: pickle.NONE,
    bool: lambda value: pickle.NEWTRUE if value else pickle.NEWFALSE,
    int: _int,
    float: lambda value: pickle.BINFLOAT + struct.pack(">d", value),
    str: _str,
}


def _tuple(emitter, value):
    emitter.write(pickle.MARK)
    for number, each in enumerate(value):
        emitter.inside(number, each)
    emitter.write(pickle.TUPLE)


def _list(emitter, value):
    emitter.write(pickle.EMPTY_LIST)
    emitter.remember(value)
    emitter.write(pickle.MARK)
    for number, each in enumerate(value):
        emitter.inside(number, each)
    emitter.write(pickle.APPENDS)


def _items(emitter, value):
    emitter.write(pickle.MARK)
    for key, each in value.items():
        emitter.emit(key)
        emitter.inside(key, each)
    emitter.write(pickle.SETITEMS)


def _dict(emitter, value):
    emitter.write(pickle.EMPTY_DICT)
    emitter.remember(value)
    _items(emitter, value)


def _ordered(emitter, value):
    emitter.write(HOOKS)
    emitter.remember(value)
    _items(emitter, value)
    if vars(value):
        emitter.emit(dict(vars(value)))
        emitter.write(pickle.BUILD)


def _default(emitter, value):
    factory = value.default_factory
    emitter.write(_global("collections", "defaultdict"), pickle.MARK)
    emitter.write(pickle.NONE if factory is None else _global("__builtin__", factory.__name__))
    emitter.write(pickle.TUPLE, pickle.REDUCE)
    emitter.remember(value)
    _items(emitter, value)


def _dtype(emitter, value):
    emitter.call("numpy", "dtype", value.str[1:] if value.kind not in "SU" else value.str, False, True)
    order = value.str[0]
    size = (-1, -1) if value.kind not in "SU" else (value.itemsize, value.alignment)
    emitter.emit((3, order, None, None, None, *size, 0))
    emitter.write(pickle.BUILD)


def _scalar(emitter, value):
    emitter.call("numpy.core.multiarray", "scalar", value.dtype, value.tobytes())


def _array(emitter, value):
    if value.dtype.hasobject or value.dtype.kind == "V":
        raise TypeError(f"save_torch(): {emitter.where()} is an array of dtype {value.dtype}")
    emitter.write(_global("numpy.core.multiarray", "_reconstruct"), pickle.MARK, _global("numpy", "ndarray"))
    emitter.emit((0,))
    emitter.emit(b"b")
    emitter.write(pickle.TUPLE, pickle.REDUCE)
    emitter.remember(value)
    emitter.emit((1, value.shape, value.dtype, False, value.tobytes()))
    emitter.write(pickle.BUILD)


RULES = {
    tuple: _tuple,
    list: _list,
    dict: _dict,
    OrderedDict: _ordered,
    defaultdict: _default,
    np.ndarray: _array,
    bytes: lambda emitter, value: emitter.call("_codecs", "encode", value.decode("latin1"), "latin1"),
    set: lambda emitter, value: emitter.call("__builtin__", "set", list(value)),
    complex: lambda emitter, value: emitter.call("__builtin__", "complex", value.real, value.imag),
    Counter: lambda emitter, value: emitter.call("collections", "Counter", dict(value)),
    Size: lambda emitter, value: emitter.call("torch", "Size", tuple(value)),
    Device: lambda emitter, value: emitter.call(
        "torch", "device", *(each for each in (value.type, value.index) if each is not None)
    ),
    dtypes.dtype: lambda emitter, value: emitter.write(_global("torch", value.name)),
    memory_format.layout: lambda emitter, value: emitter.call("torch.serialization", "_get_layout", repr(value)),
}
