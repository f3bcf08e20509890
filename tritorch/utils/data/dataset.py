"""Where samples come from: map-style datasets (`dataset[index]`), iterable ones, and combinations of them.

A dataset may offer `__getitems__(indices)`, the list of several samples at once. Where every sample is a row of the
same tensors, `batch_reader()` gives a function that returns the collated batch of some indices by one indexing of each
tensor instead of one for each sample; the loader uses it when it would collate by `default_collate`.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np

import tritorch
from tritorch.creation import wrap
from tritorch.runtime.device import CPU
from tritorch.utils.data.sampler import permutation

Sample = TypeVar("Sample", covariant=True)


class Dataset(Generic[Sample]):
    """A map from an index to a sample; subclasses write `__getitem__`, and `__len__` where there is one."""

    def __getitem__(self, index):
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other):
        return ConcatDataset([self, other])

    def batch_reader(self):
        """The function from indices to their collated batch, or None where samples are read one by one."""


class IterableDataset(Dataset[Sample], ABC):
    """A stream of samples; subclasses write `__iter__`. Each worker process iterates over its own copy."""

    @abstractmethod
    def __iter__(self):
        """The samples, one after the other."""

    def __add__(self, other):
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Sample i is the tuple of row i of each of `tensors`, which have the same first size."""

    def __init__(self, *tensors):
        assert all(tensors[0].size(0) == tensor.size(0) for tensor in tensors), "Size mismatch between tensors"
        self.tensors = tensors

    def __getitem__(self, index):
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self):
        return self.tensors[0].size(0)

    def batch_reader(self):
        """One indexing of each tensor, unless a subclass makes other samples."""
        if type(self).__getitem__ is not TensorDataset.__getitem__ or hasattr(self, "__getitems__"):
            return None
        return self._rows

    def _rows(self, indices):
        host = np.asarray(indices)
        if host.dtype.kind == "i" and all(map(_is_plain, self.tensors)):
            return [wrap(tensor.array.take(host, 0), CPU) for tensor in self.tensors]
        index = tritorch.tensor(indices, device=self.tensors[0].device)  # made once for all the tensors
        return [tensor[index.to(tensor.device)] for tensor in self.tensors]


def _is_plain(tensor):
    """Whether NumPy may read its rows: no gradient wanted, no type to keep, and no strides, for which it copies all."""
    plain = type(tensor) is tritorch.Tensor and tensor.device is CPU and tensor.array.flags.c_contiguous
    return plain and not tensor.requires_grad


class StackDataset(Dataset):
    """Sample i is the tuple (or, for datasets given by keyword, the dict) of sample i of each dataset."""

    def __init__(self, *args, **kwargs):
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like input/output, "
                "but both types are given."
            )
        self.datasets = args or kwargs
        if not self.datasets:
            raise ValueError("At least one dataset should be passed")
        if len({len(dataset) for dataset in self._members()}) > 1:
            raise ValueError("Size mismatch between datasets")

    def _members(self):
        return self.datasets.values() if isinstance(self.datasets, dict) else self.datasets

    def __getitem__(self, index):
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices):
        """The samples at several indices, all at once where a dataset can."""
        columns = [_samples_of(dataset, indices) for dataset in self._members()]
        rows = list(zip(*columns, strict=True))
        if isinstance(self.datasets, dict):
            return [dict(zip(self.datasets, row, strict=True)) for row in rows]
        return rows

    def __len__(self):
        return len(next(iter(self._members())))


def _samples_of(dataset, indices):
    """The samples of a dataset at several indices."""
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[index] for index in indices]
    samples = dataset.__getitems__(indices)
    if len(samples) != len(indices):
        raise ValueError(f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(samples)}")
    return samples


class ConcatDataset(Dataset[Sample]):
    """The samples of several datasets, one dataset after the other."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        assert self.datasets, "datasets should not be an empty iterable"
        for dataset in self.datasets:
            assert not isinstance(dataset, IterableDataset), "ConcatDataset does not support IterableDataset"
        self.cumulative_sizes = self.cumsum(self.datasets)

    @property
    def cummulative_sizes(self):
        """The old name of `cumulative_sizes`."""
        text = "`cummulative_sizes` attribute is renamed to `cumulative_sizes`"
        warnings.warn(text, category=FutureWarning, stacklevel=2)
        return self.cumulative_sizes

    @staticmethod
    def cumsum(sequence):
        """The sums of the lengths of the first one, two, ... datasets."""
        return list(itertools.accumulate(len(each) for each in sequence))

    def __len__(self):
        return self.cumulative_sizes[-1]

    def __getitem__(self, index):
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        if index >= len(self):
            raise IndexError(f"index {index} is out of range for a ConcatDataset of {len(self)} samples")
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset):
    """The samples of several iterable datasets, one dataset after the other."""

    def __init__(self, datasets):
        self.datasets = datasets

    def __iter__(self):
        for dataset in self.datasets:
            yield from self._checked(dataset)

    def __len__(self):
        return sum(len(self._checked(dataset)) for dataset in self.datasets)

    @staticmethod
    def _checked(dataset):
        assert isinstance(dataset, IterableDataset), "ChainDataset only supports IterableDataset"
        return dataset


class Subset(Dataset[Sample]):
    """The samples of `dataset` at `indices`."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        """The samples at several positions, all at once where the dataset can."""
        chosen = [self.indices[index] for index in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(chosen)
        return [self.dataset[index] for index in chosen]

    def __len__(self):
        return len(self.indices)

    def batch_reader(self):
        """The dataset's own, unless a subclass makes other samples."""
        own = type(self)
        if own.__getitem__ is not Subset.__getitem__ or own.__getitems__ is not Subset.__getitems__:
            return None
        read = batch_reader(self.dataset)
        return read and (lambda indices: read([self.indices[index] for index in indices]))


def batch_reader(dataset):
    """`dataset.batch_reader()` for any object with `__getitem__`, derived from Dataset or not."""
    return dataset.batch_reader() if isinstance(dataset, Dataset) else None


def random_split(dataset, lengths, generator=None):
    """Split a dataset at random into parts of `lengths` samples, or of these fractions when they sum to 1."""
    lengths = list(lengths)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _lengths_of_fractions(lengths, len(dataset))
    if sum(lengths) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = permutation(len(dataset), generator)
    ends = itertools.accumulate(lengths)
    return [Subset(dataset, order[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _lengths_of_fractions(fractions, total):
    for index, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {index} is not between 0 and 1")
    lengths = [math.floor(total * fraction) for fraction in fractions]
    for index in range(total - sum(lengths)):  # what rounding left over goes round
        lengths[index % len(lengths)] += 1
    for index, length in enumerate(lengths):
        if length == 0:
            warnings.warn(
                f"Length of split at index {index} is 0. This might result in an empty dataset.", stacklevel=3
            )
    return lengths
