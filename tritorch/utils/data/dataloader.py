"""DataLoader: batches of a dataset, in an order, collated, on the default device, read ahead by worker processes.

On Linux workers are forked from the main process until that has used CUDA (has a CUDA context), and never after. Where
there may be a GPU, a loader with `num_workers` constructed before CUDA is used parks a template process (`template.py`)
from which its workers are forked once CUDA is in use; a loader constructed later spawns them, so that the dataset must
be picklable and the script must start its work under `if __name__ == "__main__":`. With a `multiprocessing_context`
that start method is used, and "fork" is refused once CUDA is in use.
"""

from __future__ import annotations

import itertools
import multiprocessing
from multiprocessing.context import BaseContext
from typing import Generic, TypeVar

from tritorch.utils import random_states
from tritorch.utils.data import template
from tritorch.utils.data.collate import default_collate as default_collate
from tritorch.utils.data.collate import default_convert as default_convert
from tritorch.utils.data.dataset import IterableDataset
from tritorch.utils.data.fetch import Loading
from tritorch.utils.data.iterators import LocalIterator, WorkerIterator
from tritorch.utils.data.progress import stateful
from tritorch.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from tritorch.utils.data.worker import get_worker_info as get_worker_info

Batch = TypeVar("Batch", covariant=True)
FIXED = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class _DatasetKind:
    """The two kinds of datasets, as PyTorch numbers them."""

    Map, Iterable = 0, 1


class DataLoader(Generic[Batch]):
    """An iterable of the batches of `dataset`.

    The order is that of `sampler` or `batch_sampler`, random with `shuffle`, else the dataset's. `collate_fn` makes a
    batch of a list of samples; with `batch_size=None` it converts single ones. With `num_workers`, processes read
    `prefetch_factor` batches each ahead, on the CPU; they are kept between passes if `persistent_workers`. A batch
    lands on the default device. If that is a GPU, it is copied there by way of pinned memory, beside the work of the
    step before, with workers one batch ahead; if it is the CPU, `pin_memory` puts it into pinned memory, from which
    `.to("cuda", non_blocking=True)` copies without waiting. `timeout` is in seconds, 0 for none.
    """

    _iterator = None
    _progress = None  # of the last pass
    _resume = None  # the state of a pass to go on with
    _initialised = False
    reported_length = None  # of an iterable dataset, when it was asked for

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
    ):
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        batch_size, drop_last = _check_batching(batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.worker_init_fn, self.generator = worker_init_fn, generator
        self.multiprocessing_context = multiprocessing_context
        sampler = self._default_sampler(shuffle) if sampler is None else sampler
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        parks = num_workers > 0 and template.wanted(self.multiprocessing_context)
        self.template = template.Template(self.loading(), worker_init_fn) if parks else None
        self._initialised = True

    def _default_sampler(self, shuffle):
        if self._iterable:
            return itertools.repeat(None)  # no indices: a task is only a number of samples
        return RandomSampler(self.dataset, generator=self.generator) if shuffle else SequentialSampler(self.dataset)

    def __setattr__(self, name, value):
        if self._initialised and name in FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self):
        """How workers are started: a context of `multiprocessing`, or None for the default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context):
        self._context = _check_context(context, self.num_workers)

    @property
    def index_sampler(self):
        """The iterable of tasks: lists of indices, or single indices without batches."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @property
    def stateful_sampler(self):
        """The sampler that says where it stands, if there is one."""
        return next((each for each in (self.batch_sampler, self.sampler) if stateful(each)), None)

    @property
    def _dataset_kind(self):
        return _DatasetKind.Iterable if self._iterable else _DatasetKind.Map

    @property
    def _auto_collation(self):
        return self.batch_sampler is not None

    @property
    def _index_sampler(self):
        return self.index_sampler

    def loading(self):
        """What is read and how, for a fetcher here or in a worker."""
        return Loading(self.dataset, self._iterable, self.batch_sampler is not None, self.collate_fn, self.drop_last)

    def __iter__(self):
        resume, self._resume = self._resume, None
        if resume is None:
            iterator = self._begin_pass(None)
        else:
            with random_states.at(resume["start"]):
                if self.generator is not None:
                    self.generator.set_state(resume["generator_at_start"])
                iterator = self._begin_pass(resume)
            if self.generator is not None:
                self.generator.set_state(resume["generator"])
        self._progress = iterator.progress
        return iterator

    def _begin_pass(self, resume):
        if not self.num_workers:
            return LocalIterator(self, resume)
        if not self.persistent_workers:
            return WorkerIterator(self, resume)
        if self._iterator is None or not self._iterator.pool.workers:
            self._iterator = WorkerIterator(self, resume)
        else:
            self._iterator.restart(self, resume)
        return self._iterator

    def __len__(self):
        if not self._iterable:
            return len(self.index_sampler)
        length = self.reported_length = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    # ---------------------------------------------------------------------------------------- state

    def state_dict(self):
        """Where the last pass stands, as plain values: the next pass of a loader that loads this goes on from there.

        What was given counts, not what workers read ahead. The order and, with `in_order`, all random numbers that
        workers draw are as they would have been; restore the random states of this process beside it (`TrainingState`
        does both). A dataset or sampler with `state_dict` and `load_state_dict` is asked for its own state; an iterable
        dataset without them is read again up to where it stood.
        """
        if self._resume is not None:
            return self._resume
        return None if self._progress is None else self._progress.state_dict(self)

    def load_state_dict(self, state_dict):
        """Let the next pass go on from a state that `state_dict` gave; None stands for a loader that was not used."""
        if state_dict is None:
            self._resume = None
            return
        workers = len(state_dict["given"])
        if self._iterable and workers != self.num_workers:
            raise ValueError(
                f"DataLoader.load_state_dict(): the state is of {workers} workers, each with a part of the iterable "
                f"dataset, but num_workers={self.num_workers}"
            )
        for own, name in ((self.stateful_sampler, "sampler"), (self.dataset, "dataset")):
            if state_dict[name] is not None:
                own.load_state_dict(state_dict[name])
        if self.generator is not None:
            self.generator.set_state(state_dict["generator"])
        self._resume = None if state_dict["finished"] else state_dict


def _check_workers(num_workers, timeout, prefetch_factor, persistent_workers):
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable(shuffle, sampler, batch_sampler):
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )


def _check_batching(batch_size, shuffle, sampler, batch_sampler, drop_last):
    """The batch size and drop_last to use: both are the batch sampler's business where one is given."""
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
        return None, False
    if batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
    return batch_size, drop_last


def _check_context(context, num_workers):
    if context is None:
        return None
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
            f"num_workers={num_workers}"
        )
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                f"multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the start method, "
            f"but got multiprocessing_context={context}"
        )
    return context
