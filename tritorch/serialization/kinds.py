"""Plain values that JSON does not have: how each kind is written down and made again. None of them can run anything."""

from __future__ import annotations

import argparse
import base64
import datetime
import pathlib
import types
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass

import numpy as np

from tritorch.ops.named_results import returns
from tritorch.random import Generator
from tritorch.runtime import dtypes, memory_format
from tritorch.runtime.device import Device
from tritorch.serialization import container
from tritorch.tensor import Size

FACTORIES = {
    each.__name__: each for each in (dict, list, set, tuple, int, float, str, bool, OrderedDict, Counter)
}  # of a defaultdict


class NotPlain(Exception):
    """What a value is that only looked plain."""


@dataclass(frozen=True)
class Kind:
    """A name in the file, `pack(value, child)` to JSON and `unpack(payload, child)` back.

    `child(value, label)` packs a value inside, and `child(payload)` unpacks it.
    """

    name: str
    pack: object
    unpack: object


BY_TYPE: dict[type, Kind] = {}
BY_NAME: dict[str, Kind] = {}


def kind(name, *kinds, pack, unpack):
    """Say how values of these types are saved."""
    BY_NAME[name] = made = Kind(name, pack, unpack)
    BY_TYPE.update(dict.fromkeys(kinds, made))


def of(value):
    """The Kind of a value, or None."""
    if isinstance(value, tuple) and type(value).__module__ == "torch.return_types":
        return BY_NAME["named"]
    found = BY_TYPE.get(type(value))
    if found is None and isinstance(value, np.dtype):
        return BY_TYPE[np.dtype]
    return found


def _items(value, child):
    return [[child(key, None), child(each, str(key))] for key, each in value.items()]


def _pairs(items, child):
    return [(child(key), child(each)) for key, each in items]


def _list(value, child):
    return [child(each, str(number)) for number, each in enumerate(value)]


def _text(value):
    return base64.b64encode(value).decode("ascii")


# -------------------------------------------------------------------------------------------- Python's

kind("float", float, pack=lambda value, _: value.hex(), unpack=lambda text, _: float.fromhex(text))
kind("complex", complex, pack=lambda value, _: [value.real.hex(), value.imag.hex()],
     unpack=lambda parts, _: complex(*map(float.fromhex, parts)))  # fmt: skip
kind("bytes", bytes, pack=lambda value, _: _text(value), unpack=lambda text, _: base64.b64decode(text, validate=True))
kind("bytearray", bytearray, pack=lambda value, _: _text(value),
     unpack=lambda text, _: bytearray(base64.b64decode(text, validate=True)))  # fmt: skip
_type: type
for _type in (tuple, set, frozenset):
    kind(_type.__name__, _type, pack=_list, unpack=lambda items, child, make=_type: make(map(child, items)))
kind("deque", deque, pack=lambda value, child: [value.maxlen, *_list(value, child)],
     unpack=lambda items, child: deque(map(child, items[1:]), items[0]))  # fmt: skip
kind("dict", dict, pack=_items, unpack=lambda items, child: dict(_pairs(items, child)))
kind("counter", Counter, pack=_items, unpack=lambda items, child: Counter(dict(_pairs(items, child))))
kind("slice", slice, pack=lambda value, child: [child(each, None) for each in (value.start, value.stop, value.step)],
     unpack=lambda parts, child: slice(*map(child, parts)))  # fmt: skip
kind("range", range, pack=lambda value, _: [value.start, value.stop, value.step], unpack=lambda parts, _: range(*parts))
kind("namespace", argparse.Namespace, pack=lambda value, child: _items(vars(value), child),
     unpack=lambda items, child: argparse.Namespace(**dict(_pairs(items, child))))  # fmt: skip
kind("simple", types.SimpleNamespace, pack=lambda value, child: _items(vars(value), child),
     unpack=lambda items, child: types.SimpleNamespace(**dict(_pairs(items, child))))  # fmt: skip
for _type in (datetime.datetime, datetime.date, datetime.time):
    kind(_type.__name__, _type, pack=lambda value, _: value.isoformat(),
         unpack=lambda text, _, make=_type: make.fromisoformat(text))  # fmt: skip
kind("timedelta", datetime.timedelta, pack=lambda value, _: [value.days, value.seconds, value.microseconds],
     unpack=lambda parts, _: datetime.timedelta(*parts))  # fmt: skip
kind("path", pathlib.PosixPath, pathlib.WindowsPath, pack=lambda value, _: str(value),
     unpack=lambda text, _: pathlib.Path(text))  # fmt: skip
for _type in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
    kind(_type.__name__, _type, pack=lambda value, _: str(value), unpack=lambda text, _, make=_type: make(text))


def _pack_default(value, child):
    name = getattr(value.default_factory, "__name__", None)
    if value.default_factory is not None and FACTORIES.get(name) is not value.default_factory:
        raise NotPlain(f"a defaultdict of {name}")
    return [name, *_items(value, child)]


def _unpack_default(items, child):
    return defaultdict(FACTORIES[items[0]] if items[0] is not None else None, _pairs(items[1:], child))


kind("defaultdict", defaultdict, pack=_pack_default, unpack=_unpack_default)


def _pack_ordered(value, child):
    packed = [_items(value, child)]
    return [*packed, child(value._metadata, "_metadata")] if hasattr(value, "_metadata") else packed


def _unpack_ordered(parts, child):
    made = OrderedDict(_pairs(parts[0], child))
    if len(parts) > 1:
        made._metadata = child(parts[1])
    return made


kind("state", OrderedDict, pack=_pack_ordered, unpack=_unpack_ordered)

# -------------------------------------------------------------------------------------------- NumPy's and PyTorch's


def _named(name, like):
    found = getattr(memory_format, name)
    if not isinstance(found, getattr(memory_format, like)):
        raise ValueError(f"there is no {like} {name}")
    return found


kind("named", pack=lambda value, child: [type(value).__name__, list(value._fields), *_list(value, child)],
     unpack=lambda parts, child: returns(parts[0], *parts[1])(*map(child, parts[2:])))  # fmt: skip


def _generator(parts, child):
    made = Generator(Device(*parts[:2]))
    made._seed, made._offset = parts[2:]
    return made


kind("numpy.dtype", np.dtype, pack=lambda value, _: value.str, unpack=lambda text, _: container.plain_dtype(text))
kind("dtype", dtypes.dtype, pack=lambda value, _: value.name, unpack=lambda name, _: dtypes.NAMES[name])
kind("device", Device, pack=lambda value, _: [value.type, value.index], unpack=lambda parts, _: Device(*parts))
kind("size", Size, pack=lambda value, _: list(value), unpack=lambda sizes, _: Size(sizes))
kind("generator", Generator,
     pack=lambda value, _: [value.device.type, value.device.index, value._seed, value._offset],
     unpack=_generator)  # fmt: skip
for _name in ("layout", "memory_format"):
    kind(_name, getattr(memory_format, _name), pack=lambda value, _: repr(value).removeprefix("torch."),
         unpack=lambda name, _, like=_name: _named(name, like))  # fmt: skip
