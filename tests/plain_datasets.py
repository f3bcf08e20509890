"""The smallest datasets there are, for the tests of datasets and of loaders."""

from __future__ import annotations

import numpy as np

from tritorch.utils.data import Dataset, IterableDataset


class Squares(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return np.full(2, index * index, np.float32), index


class Stream(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class SizedStream(Stream):
    def __len__(self):
        return self.count


def values(batches):
    return [batch.tolist() for batch in batches]
