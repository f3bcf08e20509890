"""load: an object from a file of ours, of PyTorch, of NumPy, or of any program that writes safetensors."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile

from tritorch.serialization import container
from tritorch.serialization.errors import ILL_FORMED, Corrupt, Raised, Refused
from tritorch.serialization.npz import read_npz
from tritorch.serialization.source import opened
from tritorch.serialization.torch_files import read_archive
from tritorch.serialization.torch_legacy import read_legacy, read_tar
from tritorch.serialization.unpacking import Unpacker
from tritorch.serialization.writing import KEY

NO_MMAP = (
    "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True)`, please torch.save "
    "your checkpoint with this option in order to use mmap."
)
FAILED = "Weights only load failed. "


def load(f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args):
    """Read what `save` wrote, any safetensors file, or a checkpoint of PyTorch, from a path or a binary file object.

    `map_location` says where tensors go: a device, a dict from saved to wanted devices, or a function of (storage, name
    of the saved device). Without it they return to the device they were saved from. Only weights and plain data are
    made, and no code of the file runs; `weights_only=False` imports the classes of whole modules too. With `mmap` the
    file is mapped, and read where tensors are.
    """
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    trust = pickle_module is not None if weights_only is None else not weights_only
    with opened(f, bool(mmap)) as source:
        try:
            made, assembly = _read(source, trust, pickle_load_args.get("encoding", "utf-8"))
        except Corrupt as error:
            raise RuntimeError(f"load(): {source.name}: {error}") from None
        except Raised as error:
            raise error.error from None
        except ILL_FORMED as error:
            raise RuntimeError(f"load(): {source.name}: it is corrupt ({type(error).__name__}: {error})") from error
        except Refused as error:
            raise pickle.UnpicklingError(f"load(): {source.name}: {'' if trust else FAILED}{error}") from None
    assembly.place(map_location)
    return made


def _read(source, trust, encoding):
    """The object in a file, and the Assembly of its tensors."""
    start = source.bytes(0, 512)
    if not start:
        raise Corrupt("it is empty, or was read to its end before: seek(0) goes back")
    if start[8:9] != b"{":
        if start[:4] == b"PK\x03\x04":
            return read_npz(source) if _is_npz(source) else read_archive(source, trust, encoding)
        old = read_legacy if start[:1] == b"\x80" else read_tar if start[257:262] == b"ustar" else None
        if old is not None:
            if source.mapped is not None:
                raise Corrupt(NO_MMAP)
            return old(source.bytes(0, source.size), trust, encoding)
    return _read_container(source, trust)


def _is_npz(source):
    """Whether a zip archive is NumPy's, whose members are arrays without a folder."""
    try:
        with zipfile.ZipFile(source.file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        return False  # what is wrong with it is said when it is read
    return bool(names) and all(name.endswith(".npy") and "/data/" not in name for name in names)


def _read_container(source, trust):
    entries, metadata = container.read_header(source)
    unpacker = Unpacker(source, entries, trust)
    if KEY not in metadata:
        return {name: unpacker.tensor(name, "cpu", {}) for name in entries}, unpacker.assembly
    try:
        structure = json.loads(metadata[KEY])
        return unpacker.unpack(structure), unpacker.assembly
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"the structure in its metadata is corrupt ({error})") from None
