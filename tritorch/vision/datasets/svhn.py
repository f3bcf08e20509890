"""SVHN: house numbers as they were photographed from the street, in files of MATLAB's."""

from __future__ import annotations

import os
import struct
import zlib
from typing import ClassVar

import numpy as np

from tritorch.vision.datasets.utils import check_integrity, download_url, verify_str_arg
from tritorch.vision.datasets.vision import VisionDataset
from tritorch.vision.pillow import pillow

_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # the classes of arrays of numbers


def read_mat(path):
    """The numeric arrays in a MATLAB file, by name. Source: MATLAB, MAT-File Format, version 5."""
    with open(path, "rb") as file:
        content = file.read()
    if content[126:128] not in (b"IM", b"MI"):
        raise RuntimeError(f"{path} is not a MATLAB file of version 5")
    order = "<" if content[126:128] == b"IM" else ">"
    found = {}
    for kind, part in _elements(memoryview(content)[128:], order):
        if kind == _COMPRESSED:
            ((kind, part),) = _elements(memoryview(zlib.decompress(part)), order)
        if kind == _MATRIX:
            found.update(_array(part, order))
    return found


def _elements(content, order):
    """(kind, bytes) of each element; a short one stands in the place of its own length."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}2I", content, at)
        if kind >> 16:
            yield kind & 0xFFFF, content[at + 4 : at + 4 + (kind >> 16)]
            at += 8
        else:
            yield kind, content[at + 8 : at + 8 + size]
            at += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)


def _array(part, order):
    flags, sizes, name, *values = _elements(part, order)
    if struct.unpack_from(f"{order}I", flags[1])[0] & 0xFF not in _NUMERIC or not values:
        return {}
    kind, numbers = values[0]
    shape = np.frombuffer(sizes[1], f"{order}i4")
    return {bytes(name[1]).decode(): np.frombuffer(numbers, order + _KINDS[kind]).reshape(shape, order="F")}


class SVHN(VisionDataset):
    """Digits, 32 x 32: `split` is train, test or extra.

    `data` is an array (N, 3, 32, 32) of bytes, `labels` an array of classes. Source: Netzer et al., 2011.
    """

    split_list: ClassVar[dict[str, list[str]]] = {
        "train": [
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "train_32x32.mat",
            "e26dedcc434d2e4c54c9b2d4a06d8373",
        ],
        "test": [
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            "test_32x32.mat",
            "eb5a983be6a315427106f1b164d9cef3",
        ],
        "extra": [
            "http://ufldl.stanford.edu/housenumbers/extra_32x32.mat",
            "extra_32x32.mat",
            "a93ce644f1a588dc4d68dda5feec44a7",
        ],
    }

    def __init__(self, root, split="train", transform=None, target_transform=None, download=False):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = verify_str_arg(split, "split", tuple(self.split_list))
        self.url, self.filename, self.file_md5 = self.split_list[split]
        if download:
            self.download()
        if not self._check_integrity():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        arrays = read_mat(os.path.join(self.root, self.filename))
        self.labels = arrays["y"].astype(np.int64).squeeze()
        np.place(self.labels, self.labels == 10, 0)  # the file calls the digit 0 ten
        self.data = np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1))

    def _check_integrity(self):
        return check_integrity(os.path.join(self.root, self.filename), self.file_md5)

    def download(self):
        """Fetch the file of this split, unless it is there and right already."""
        download_url(self.url, self.root, self.filename, self.file_md5)

    def __getitem__(self, index):
        picture = pillow().Image.fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        return self._transformed(picture, int(self.labels[index]))

    def __len__(self):
        return len(self.data)

    def extra_repr(self):
        return f"Split: {self.split}"
