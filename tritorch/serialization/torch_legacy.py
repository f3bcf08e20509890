"""PyTorch's file formats before 1.6 (a sequence of pickles, then the storages) and before 0.1.10 (a tar archive)."""

from __future__ import annotations

import io
import struct
import sys
import tarfile

import numpy as np

from tritorch.serialization.errors import Corrupt
from tritorch.serialization.torch_files import Reader, TypedStorage, _text, byte_swapped
from tritorch.serialization.torch_names import StorageKind

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
COUNT = struct.Struct("<q")


def _no_storage(identity):
    raise Corrupt("its header refers to a storage")


def read_legacy(data, trust, encoding):
    """The object in a file of pickles, and the Assembly of its tensors."""
    reader = Reader(trust, encoding)
    magic, position = reader.unpickle(data, _no_storage)
    if magic != MAGIC_NUMBER:
        raise Corrupt("Invalid magic number; corrupt file?")
    version, position = reader.unpickle(data, _no_storage, position)
    if version != PROTOCOL_VERSION:
        raise Corrupt(f"Invalid protocol version: {version}")
    system, position = reader.unpickle(data, _no_storage, position)
    swapped = system.get("little_endian", True) != (sys.byteorder == "little")
    wanted = _Unread(len(data))
    made, position = reader.unpickle(data, lambda identity: _persistent(reader, identity, wanted), position)
    keys, position = reader.unpickle(data, _no_storage, position)
    for key in keys:
        storage = reader.storages.get(_text(key))
        if storage is None:
            raise Corrupt(f"it has data of storage {key!r}, which nothing refers to")
        position = _fill(storage, data, position, swapped)
        wanted.keys.discard(_text(key))
    if wanted.keys:
        raise Corrupt(f"the data of storage {sorted(wanted.keys)[0]!r} is missing")
    return made, reader.assembly


class _Unread:
    """Storages whose data comes later in the file: made before, together no larger than the file."""

    def __init__(self, left):
        self.left, self.keys = left, set()

    def make(self, key, size, dtype):
        self.left -= size
        if self.left < 0:
            raise Corrupt(f"storage {key!r} is said to have {size} bytes, more than the file has left")
        self.keys.add(key)
        return np.empty(size, np.uint8)


def _persistent(reader, identity, wanted):
    if isinstance(identity, tuple) and len(identity) > 1 and _text(identity[0]) == "module":
        return identity[1]  # a class, with its source text
    storage = reader.persistent(identity, wanted.make)
    view = identity[5] if len(identity) > 5 else None
    if view is None:
        return storage
    _, offset, count = view
    size = storage.dtype.itemsize
    if offset < 0 or count < 0 or (offset + count) * size > storage.data.size:
        raise Corrupt(f"a view of storage {identity[2]!r} reaches beyond it")
    part = storage.data[offset * size : (offset + count) * size]
    return TypedStorage(part, storage.location, storage.dtype)


def _fill(storage, data, position, swapped):
    """Read the elements of a storage, after their count; returns where they end."""
    if position + COUNT.size > len(data):
        raise Corrupt("it is truncated: a storage is missing")
    (count,) = COUNT.unpack_from(data, position)
    start, size = position + COUNT.size, storage.data.size
    if count * (storage.dtype.itemsize if storage.dtype else 1) != size or start + size > len(data):
        raise Corrupt(f"it is truncated or corrupt: a storage of {size} bytes is not there")
    found = np.frombuffer(data, np.uint8, size, start)
    storage.data[:] = byte_swapped(found, storage.dtype) if swapped and storage.dtype else found
    return start + size


# -------------------------------------------------------------------------------------------- tar archives


def read_tar(data, trust, encoding):
    """The object in a tar archive, and the Assembly of its tensors."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = {name: archive.extractfile(name).read() for name in ("storages", "tensors", "pickle")}
    except (tarfile.TarError, KeyError, AttributeError, EOFError) as error:
        raise Corrupt(f"its tar archive is truncated or corrupt ({error})") from None
    reader = Reader(trust, encoding)
    objects = _tar_storages(reader, members["storages"])
    _tar_tensors(reader, members["tensors"], objects)

    def persistent_load(identity):
        return identity[0] if isinstance(identity, tuple) else objects[int(identity)]

    made, _ = reader.unpickle(members["pickle"], persistent_load)
    return made, reader.assembly


def _tar_storages(reader, data):
    objects = {}
    count, position = reader.unpickle(data, _no_storage)
    for _ in range(count):
        (key, location, kind), position = reader.unpickle(data, _no_storage, position)
        if not isinstance(kind, StorageKind):
            raise Corrupt("its list of storages has something else")
        elements = COUNT.unpack_from(data, position)[0] if position + COUNT.size <= len(data) else -1
        size = elements * kind.dtype.itemsize
        if elements < 0 or position + COUNT.size + size > len(data):
            raise Corrupt("its list of storages is truncated")
        found = np.frombuffer(data, np.uint8, size, position + COUNT.size).copy()
        objects[key] = TypedStorage(found, _text(location), kind.dtype)
        position += COUNT.size + size
    views, _ = reader.unpickle(data, _no_storage, position)
    for key, root, offset, count in views:
        whole = objects[root]
        size = whole.dtype.itemsize
        part = whole.data[offset * size : (offset + count) * size]
        objects[key] = TypedStorage(part, whole.location, whole.dtype)
    return objects


def _tar_tensors(reader, data, objects):
    count, position = reader.unpickle(data, _no_storage)
    for _ in range(count):
        (key, storage, _), position = reader.unpickle(data, _no_storage, position)
        try:
            (ndim,) = struct.unpack_from("<i4x", data, position)
            found = struct.unpack_from(f"<{max(ndim, 0) * 2 + 1}q", data, position + 8)
        except struct.error:
            raise Corrupt("its list of tensors is truncated") from None
        position += 8 + 8 * len(found)
        whole = objects[storage]
        objects[key] = reader.assembly.tensor(whole, whole.dtype, found[-1], found[:ndim], found[ndim:-1])
