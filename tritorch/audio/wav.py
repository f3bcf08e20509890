"""WAV files: integers of 8 to 32 bits, floats, and mu-law and A-law, in any number of channels.

The format: RIFF chunks, of which "fmt " says how samples are written and "data" holds them. Source: Microsoft and IBM,
"Multimedia programming interface and data specifications", 1991, with WAVE_FORMAT_EXTENSIBLE of 2001.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from tritorch import creation
from tritorch.runtime.device import get_default_device
from tritorch.runtime.files import whole_file
from tritorch.tensor import Tensor

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_ENCODINGS = {_PCM: "PCM_S", _FLOAT: "PCM_F", _ALAW: "ALAW", _MULAW: "ULAW"}


class AudioMetaData(NamedTuple):
    """What a file says of itself; `num_frames` counts samples of one channel."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


class _Format(NamedTuple):
    kind: int
    channels: int
    rate: int
    width: int  # bytes of a sample
    start: int  # where the samples begin
    size: int  # their bytes


def _bytes_of(uri):
    if hasattr(uri, "read"):
        return uri.read()
    with open(uri, "rb") as file:
        return file.read()


def _parsed(content, name):
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise RuntimeError(f"{name} is not a WAV file")
    found, at = None, 12
    while at + 8 <= len(content):
        tag, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        body = at + 8
        if tag == b"fmt " and size >= 16:
            kind, channels, rate, _, align, _ = struct.unpack_from("<HHIIHH", content, body)
            if kind == _EXTENSIBLE and size >= 26:
                (kind,) = struct.unpack_from("<H", content, body + 24)
            if not channels or align % channels:
                raise RuntimeError(f"{name} is corrupt: {channels} channels in frames of {align} bytes")
            found = kind, channels, rate, align // channels
        elif tag == b"data":
            if found is None:
                raise RuntimeError(f"{name} is corrupt: its samples come before their format")
            if found[0] not in _ENCODINGS:
                raise RuntimeError(f"{name}: samples of the kind {found[0]:#x} cannot be read; PCM, float, A-law and "
                                   "mu-law can")  # fmt: skip
            return _Format(*found, body, min(size, len(content) - body))
        at = body + size + size % 2
    raise RuntimeError(f"{name} is truncated: it has no samples")


def _samples(content, form, name):
    """The samples as they are written, (frames, channels); those of 24 bits in 32, A-law and mu-law as 16 bits."""
    kind, channels, _, width, start, size = form
    count = size // (width * channels) * channels
    raw = content[start : start + count * width]
    known = {(_PCM, 1): "u1", (_PCM, 2): "<i2", (_PCM, 4): "<i4", (_FLOAT, 4): "<f4", (_FLOAT, 8): "<f8",
             (_ALAW, 1): "u1", (_MULAW, 1): "u1"}  # fmt: skip
    if (kind, width) == (_PCM, 3):
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0]
    elif (kind, width) in known:
        values = np.frombuffer(raw, known[kind, width])
        if kind in (_ALAW, _MULAW):
            values = (_from_mulaw if kind == _MULAW else _from_alaw)(values)
    else:
        raise RuntimeError(f"{name}: samples of {8 * width} bits of the kind {_ENCODINGS[kind]} cannot be read")
    return values.astype(values.dtype.newbyteorder("=")).reshape(-1, channels)


def _from_mulaw(values):
    """ITU-T G.711, mu-law: a sign, three bits of exponent and four of fraction, all inverted."""
    values = ~values
    size = (((values & 15).astype(np.int32) << 3) + 132 << ((values >> 4) & 7)) - 132
    return np.where(values & 128, -size, size).astype(np.int16)


def _from_alaw(values):
    """ITU-T G.711, A-law: as mu-law, but every other bit inverted, and linear below the first exponent."""
    values = values ^ 0x55
    power, size = ((values >> 4) & 7).astype(np.int32), ((values & 15).astype(np.int32) << 4) + 8
    size = np.where(power > 0, size + 256 << np.maximum(power - 1, 0), size)
    return np.where(values & 128, size, -size).astype(np.int16)


