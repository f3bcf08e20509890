"""What a cubin says about a kernel: its registers and the bytes of local memory each thread spills to.

A cubin is a 64-bit little-endian ELF file. Its `.nv.info` sections are lists of attributes; the two that are read here
are written by every ptxas, and CUDA's own tools print them as REG and STACK.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<4s36xQ10xHHH")  # magic, section table offset, its entry size, count, index of the names
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOLS = 2  # section type
_REGISTERS, _FRAME = 0x2F, 0x11  # attributes EIATTR_REGCOUNT and EIATTR_FRAME_SIZE
_SIZED = 4  # attribute format: a 16-bit size, then that many bytes


def resource_usage(cubin, name):
    """(registers, bytes of local memory) per thread of kernel `name`; None for what the file does not say."""
    magic, table, entry_size, count, names_at = _HEADER.unpack_from(cubin)
    if magic != b"\x7fELF":
        raise ValueError(f"kernel {name}: not a cubin, it starts with {magic!r}")
    sections = [_SECTION.unpack_from(cubin, table + at * entry_size) for at in range(count)]
    names_offset = sections[names_at][4]
    found = {}
    symbol = _symbol_index(cubin, sections, name)
    for section in sections:
        if _text(cubin, names_offset + section[0]).startswith(".nv.info"):
            for attribute, owner, value in _attributes(cubin, section[4], section[4] + section[5]):
                if owner == symbol:
                    found[attribute] = value
    return found.get(_REGISTERS), found.get(_FRAME)


def _symbol_index(cubin, sections, name):
    for section in sections:
        if section[1] == _SYMBOLS:
            strings = sections[section[6]][4]
            for at in range(section[5] // _SYMBOL.size):
                text = _SYMBOL.unpack_from(cubin, section[4] + at * _SYMBOL.size)[0]
                if _text(cubin, strings + text) == name:
                    return at
    return None


def _attributes(cubin, at, end):
    """The attributes (number, symbol, value) that say one number about one symbol."""
    while at + 4 <= end:
        form, attribute, size = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form == _SIZED:
            if size == 8:
                yield attribute, *struct.unpack_from("<II", cubin, at)
            at += size


def _text(cubin, at):
    return cubin[at : cubin.index(b"\0", at)].decode()
