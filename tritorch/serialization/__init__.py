"""save and load: tensors in the safetensors format, the structure around them as JSON in its metadata, no pickle.

A state dict is a plain safetensors file that other programs can read; files that others wrote load as a dict of
tensors. What can be saved: tensors, NumPy arrays, numbers, strings, None, and dicts, lists and tuples of these. Tensors
that share all their memory are stored once and share it again when loaded. Loading runs nothing that the file says.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections import OrderedDict

import numpy as np

from tritorch import creation
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.device import CPU, Device
from tritorch.serialization.errors import Corrupt, Refused
from tritorch.serialization.safe import add_safe_globals as add_safe_globals
from tritorch.serialization.safe import clear_safe_globals as clear_safe_globals
from tritorch.serialization.safe import get_safe_globals as get_safe_globals
from tritorch.serialization.safe import safe_globals as safe_globals
from tritorch.serialization.source import opened
from tritorch.serialization.torch_files import read_archive
from tritorch.serialization.torch_legacy import read_legacy, read_tar
from tritorch.tensor import Size, Tensor

KEY = "tritorch"  # the metadata entry with the structure
CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_NAMES = {code: name for name, code in CODES.items()}
_UNSIGNED = {"U16": np.uint16, "U32": np.uint32, "U64": np.uint64}  # NumPy has them, tensors do not


# -------------------------------------------------------------------------------------------- out


def save(obj, f, pickle_module=None, pickle_protocol=None, _use_new_zipfile_serialization=True):
    """Write `obj` to a path or a binary file object. A path is written whole or not at all."""
    packer = _Packer()
    structure = packer.pack(obj, ())
    if hasattr(f, "write"):
        packer.write(f, structure)
        return
    _write_atomically(os.fspath(f), lambda file: packer.write(file, structure))


def _write_atomically(path, write):
    """Write beside the path, make sure that it is on the disk, and only then put it in the place of what was there."""
    folder, name = os.path.split(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _permissions(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _permissions(path):
    """What the file has that is replaced, or what a new file gets."""
    if os.path.exists(path):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


class _Packer:
    """Turns an object into JSON with names in the place of arrays, and keeps the arrays by name."""

    def __init__(self):
        self.arrays, self.places = {}, {}

    def pack(self, value, path):
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, Tensor):
            device = value.device
            return {"tensor": self.store(value.detach().array, path), "device": [device.type, device.index]}
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return {"float": float(value).hex()}
        if isinstance(value, np.ndarray):
            return {"array": self.store(value, path)}
        if isinstance(value, np.generic):
            return {"scalar": self.store(np.asarray(value), path)}
        if isinstance(value, dtypes.dtype):
            return {"dtype": value.name}
        if isinstance(value, Device):
            return {"device": [value.type, value.index]}
        if isinstance(value, Size):
            return {"size": list(value)}
        return self.pack_container(value, path)

    def pack_container(self, value, path):
        if isinstance(value, dict):
            kind = "ordered" if isinstance(value, OrderedDict) else "dict"
            items = [[self.pack(key, path), self.pack(each, (*path, str(key)))] for key, each in value.items()]
            packed = {kind: items}
            if hasattr(value, "_metadata"):
                packed["metadata"] = self.pack(value._metadata, path)
            return packed
        if type(value) in (list, tuple):
            items = [self.pack(each, (*path, str(number))) for number, each in enumerate(value)]
            return items if type(value) is list else {"tuple": items}
        where = "".join(f"[{key!r}]" for key in path)
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"save(): obj{where} is a {kind}, which cannot be saved without pickle; "
            "save tensors, numbers, strings, dicts, lists and tuples, such as a module's state_dict()"
        )

    def store(self, array, path):
        """The name under which an array is kept; the same one for the same memory."""
        place = (transfer.pointer(array), array.shape, array.strides, array.dtype) if array.size else id(array)
        name = self.places.get(place)
        if name is None:
            name = base = ".".join(path) or "tensor"
            number = 1
            while name in self.arrays or name == "__metadata__":
                name, number = f"{base}#{number}", number + 1
            self.places[place], self.arrays[name] = name, array
        return name

    def write(self, file, structure):
        """The header's length, the header, then the elements, the largest first so that all are aligned."""
        order = sorted(self.arrays.items(), key=lambda item: -item[1].itemsize)
        header = {"__metadata__": {"format": "pt", KEY: json.dumps(structure, separators=(",", ":"))}}
        end = 0
        for name, array in order:
            start, end = end, end + array.size * array.itemsize
            header[name] = {"dtype": _code(array.dtype), "shape": list(array.shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, array in order:
            if array.size:
                file.write(np.ascontiguousarray(transfer.to_host(array)).reshape(-1).view(np.uint8).data)


def _code(dtype):
    for code, kind in _UNSIGNED.items():
        if dtype == kind:
            return code
    return CODES[dtypes.of(dtype).name]


# -------------------------------------------------------------------------------------------- in


def load(f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args):
    """Read what `save` wrote, any safetensors file, or a checkpoint of PyTorch, from a path or a binary file object.

    `map_location` says where tensors go: a device, a dict from saved to wanted devices, or a function of (storage, name
    of the saved device). Without it they return to the device they were saved from.
    """
    weights_only = True if weights_only is None else weights_only
    with opened(f, bool(mmap)) as source:
        try:
            made, place = _read_any(source, not weights_only, pickle_load_args.get("encoding", "utf-8"))
        except Corrupt as error:
            raise RuntimeError(f"load(): {source.name}: {error}") from None
        except Refused as error:
            raise pickle.UnpicklingError(f"load(): {source.name}: {error}") from None
    place(map_location)
    return made


def _read_any(source, trust, encoding):
    """The object in a file, whatever its format, and the function that puts its tensors where they belong."""
    start = source.bytes(0, 512)
    if start[8:9] != b"{" and start[:4] == b"PK\x03\x04":
        made, assembly = read_archive(source, trust, encoding)
        return made, assembly.place
    if start[8:9] != b"{" and start[:1] == b"\x80":
        made, assembly = read_legacy(source.bytes(0, source.size), trust, encoding)
        return made, assembly.place
    if start[257:262] == b"ustar":
        made, assembly = read_tar(source.bytes(0, source.size), trust, encoding)
        return made, assembly.place
    unpacker = _Unpacker(*_read(source.bytes(0, source.size)))
    return unpacker.object(), unpacker.place


def _read(data):
    """The arrays of a safetensors file by name and the structure around them, None in a file of another program."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(bytes(data))  # checks that offsets, shapes and lengths agree
    except (SafetensorError, ValueError) as error:
        raise Corrupt(f"not a whole safetensors file ({error}); it is truncated or corrupt") from None
    arrays = {name: _array(name, each) for name, each in found}
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if KEY not in metadata:
        return arrays, None
    try:
        return arrays, json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"the structure in its metadata is corrupt ({error})") from None


def _array(name, found):
    code = found["dtype"]
    if code not in _NAMES and code not in _UNSIGNED:
        raise Corrupt(f"tensor {name!r} has dtype {code}, which is not supported")
    kind = _UNSIGNED.get(code) or dtypes.NAMES[_NAMES[code]].numpy
    return np.frombuffer(bytearray(found["data"]), kind).reshape(found["shape"])


class _Unpacker:
    """Turns JSON back into the object, its tensors on the CPU first; `place` then puts them where they belong."""

    def __init__(self, arrays, structure):
        self.arrays, self.structure, self.tensors = arrays, structure, []

    def object(self):
        """What was saved; of a file of another program a dict of its tensors."""
        if self.structure is None:
            return {name: self._tensor(name, {"device": ["cpu", None]}) for name in self.arrays}
        return self.unpack(self.structure)

    def place(self, map_location):
        """Put the tensors where they were, or where `map_location` wants them; shared memory stays shared."""
        moved = {}
        for tensor, name, location in self.tensors:
            if (name, location) not in moved:
                moved[name, location] = _placed(tensor, location, map_location)
            found = moved[name, location]
            tensor.array, tensor.device = found.array, found.device

    def unpack(self, value):
        if isinstance(value, list):
            return [self.unpack(each) for each in value]
        if not isinstance(value, dict):
            return value
        kind = next(iter(value), None)
        rule = getattr(self, f"_{kind}", None) if isinstance(kind, str) and kind in _KINDS else None
        if rule is None:
            raise Corrupt(f"the structure in its metadata has an entry of unknown kind {kind!r}")
        try:
            return rule(value[kind], value)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise Corrupt(f"the structure in its metadata is corrupt ({type(error).__name__}: {error})") from None

    def _tensor(self, name, entry):
        kind, index = entry["device"]
        tensor = creation.wrap(self.arrays[name], CPU)
        self.tensors.append((tensor, name, str(Device(kind, index))))
        return tensor

    def _array(self, name, entry):
        return self.arrays[name]

    def _scalar(self, name, entry):
        return self.arrays[name][()]

    def _float(self, text, entry):
        return float.fromhex(text)

    def _dtype(self, name, entry):
        return dtypes.NAMES[name]

    def _device(self, parts, entry):
        return Device(*parts)

    def _size(self, sizes, entry):
        return Size(sizes)

    def _tuple(self, items, entry):
        return tuple(self.unpack(each) for each in items)

    def _dict(self, items, entry):
        return {self.unpack(key): self.unpack(each) for key, each in items}

    def _ordered(self, items, entry):
        made = OrderedDict((self.unpack(key), self.unpack(each)) for key, each in items)
        if "metadata" in entry:
            made._metadata = self.unpack(entry["metadata"])
        return made


_KINDS = ("tensor", "array", "scalar", "float", "dtype", "device", "size", "tuple", "dict", "ordered")


def _placed(tensor, location, map_location):
    """A loaded tensor where `map_location` wants it."""
    if callable(map_location) and not isinstance(map_location, Device):
        made = map_location(tensor, location)
        return tensor if made is None else made
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif map_location is not None:
        location = map_location
    device = Device(location)
    if device.is_cuda:
        from tritorch.runtime.cuda import driver

        if not driver.is_available():
            raise RuntimeError(
                "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. "
                "If you are running on a CPU-only machine, please use torch.load with "
                "map_location=torch.device('cpu') to map your storages to the CPU."
            )
    device = devices.resolve(device)
    return creation.wrap(transfer.from_host(tensor.array, device), device)
