"""PyTorch's own checkpoint files: the zip archives of today, and the formats before them."""

from __future__ import annotations

import sys

import numpy as np

from tritorch.serialization import safe
from tritorch.serialization.archive import Archive
from tritorch.serialization.assembly import Assembly, Storage
from tritorch.serialization.errors import Corrupt, Refused
from tritorch.serialization.objects import find_global, unsupported
from tritorch.serialization.opcodes import INSTRUCTIONS
from tritorch.serialization.torch_names import ALWAYS, UNSUPPORTED, StorageKind, tensor_makers
from tritorch.serialization.unpickler import Machine

RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}


class TypedStorage(Storage):
    """A storage of a file, with the dtype of the tensors on it unless they say another."""

    def __init__(self, data, location, dtype):
        super().__init__(data, location)
        self.dtype = dtype


class Reader:
    """Reads the objects of one file; `trust` lets them be whole modules and other objects, not only weights."""

    def __init__(self, trust, encoding):
        self.assembly, self.storages = Assembly(), {}
        self.trust, self.encoding = trust, encoding
        self.makers = tensor_makers(self.assembly)

    def unpickle(self, data, persistent_load, position=0):
        """The value of the pickle at `position`, and the position of its end."""
        machine = Machine(data, self.find_global, persistent_load, position, self.encoding)
        return machine.run(INSTRUCTIONS), machine.position

    def find_global(self, module, name):
        """What a name in the file stands for."""
        full = f"{RENAMED.get(module, module)}.{name}"
        found = safe.allowed(full) or self.makers.get(full) or ALWAYS.get(full)
        if found is None and full in UNSUPPORTED:
            raise Refused(f"it holds {UNSUPPORTED[full]}, which tritorch does not have")
        if found is None and self.trust:
            found = find_global(module, name)
        if found is None:
            raise Refused(_refusal(full, name, self.trust))
        return found

    def persistent(self, identity, read):
        """The storage of a persistent id; `read(key, bytes, dtype)` gives the data of one that is new."""
        kind, key, location, count = _storage_id(identity)
        size = count if kind.dtype is None else count * kind.dtype.itemsize
        found = self.storages.get(key)
        if found is None:
            found = self.storages[key] = TypedStorage(read(key, size, kind.dtype), location, kind.dtype)
        if size > found.data.size:
            raise Corrupt(f"storage {key!r} has {found.data.size} bytes, where {size} are said to be")
        return found


def _storage_id(identity):
    if not isinstance(identity, tuple) or len(identity) < 5 or _text(identity[0]) != "storage":
        raise Corrupt("its pickle has a persistent id that is no storage")
    kind, key, location, count = identity[1], _text(identity[2]), _text(identity[3]), identity[4]
    if not isinstance(kind, StorageKind) or type(count) is not int or count < 0:
        raise Corrupt("its pickle has a persistent id that is no storage")
    return kind, key, location, count


def _text(found):
    """Text that Python 2 may have written as bytes."""
    return found.decode("ascii") if isinstance(found, bytes) else found


def _refusal(full, name, trusted):
    if not trusted:
        return unsupported(full, name)
    return (
        f"it names {full}, which is neither an nn.Module nor plain data. Reading a pickle can run any code, so only "
        f"what `torch.serialization.add_safe_globals([{name}])` allows is made"
    )


# -------------------------------------------------------------------------------------------- zip archives


def read_archive(source, trust, encoding):
    """The object in a zip file of PyTorch, and the Assembly of its tensors."""
    archive = Archive(source)
    if "constants.pkl" in archive:
        raise Refused(
            "this is a TorchScript archive, a program, which torch.load does not run either (it has torch.jit.load for "
            "it). Save the state_dict() of the module instead"
        )
    reader = Reader(trust, encoding)
    swapped = "byteorder" in archive and archive.read("byteorder").decode("ascii", "replace") != sys.byteorder

    def read(key, size, dtype):
        data = archive.array(f"data/{key}")
        if data.size != size:
            raise Corrupt(f"storage {key!r} has {data.size} bytes, where {size} are said to be")
        return byte_swapped(data, dtype) if swapped and dtype is not None else data

    made, _ = reader.unpickle(archive.read("data.pkl"), lambda identity: reader.persistent(identity, read))
    return made, reader.assembly


def byte_swapped(data, dtype):
    """A vector of bytes with those of each element in the other order."""
    return np.ascontiguousarray(data.reshape(-1, dtype.itemsize)[:, ::-1]).reshape(-1)
