"""Pictures in files and in bytes, as tensors (C, H, W) of bytes: torchvision.io, by Pillow."""

from __future__ import annotations

import io
import os
from enum import Enum

import numpy as np

import tritorch
from tritorch.vision.pillow import pillow
from tritorch.vision.transforms.functional.conversion import pil_to_tensor, to_pil_image


class ImageReadMode(Enum):
    """Which channels are read, whatever a file has."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


_PILLOW_MODES = {
    ImageReadMode.GRAY: "L",
    ImageReadMode.GRAY_ALPHA: "LA",
    ImageReadMode.RGB: "RGB",
    ImageReadMode.RGB_ALPHA: "RGBA",
}


def read_file(path):
    """The bytes of a file, as a tensor."""
    return tritorch.from_numpy(np.fromfile(os.fspath(path), np.uint8))


def write_file(filename, data):
    """Write a tensor of bytes to a file."""
    if data.dtype != tritorch.uint8 or data.ndim != 1:
        raise RuntimeError("Input tensor data type should be uint8, of one dimension")
    data.detach().cpu().numpy().tofile(os.fspath(filename))


def _read(file, mode, apply_exif_orientation):
    mode = ImageReadMode[mode.upper()] if isinstance(mode, str) else mode
    with pillow().Image.open(file) as picture:
        found = pillow().ImageOps.exif_transpose(picture) if apply_exif_orientation else picture
        if mode is not ImageReadMode.UNCHANGED:
            found = found.convert(_PILLOW_MODES[mode])
        elif found.mode == "P":  # indices of a palette are no picture
            found = found.convert("RGBA" if "transparency" in found.info else "RGB")
        elif found.mode == "1":
            found = found.convert("L")
        return pil_to_tensor(found)


def read_image(path, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=False):
    """The picture in a file, or the one that is given as a tensor of its file's bytes."""
    if isinstance(path, tritorch.Tensor):
        return _read(io.BytesIO(path.cpu().numpy().tobytes()), mode, apply_exif_orientation)
    return _read(os.fspath(path), mode, apply_exif_orientation)


def decode_image(input, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=False):
    """The picture in a tensor of a file's bytes, or in a file."""
    return read_image(input, mode, apply_exif_orientation)


def decode_png(input, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=False):
    """The picture in a tensor of a PNG file's bytes."""
    return read_image(input, mode, apply_exif_orientation)


def decode_jpeg(input, mode=ImageReadMode.UNCHANGED, device="cpu", apply_exif_orientation=False):
    """The picture in a tensor of a JPEG file's bytes; of several, a list."""
    if isinstance(input, list):
        return [decode_jpeg(each, mode, device, apply_exif_orientation) for each in input]
    return read_image(input, mode, apply_exif_orientation).to(device)


def _encoded(input, format, **settings):
    if input.dtype != tritorch.uint8:
        raise RuntimeError(f"Input tensor data type should be uint8, got {input.dtype}")
    if input.ndim != 3:
        raise RuntimeError(f"Input data should be a 3-dimensional tensor, got {input.ndim} dimensions")
    if input.shape[0] not in (1, 3):
        raise RuntimeError(f"The number of channels should be 1 or 3, got: {input.shape[0]}")
    into = io.BytesIO()
    to_pil_image(input).save(into, format, **settings)
    return into.getvalue()


def _bytes_tensor(data):
    return tritorch.from_numpy(np.frombuffer(data, np.uint8).copy())


def encode_png(input, compression_level=6):
    """The bytes of a PNG file with a picture (1 or 3, H, W)."""
    if not 0 <= compression_level <= 9:
        raise RuntimeError("Compression level should be between 0 and 9")
    return _bytes_tensor(_encoded(input, "PNG", compress_level=compression_level))


def encode_jpeg(input, quality=75):
    """The bytes of a JPEG file with a picture (1 or 3, H, W); of several, a list."""
    if not 1 <= quality <= 100:
        raise ValueError("Image quality should be a positive number between 1 and 100")
    if isinstance(input, list):
        return [encode_jpeg(each, quality) for each in input]
    return _bytes_tensor(_encoded(input, "JPEG", quality=quality))


def write_png(input, filename, compression_level=6):
    """Write a picture (1 or 3, H, W) to a PNG file."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input, filename, quality=75):
    """Write a picture (1 or 3, H, W) to a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))
