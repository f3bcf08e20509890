"""STL-10: photographs of ten kinds of things, few of them labelled."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np

from tritorch.vision.datasets.utils import check_integrity, download_and_extract_archive, verify_str_arg
from tritorch.vision.datasets.vision import VisionDataset
from tritorch.vision.pillow import pillow


class STL10(VisionDataset):
    """Photographs, 96 x 96: `split` is train, test, unlabeled or train+unlabeled; `folds` one of ten parts of train.

    `data` is an array (N, 3, 96, 96) of bytes, `labels` an array of classes, -1 where there is none.
    Source: Coates, Lee, Ng, 2011.
    """

    base_folder = "stl10_binary"
    url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
    filename = "stl10_binary.tar.gz"
    tgz_md5 = "91f7769df0f17e558f3565bffb0c7dfb"
    class_names_file = "class_names.txt"
    folds_list_file = "fold_indices.txt"
    train_list: ClassVar[list[list[str]]] = [
        ["train_X.bin", "918c2871b30a85fa023e0c44e0bee87f"],
        ["train_y.bin", "5a34089d4802c674881badbb80307741"],
        ["unlabeled_X.bin", "5242ba1fed5e4be9e1e742405eb56ca4"],
    ]
    test_list: ClassVar[list[list[str]]] = [
        ["test_X.bin", "7f263ba9f9e0b06b93213547f721ac82"],
        ["test_y.bin", "36f9794fa4beb8a2c72628de14fa638e"],
    ]
    splits = ("train", "train+unlabeled", "unlabeled", "test")

    def __init__(self, root, split="train", folds=None, transform=None, target_transform=None, download=False):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = verify_str_arg(split, "split", self.splits)
        if folds is not None and not isinstance(folds, int):
            raise ValueError(f"Expected type None or int for argument folds, but got type {type(folds)}.")
        if folds is not None and folds not in range(10):
            raise ValueError(f"Value for argument folds should be in the range [0, 10), but got {folds}.")
        self.folds = folds
        if download:
            self.download()
        if not self._check_integrity():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        parts = [self._load(part) for part in split.split("+")]
        self.data, self.labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        with open(self._path(self.class_names_file)) as file:
            self.classes = file.read().splitlines()

    def _path(self, name):
        return os.path.join(self.root, self.base_folder, name)

    def _load(self, part):
        images = np.fromfile(self._path(f"{part}_X.bin"), np.uint8).reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)
        if part == "unlabeled":
            return images, np.full(len(images), -1)
        labels = np.fromfile(self._path(f"{part}_y.bin"), np.uint8).astype(np.int64) - 1  # the file counts from 1
        if part == "train" and self.folds is not None:
            with open(self._path(self.folds_list_file)) as file:
                chosen = np.array(file.read().splitlines()[self.folds].split(), np.int64)
            images, labels = images[chosen], labels[chosen]
        return images, labels

    def _check_integrity(self):
        return all(check_integrity(self._path(name), md5) for name, md5 in (*self.train_list, *self.test_list))

    def download(self):
        """Fetch and unpack the archive, unless its files are there and right already."""
        if not self._check_integrity():
            download_and_extract_archive(self.url, self.root, filename=self.filename, md5=self.tgz_md5)

    def __getitem__(self, index):
        picture = pillow().Image.fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        return self._transformed(picture, int(self.labels[index]))

    def __len__(self):
        return len(self.data)

    def extra_repr(self):
        return f"Split: {self.split}"
