"""MNIST and the datasets made in its likeness: small grey images in idx files."""

from __future__ import annotations

import gzip
import os
import string
import warnings
from typing import ClassVar

import numpy as np

from tritorch.creation import wrap
from tritorch.runtime.device import CPU
from tritorch.vision.datasets.utils import (
    check_integrity,
    download_and_extract_archive,
    extract_archive,
    verify_str_arg,
)
from tritorch.vision.datasets.vision import VisionDataset
from tritorch.vision.pillow import pillow

_KINDS = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path):
    """The array in an idx file, which may be compressed by gzip.

    The format: two zero bytes, the kind of numbers, the number of dimensions, the sizes as 4 bytes each, the numbers;
    the most significant byte first. Source: LeCun, Cortes, Burges, The MNIST database, 1998.
    """
    with gzip.open(path) if str(path).endswith(".gz") else open(path, "rb") as file:
        content = file.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _KINDS:
        raise RuntimeError(f"{path} is not an idx file")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content, ">u4", content[3], 4).tolist())
    numbers = np.frombuffer(content, _KINDS[content[2]], offset=start)
    if numbers.size != np.prod(shape, dtype=np.int64):
        raise RuntimeError(f"{path} should hold {shape} numbers, and holds {numbers.size}")
    return numbers.reshape(shape).astype(numbers.dtype.newbyteorder("="))


class MNIST(VisionDataset):
    """Handwritten digits, 28 x 28: 60,000 to learn from (`train`) and 10,000 to test with.

    `data` (N, 28, 28) are bytes and `targets` (N,) the classes, on the CPU. The files lie in ROOT/MNIST/raw; `download`
    fetches what is not there.
    """

    mirrors: ClassVar[list[str]] = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources: ClassVar[list[tuple[str, str]]] = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    training_file, test_file = "training.pt", "test.pt"  # names that older releases gave what they prepared
    classes: ClassVar[list[str]] = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight",
        "9 - nine",
    ]  # fmt: skip

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.data, self.targets = self._load_data()

    def _files(self):
        """Images and labels of this part of the data."""
        part = "train" if self.train else "t10k"
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"

    def _load_data(self):
        images, labels = (read_idx(os.path.join(self.raw_folder, name)) for name in self._files())
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise RuntimeError(f"{self.raw_folder}: {labels.shape} labels do not belong to {images.shape} images")
        return wrap(images, CPU), wrap(labels.astype(np.int64), CPU)

    def __getitem__(self, index):
        image = pillow().Image.fromarray(self.data[index].numpy())
        return self._transformed(image, int(self.targets[index]))

    def __len__(self):
        return len(self.data)

    @property
    def raw_folder(self):
        """Where the files lie as they were fetched."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self):
        """Where older releases put what they prepared."""
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self):
        """The number of each class."""
        return {name: index for index, name in enumerate(self.classes)}

    def _check_exists(self):
        return all(
            check_integrity(os.path.join(self.raw_folder, os.path.splitext(name)[0])) for name, _ in self.resources
        )

    def download(self):
        """Fetch the files that are not there, from the first mirror that has them."""
        for name, md5 in self.resources:
            plain = os.path.join(self.raw_folder, os.path.splitext(name)[0])
            if not check_integrity(plain):
                self._fetch(name, md5)

    def _fetch(self, name, md5):
        errors = []
        for mirror in self.mirrors:
            try:
                download_and_extract_archive(f"{mirror}{name}", self.raw_folder, filename=name, md5=md5)
                return
            except RuntimeError as error:
                errors.append(str(error))
        raise RuntimeError("\n".join([f"Error downloading {name}:", *errors]))

    def extra_repr(self):
        return f"Split: {'Train' if self.train else 'Test'}"

    def _old_name(self, name, new):
        warnings.warn(f"{name} has been renamed {new}", stacklevel=3)
        return getattr(self, new)

    @property
    def train_labels(self):
        """The old name of `targets`."""
        return self._old_name("train_labels", "targets")

    @property
    def test_labels(self):
        """The old name of `targets`."""
        return self._old_name("test_labels", "targets")

    @property
    def train_data(self):
        """The old name of `data`."""
        return self._old_name("train_data", "data")

    @property
    def test_data(self):
        """The old name of `data`."""
        return self._old_name("test_data", "data")


class FashionMNIST(MNIST):
    """Pieces of clothing in the form of MNIST. Source: Xiao, Rasul, Vollgraf, 2017."""

    mirrors: ClassVar[list[str]] = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources: ClassVar[list[tuple[str, str]]] = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes: ClassVar[list[str]] = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


class KMNIST(MNIST):
    """Cursive Japanese characters in the form of MNIST. Source: Clanuwat et al., 2018."""

    mirrors: ClassVar[list[str]] = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources: ClassVar[list[tuple[str, str]]] = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes: ClassVar[list[str]] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


_DIGITS_AND_LETTERS = sorted(string.digits + string.ascii_letters)
_MERGED = sorted(set(_DIGITS_AND_LETTERS) - set("cijklmopsuvwxyz"))  # whose capitals look alike


class EMNIST(MNIST):
    """Handwritten digits and letters in the form of MNIST, cut in six ways. Source: Cohen et al., 2017."""

    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    classes_split_dict: ClassVar[dict[str, list[str]]] = {
        "byclass": _DIGITS_AND_LETTERS,
        "bymerge": _MERGED,
        "balanced": _MERGED,
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": list(string.digits),
        "mnist": list(string.digits),
    }

    def __init__(self, root, split, **kwargs):
        self.split = verify_str_arg(split, "split", self.splits)
        self.training_file, self.test_file = f"training_{split}.pt", f"test_{split}.pt"
        super().__init__(root, **kwargs)
        self.classes = self.classes_split_dict[split]

    def _files(self):
        part = f"emnist-{self.split}-{'train' if self.train else 'test'}"
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"

    def _check_exists(self):
        return all(check_integrity(os.path.join(self.raw_folder, name)) for name in self._files())

    def download(self):
        """Fetch the archive of all splits and unpack it."""
        if self._check_exists():
            return
        download_and_extract_archive(self.url, self.raw_folder, md5=self.md5)
        packed = os.path.join(self.raw_folder, "gzip")
        for name in sorted(os.listdir(packed)):
            if name.endswith(".gz"):
                extract_archive(os.path.join(packed, name), self.raw_folder)