def _normalized(values):
    """Between -1 and 1, as float32."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    return values.astype(np.float32) / np.float32(2 ** (8 * values.itemsize - 1))


def info(uri, format=None, buffer_size=4096, backend=None):
    """What a file says of itself: an AudioMetaData."""
    content, name = _bytes_of(uri), getattr(uri, "name", uri)
    form = _parsed(content, name)
    encoding = _ENCODINGS[form.kind]
    if form.kind == _PCM and form.width == 1:
        encoding = "PCM_U"
    frames = form.size // (form.width * form.channels)
    return AudioMetaData(form.rate, frames, form.channels, 8 * form.width, encoding)


def load(uri, frame_offset=0, num_frames=-1, normalize=True, channels_first=True, format=None, buffer_size=4096,
         backend=None):  # fmt: skip
    """The samples of a WAV file, (channels, frames), or (frames, channels), and its sample rate.

    `normalize` gives float32 between -1 and 1, else the integers as they are written (24 bits in the upper part of 32).
    `num_frames` frames are read from `frame_offset` on; -1 is all. `format`, `buffer_size` and `backend` are taken and
    change nothing. Errors: what is no WAV file, or is corrupt, is a RuntimeError that names it.
    """
    if num_frames == 0 or num_frames < -1:
        raise ValueError(f"Expected num_frames to be either positive or -1. Found: {num_frames}")
    if frame_offset < 0:
        raise ValueError(f"Expected frame_offset to be non-negative. Found: {frame_offset}")
    content, name = _bytes_of(uri), getattr(uri, "name", uri)
    form = _parsed(content, name)
    values = _samples(content, form, name)
    last = None if num_frames == -1 else frame_offset + num_frames
    values = values[frame_offset:last]
    values = np.ascontiguousarray((_normalized(values) if normalize else values).T if channels_first else (
        _normalized(values) if normalize else values))  # fmt: skip
    return creation.from_numpy(values).to(get_default_device()), form.rate


_WRITTEN = {8: "u1", 16: "<i2", 32: "<i4"}


def save(uri, src, sample_rate, channels_first=True, format=None, encoding=None, bits_per_sample=None,
         buffer_size=4096, backend=None, compression=None):  # fmt: skip
    """Write samples, (channels, frames) or (frames, channels), as a WAV file.

    Floats are written as floats of 32 bits (float64 as 64), or as integers where encoding="PCM_S" or `bits_per_sample`
    (8, 16, 32) asks for them, cut off at -1 and 1; integers as they are.
    """
    if not isinstance(src, Tensor) or src.dim() != 2:
        got = f"a tensor of {src.dim()} dimensions" if isinstance(src, Tensor) else type(src).__name__
        raise ValueError(f"Expected 2D tensor, got {got}.")
    values = src.detach().cpu().numpy()
    values = values.T if channels_first else values
    if values.dtype.kind in "fV" and (encoding in ("PCM_S", "PCM_U") or bits_per_sample in (8, 16)):
        bits = bits_per_sample or 16
        scale = 2.0 ** (bits - 1)
        shifted = np.clip(np.rint(values.astype(np.float64) * scale), -scale, scale - 1) + (scale if bits == 8 else 0)
        values = shifted.astype(_WRITTEN[bits])
    elif values.dtype.kind in "fV":
        wide = bits_per_sample == 64 or (bits_per_sample is None and values.dtype == np.float64)
        values = values.astype("<f8" if wide else "<f4")
    elif values.dtype.itemsize > 4 or values.dtype == np.int8:
        raise ValueError(f"Unsupported dtype for WAV: {src.dtype}; floats, uint8, int16 and int32 can be saved")
    _write(uri, values, int(sample_rate))


def _write(uri, values, rate):
    frames, channels = values.shape
    width, kind = values.itemsize, _FLOAT if values.dtype.kind == "f" else _PCM
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head
    if kind == _FLOAT:
        chunks += b"fact" + struct.pack("<II", 4, frames)
    chunks += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    content = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    if hasattr(uri, "write"):
        uri.write(content)
        return
    with whole_file(uri) as file:
        file.write(content)
