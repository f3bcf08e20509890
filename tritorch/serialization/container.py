"""The safetensors format: a header that says where each array lies, then the elements. Nothing in it can run.

The header is JSON after its length in eight bytes: name -> dtype, shape and span of bytes, and "__metadata__": text.
The spans follow each other without gaps or overlaps to the end of the file, so that a file holds what it says.
"""

from __future__ import annotations

import json
import math
import re

import numpy as np

from tritorch.runtime import dtypes, transfer
from tritorch.serialization.errors import Corrupt, Refused

LARGEST_HEADER = 100_000_000  # what other readers of the format accept
CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
KINDS = {code: dtypes.NAMES[name].numpy for name, code in CODES.items()}
UNSIGNED = {"U16": np.dtype(np.uint16), "U32": np.dtype(np.uint32), "U64": np.dtype(np.uint64)}  # arrays have them
_OF_KIND = {kind: code for code, kind in (KINDS | UNSIGNED).items()}
METADATA = "__metadata__"


def code_of(dtype):
    """The format's name of a NumPy dtype, or None for one that it does not have."""
    return _OF_KIND.get(dtype)


def plain_dtype(text, kinds="?biufcmMSUV"):
    """The NumPy dtype that a file calls `text`: numbers, text, bytes or times, not objects or fields."""
    found = re.fullmatch(r"[<>=|]?([a-zA-Z?])[0-9]{0,9}(\[[0-9]{0,4}[a-zA-Z]{1,2}\])?", str(text))
    if found is None or found[1] not in kinds:
        raise Refused(f"Trying to make a NumPy array of dtype {text!r}")
    return np.dtype(text)


# -------------------------------------------------------------------------------------------- out


def write(file, arrays, metadata=None):
    """Write named arrays, of any device, and text beside them."""
    order = sorted(arrays.items(), key=lambda item: -item[1].itemsize)  # so that all are aligned
    header: dict = {} if metadata is None else {METADATA: metadata}
    end = 0
    for name, array in order:
        start, end = end, end + array.size * array.itemsize
        header[name] = {"dtype": code_of(array.dtype), "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise ValueError(
            f"save(): what is no tensor takes {len(text) / 1e6:.0f} MB, more than the {LARGEST_HEADER / 1e6:.0f} MB "
            "that a file can have; save long lists of numbers as tensors or arrays"
        )
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for _, array in order:
        if array.size:
            file.write(np.ascontiguousarray(transfer.to_host(array)).reshape(-1).view(np.uint8).data)


# -------------------------------------------------------------------------------------------- in


class Entry:
    """One array of a file: its dtype, shape, and where its bytes lie."""

    __slots__ = ("dtype", "length", "shape", "start")

    def __init__(self, dtype, shape, start, length):
        self.dtype, self.shape, self.start, self.length = dtype, shape, start, length


def read_header(source):
    """The entries of a file by name, and its metadata."""
    length = int.from_bytes(source.bytes(0, 8), "little")
    if source.size < 8 or length > min(source.size - 8, LARGEST_HEADER):
        raise Corrupt("not a whole safetensors file; it is truncated or corrupt")
    try:
        header = json.loads(source.bytes(8, length), object_pairs_hook=_without_repeats)
        metadata = header.pop(METADATA, None) or {}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise Corrupt("its metadata is not text")
        entries = {name: _entry(name, found, length + 8) for name, found in header.items()}
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise Corrupt(f"not a safetensors file, or its header is corrupt ({error})") from None
    end = length + 8
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].length)):
        if entry.start != end:
            raise Corrupt(f"tensor {name!r} starts at byte {entry.start}, where {end} is due: the header is corrupt")
        end = entry.start + entry.length
    if end != source.size:
        raise Corrupt(f"it has {source.size} bytes and says {end}: not a whole safetensors file, truncated or corrupt")
    return entries, metadata


def _without_repeats(pairs):
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Corrupt("its header has a name twice")
    return made


def _entry(name, found, origin):
    code, shape, span = (found.get(key) for key in ("dtype", "shape", "data_offsets"))
    numbers = [*shape, *span] if isinstance(shape, list) and isinstance(span, list) and len(span) == 2 else [-1]
    if not all(type(each) is int and each >= 0 for each in numbers) or not isinstance(code, str):
        raise Corrupt(f"its header has no shape, dtype and span of tensor {name!r}")
    kind = KINDS.get(code) or UNSIGNED.get(code)
    if kind is None:
        raise Corrupt(f"tensor {name!r} has dtype {code}, which is not supported")
    start, end = span
    if end - start != math.prod(shape) * kind.itemsize:
        raise Corrupt(f"tensor {name!r} of shape {shape} and dtype {code} cannot have {end - start} bytes")
    return Entry(kind, tuple(shape), origin + start, end - start)
