"""NumPy's npz archives: `load("state.npz")` gives a dict of tensors, as `numpy.savez(path, **state)` wrote them."""

from __future__ import annotations

import zipfile
import zlib

import numpy as np

from tritorch.runtime import dtypes
from tritorch.serialization.assembly import Assembly, Storage
from tritorch.serialization.errors import Corrupt, Refused

SMALL, RATIO = 1 << 28, 20  # unpacked bytes that are never too many, and how much more than the file they may be


def read_npz(source):
    """The tensors of an archive by name, and their Assembly."""
    assembly, made = Assembly(), {}
    with zipfile.ZipFile(source.file) as archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        unpacked = sum(info.file_size for info in infos)
        if unpacked > max(SMALL, RATIO * source.size):
            raise Refused(
                f"its arrays unpack to {unpacked} bytes, {unpacked // source.size} times the file's: a zip bomb"
            )
        for info in infos:
            name = info.filename.removesuffix(".npy")
            array = _read(archive, info, name)
            made[name] = _tensor(assembly, name, array)
    return made, assembly


def _read(archive, info, name):
    try:
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(member)
            if dtype.hasobject:
                raise Refused(f"array {name!r} holds pickled objects, which can run code when they are read")
            data = member.read()
    except (ValueError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise Corrupt(f"array {name!r} is truncated or corrupt ({error})") from None
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != len(data):
        raise Corrupt(f"array {name!r} of shape {shape} and dtype {dtype} has {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _tensor(assembly, name, array):
    if array.dtype not in dtypes.BY_NUMPY:
        raise Corrupt(f"array {name!r} has dtype {array.dtype}, which tensors do not have")
    array = np.ascontiguousarray(array).reshape(array.shape)
    steps = [step // array.itemsize for step in array.strides]
    data = array.reshape(-1).view(np.uint8)
    return assembly.tensor(Storage(data, "cpu"), dtypes.of(array.dtype), 0, array.shape, steps)
