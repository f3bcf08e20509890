"""The zip archives PyTorch writes: members lie uncompressed, so they are read, or mapped, where they are.

The directory of an archive can lie. Its members must be uncompressed, lie inside the file, and not overlap, so that
they hold no more together than the file does; a zip bomb is none of these.
"""

from __future__ import annotations

import struct
import zipfile
import zlib

from tritorch.serialization.errors import Corrupt, Refused

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
UNCHECKED = 0  # the checksum that PyTorch writes where it was told to compute none


class Archive:
    """The members of one archive, by their names without the folder that all of them lie in."""

    def __init__(self, source):
        self.source, self.size = source, source.size
        try:
            with zipfile.ZipFile(source.file) as found:
                infos = found.infolist()
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, struct.error) as error:
            raise Corrupt(
                f"PytorchStreamReader failed reading zip archive: {error}; it is truncated or corrupt"
            ) from None
        self.spans = self._spans(infos)

    def _spans(self, infos):
        """Where each member lies: name -> (start, length, checksum)."""
        spans, root = {}, None
        for info in infos:
            folder, _, name = info.filename.partition("/")
            root = folder if root is None else root
            if info.filename in spans or folder != root or not name:
                raise Corrupt(f"its member {info.filename!r} does not belong there")
            spans[name] = self._start(info), info.file_size, info.CRC
        end = 0
        for start, length, _ in sorted(spans.values()):
            if start < end or start + length > self.size:
                raise Refused("its members overlap or reach beyond its end, as in a zip bomb")
            end = start + length
        return spans

    def _start(self, info):
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise Refused(
                f"its member {info.filename!r} is compressed or encrypted, which PyTorch never does, and may be a "
                "zip bomb; unpack it and pack it again without compression"
            )
        header = self.source.bytes(info.header_offset, LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise Corrupt(f"its member {info.filename!r} is not where the directory says")
        name_length, extra_length = LOCAL_HEADER.unpack(header)[-2:]
        return info.header_offset + LOCAL_HEADER.size + name_length + extra_length

    def __contains__(self, name):
        return name in self.spans

    def read(self, name):
        """A small member as bytes."""
        return self.array(name).tobytes()

    def array(self, name):
        """A member as a writable vector of uint8."""
        if name not in self.spans:
            raise Corrupt(f"PytorchStreamReader failed locating file {name}: file not found")
        start, length, checksum = self.spans[name]
        found = self.source.vector(start, length)
        if self.source.mapped is None and checksum not in (UNCHECKED, zlib.crc32(found)):
            raise Corrupt(f"its member {name!r} is corrupt: its checksum differs")
        return found
