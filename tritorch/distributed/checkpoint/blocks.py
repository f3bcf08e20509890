"""Files with a checksum for each block, kept in another file, so that a part can be read and still be checked."""

from __future__ import annotations

import zlib

import numpy as np

from tritorch.serialization.errors import Corrupt
from tritorch.serialization.source import Source

BLOCK = 1 << 18  # bytes: what is read at least, and one number of ten digits in the metadata


class BlockWriter:
    """A file to write to from start to end; afterwards `size` and `sums`, the CRC-32 of each block."""

    def __init__(self, file):
        self.file, self.size, self.sums = file, 0, []

    def write(self, data):
        """Write bytes."""
        self.file.write(data)
        data = memoryview(data).cast("B")
        while len(data):
            filled = self.size % BLOCK
            part, data = data[: BLOCK - filled], data[BLOCK - filled :]
            self.sums.append(zlib.crc32(part, self.sums.pop() if filled else 0))
            self.size += len(part)


class BlockSource(Source):
    """A file opened for reading, each block of which is checked when a part of it is read."""

    def __init__(self, file, name, size, sums):
        super().__init__(file, name)
        if self.size != size or len(sums) != -(-size // BLOCK):
            raise Corrupt(f"it has {self.size} bytes and the checkpoint says {size}: it is not whole")
        self.sums = sums

    def bytes(self, start, length):
        """Some bytes, fewer where the file ends before."""
        return self.vector(start, min(length, max(self.size - start, 0))).tobytes()

    def vector(self, start, length):
        """Some bytes as a writable vector of uint8."""
        if not length:
            return np.empty(0, np.uint8)
        first, last = start // BLOCK, -(-(start + length) // BLOCK)
        origin = first * BLOCK
        found = super().vector(origin, min(last * BLOCK, self.size) - origin)
        for number in range(first, last):
            at = number * BLOCK - origin
            if zlib.crc32(found[at : at + BLOCK].data) != self.sums[number]:
                raise Corrupt(
                    f"its bytes from {number * BLOCK} on are not those that were written: it is damaged; use another "
                    "checkpoint"
                )
        return found[start - origin : start - origin + length]
