"""Writes checkpoint files as PyTorch does, opcode by opcode, so that tests need neither PyTorch nor our own writer."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np

PREFIXES = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "uint8": "Byte",
            "bool": "Bool", "int32": "Int", "bfloat16": "BFloat16"}  # fmt: skip


FLOATS = np.arange(6, dtype=np.float32)


class Name:
    """What the opcode GLOBAL names."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """A function called while unpickling, and the state its result then gets."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state


class Persistent:
    """A persistent id."""

    def __init__(self, value):
        self.value = value


def opcodes(value):
    """The opcodes of a value, protocol 2."""
    if isinstance(value, Name):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        made = opcodes(value.function) + opcodes(value.arguments) + b"R"
        return made if value.state is None else made + opcodes(value.state) + b"b"
    if isinstance(value, Persistent):
        return opcodes(value.value) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(key) + opcodes(each) for key, each in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def pickled(value):
    """A whole pickle."""
    return b"\x80\x02" + opcodes(value) + b"."


def storage(key, array, location="cpu"):
    """The persistent id of a storage."""
    return Persistent(("storage", Name("torch", f"{PREFIXES[array.dtype.name]}Storage"), key, location, array.size))


def tensor(key, array, size=None, stride=None, offset=0, requires_grad=False, location="cpu"):
    """A tensor on the storage `key`, whose elements are `array`."""
    size = (array.size,) if size is None else size
    stride = (1,) if stride is None else stride
    hooks = Call(Name("collections", "OrderedDict"))
    arguments = storage(key, array, location), offset, size, stride, requires_grad, hooks
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), *arguments)


def zip_file(value, storages, byteorder="little", folder="archive", **written):
    """The bytes of today's format; `written` are further arguments of `ZipFile.writestr`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", value if isinstance(value, bytes) else pickled(value))
        archive.writestr(f"{folder}/byteorder", byteorder)
        for key, array in storages.items():
            data = array.astype(array.dtype.newbyteorder(">")) if byteorder == "big" else array
            archive.writestr(f"{folder}/data/{key}", np.ascontiguousarray(data).tobytes(), **written)
        archive.writestr(f"{folder}/version", "3\n")
    return stream.getvalue()


def legacy_file(value, storages):
    """The bytes of the format before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": True}
    head = (0x1950A86A20F9469CFC6C, 1001, system, value, list(storages))
    data = (struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return b"".join((*map(pickled, head), *data))


def legacy_tensor(key, array, view=None, **named):
    """A tensor as in the old format, whose storages may be views of others."""
    made = tensor(key, array, **named)
    identity = made.arguments[0].value
    return Call(made.function, Persistent((*identity, view)), *made.arguments[1:])


def tar_file(shape=(2, 3), count=6):
    """The format before 0.1.10: one tensor on one storage."""
    members = {
        "storages": pickled(1) + pickled(("5", "cpu", Name("torch", "FloatStorage"))) + struct.pack("<q", count)
        + FLOATS.tobytes() + pickled([]),
        "tensors": pickled(1) + pickled((3, "5", Name("torch", "FloatTensor")))
        + struct.pack("<i4x5q", 2, *shape, 3, 1, 0),
        "pickle": pickled({"w": Persistent("3")}),
    }  # fmt: skip
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()
