"""From indices to a batch: reading the samples of a dataset and collating them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tritorch.runtime.device import CPU
from tritorch.utils.data.collate import default_collate, default_convert
from tritorch.utils.data.dataset import batch_reader


@dataclass
class Loading:
    """What is read and how: all of a DataLoader that a worker process needs.

    `batched` tells whether a task is a list of indices, whose samples are collated, or one index, whose sample is
    converted.
    """

    dataset: object
    iterable: bool
    batched: bool
    collate_fn: object
    drop_last: bool


def make_fetcher(loading):
    """A function from the indices of a task to (batch, whether the dataset has ended instead)."""
    fetch = _iterable_fetcher(loading, iter(loading.dataset)) if loading.iterable else _map_fetcher(loading)

    def guarded(indices):
        try:
            return fetch(indices)
        except StopIteration as error:  # would silently end the loop over the loader
            raise RuntimeError("the dataset or collate_fn raised StopIteration") from error

    return guarded


def _map_fetcher(loading):
    read = _map_reader(loading)
    return lambda indices: (read(indices), False)


def _collate_of(loading):
    """What collates; the loader's own makes tensors on the host, since their way to a GPU is the loader's as well."""
    if loading.collate_fn not in (default_collate, default_convert):
        return loading.collate_fn

    def collate(samples):
        with CPU:
            return loading.collate_fn(samples)

    return collate


def _map_reader(loading):
    dataset, collate = loading.dataset, _collate_of(loading)
    if not loading.batched:
        return lambda index: collate(dataset[index])
    if loading.collate_fn is default_collate and (read := batch_reader(dataset)) is not None:
        return read
    if callable(getattr(dataset, "__getitems__", None)):
        return lambda indices: collate(dataset.__getitems__(indices))
    return lambda indices: collate([dataset[index] for index in indices])


def _iterable_fetcher(loading, samples):
    ended, collate = object(), _collate_of(loading)

    def fetch_one(_):
        sample = next(samples, ended)
        return (None, True) if sample is ended else (collate(sample), False)

    def fetch(indices):
        batch = list(itertools.islice(samples, len(indices)))
        if not batch or (loading.drop_last and len(batch) < len(indices)):
            return None, True
        return collate(batch), False

    return fetch if loading.batched else fetch_one
