"""What datasets of text share: where they lie, and one part of the data as an iterable."""

from __future__ import annotations

import os

from tritorch.runtime.files import cache_folder
from tritorch.utils.data import IterableDataset, get_worker_info


def default_root():
    """Where datasets go when nobody says where: in the user's cache."""
    return os.fspath(cache_folder() / "text")


class TextDataset(IterableDataset):
    """The examples that `read` gives, of which each worker of a DataLoader takes its share."""

    def __init__(self, read, length):
        self.read, self.length = read, length

    def __iter__(self):
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for number, example in enumerate(self.read()):
            if number % step == first:
                yield example

    def __len__(self):
        return self.length


def parts(make, split, known):
    """The dataset of one part, or a tuple of them where `split` is a tuple of names."""
    names = (split,) if isinstance(split, str) else tuple(split)
    for name in names:
        if name not in known:
            raise ValueError(f"split must be one of {', '.join(map(repr, known))}, but got {name!r}")
    found = tuple(make(name) for name in names)
    return found[0] if isinstance(split, str) else found
