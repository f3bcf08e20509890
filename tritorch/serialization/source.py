"""The bytes of a file, read a piece at a time into arrays of their own, or mapped."""

from __future__ import annotations

import contextlib
import io
import mmap
import os

import numpy as np

from tritorch.serialization.errors import Corrupt

PIECE = 1 << 24
NOT_SEEKABLE = (
    "'{}' object has no attribute 'seek'. You can only torch.load from a file that is seekable. Please pre-load the "
    "data into a buffer like io.BytesIO and try to load from it instead."
)


class Source:
    """A file opened for reading, its size, and its name for messages."""

    def __init__(self, file, name, mapped=False):
        self.file, self.name = file, name
        file.seek(0, os.SEEK_END)
        self.size = file.tell()
        self.mapped = None
        if mapped and self.size:  # written to, it changes in memory only
            self.mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)

    def bytes(self, start, length):
        """Some bytes, fewer where the file ends before."""
        self.file.seek(start)
        return self.file.read(min(length, max(self.size - start, 0)))

    def vector(self, start, length):
        """Some bytes as a writable vector of uint8."""
        if start + length > self.size:
            raise Corrupt(f"it is truncated: {start + length - self.size} bytes are missing")
        if self.mapped is not None:
            return self.mapped[start : start + length]
        found = np.empty(length, np.uint8)
        self.file.seek(start)
        done = 0
        while done < length:
            count = self._read_into(memoryview(found)[done : done + PIECE])
            if not count:
                raise Corrupt(f"it is truncated: {length - done} bytes are missing")
            done += count
        return found

    def _read_into(self, space):
        if hasattr(self.file, "readinto"):
            return self.file.readinto(space)
        part = self.file.read(len(space))
        space[: len(part)] = part
        return len(part)


@contextlib.contextmanager
def opened(f, mapped=False):
    """The Source of a path or of a binary file object, which is read from where it stands."""
    if hasattr(f, "read"):
        if mapped:
            raise ValueError("f must be a file path in order to use the mmap argument")
        yield Source(_seekable(f), getattr(f, "name", None) or f"<{type(f).__name__}>")
        return
    if not isinstance(f, (str, os.PathLike)):
        raise AttributeError(NOT_SEEKABLE.format(type(f).__name__))
    with open(f, "rb") as file:
        yield Source(file, os.fspath(f), mapped)


def _seekable(f):
    """The file itself if it can go back and forth, else what is left to read in it."""
    try:
        start = f.tell()
        f.seek(0, os.SEEK_END)
        f.seek(start)
    except (AttributeError, OSError, ValueError):  # a stream, or a compressed file
        return io.BytesIO(f.read())
    return io.BytesIO(f.read()) if start else f
