"""One pass over a DataLoader: in this process, or by worker processes."""

from __future__ import annotations

import itertools
import time
import warnings

from tritorch.runtime.device import get_default_device
from tritorch.utils.data.fetch import make_fetcher
from tritorch.utils.data.placement import depart, place
from tritorch.utils.data.pool import Pool
from tritorch.utils.data.progress import Progress, stateful
from tritorch.utils.data.sampler import draw_seed, skip_seed
from tritorch.utils.data.worker import BATCH, END, Task

LONGER = (
    "Length of IterableDataset {} was reported to be {} (when accessing len(dataloader)), but {} samples have been "
    "fetched. "
)
REPLICAS = (
    "For multiprocessing data-loading, this could be caused by not properly configuring the IterableDataset replica at "
    "each worker. Please see https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
)


class LoaderIterator:
    """What both ways of iterating have in common: the tasks, and how far they have come."""

    def __iter__(self):
        return self

    def __len__(self):
        return len(self._tasks)

    def _start(self, loader, resume, workers=0):
        """Begin a pass, or go on with one by the state of its Progress."""
        self._loader_length, self._told = loader.reported_length, 0
        self.progress = Progress(loader, workers)
        self._tasks = loader.index_sampler
        self._indices = iter(self._tasks)
        if resume is not None:
            self.progress.take_over(resume)

    def _skip_given(self):
        """Leave out the tasks whose batches were given before; returns how many."""
        for _ in range(self.progress.batches):
            next(self._indices, None)
        return self.progress.batches

    def _counted(self, dataset, workers):
        """Warn where an iterable dataset gives more than it said."""
        self._told += 1
        if self._loader_length is not None and self._told > self._loader_length:
            text = LONGER.format(dataset, self._loader_length, self._told) + (REPLICAS if workers else "")
            warnings.warn(text, stacklevel=4)


class LocalIterator(LoaderIterator):
    """Reads each batch in this process when it is asked for."""

    def __init__(self, loader, resume=None):
        self._start(loader, resume)
        skip_seed(loader.generator)  # so that the order does not depend on whether there are workers
        loading = self._loading = loader.loading()
        self._fetch = make_fetcher(loading)
        self._pin_memory = loader.pin_memory
        if loading.iterable and not (resume and stateful(loading.dataset)):
            for _ in range(self.progress.batches):  # what a stream gave before is read again
                self._fetch(next(self._indices))
        else:
            self._skip_given()

    def __next__(self):
        try:
            batch, ended = self._fetch(next(self._indices))
        except StopIteration:
            ended = True
        if ended:
            self.progress.finished = True
            raise StopIteration
        self.progress.count()
        self._counted(self._loading.dataset, 0)
        return place(batch, self._pin_memory)


class WorkerIterator(LoaderIterator):
    """Keeps `prefetch_factor` tasks per worker under way, and gives their batches in the order of the tasks."""

    def __init__(self, loader, resume=None):
        self._timeout, self._pin_memory, self._in_order = loader.timeout, loader.pin_memory, loader.in_order
        self._count = loader.num_workers
        self._ahead = loader.num_workers * max(loader.prefetch_factor, 1)
        self._epoch = 0
        self._start(loader, resume, self._count)
        seed = draw_seed(loader.generator)
        if self.progress.base_seed is not None:
            seed = self.progress.base_seed
        context, template = loader.multiprocessing_context, loader.template
        self._dataset = loader.dataset
        self.pool = Pool(loader.loading(), loader.worker_init_fn, self._count, seed, context, template)
        self.progress.base_seed = self._seed = seed
        self._begin(loader, resume)

    def restart(self, loader, resume=None):
        """Begin another pass with the same, persistent workers."""
        snapshots = self.progress.snapshots
        self._start(loader, resume, self._count)
        skip_seed(loader.generator)
        self.progress.base_seed = self._seed
        if resume is None:
            self.progress.snapshots = snapshots
        self._begin(loader, resume)

    def _begin(self, loader, resume):
        self._epoch += 1
        self._active = [True] * self._count  # False: its copy of an iterable dataset has ended
        self._owners = {}  # task under way -> its worker, in the order the tasks were sent
        self._arrived = {}  # task -> (kind, changes, load)
        self._done = set(self.progress.ahead)
        progress = self.progress
        self._resume = {}  # worker -> what it is told with its first task
        self._sent = self._skip_given()
        first = self._sent % self._count
        if resume is not None and len(resume["given"]) == self._count:
            self._resume = dict(enumerate(zip(progress.given, progress.snapshots, strict=True)))
            first = progress.turn if loader.loading().iterable or not self._in_order else first
        self._turns = itertools.islice(itertools.cycle(range(self._count)), first, None)
        for _ in range(self._ahead):
            self._send_task()

    def _send_task(self):
        worker = next((w for w in itertools.islice(self._turns, self._count) if self._active[w]), None)
        if worker is None:
            return
        try:
            indices = next(self._indices)
            while self._sent in self._done:
                self._sent += 1
                indices = next(self._indices)
        except StopIteration:
            return
        self.pool.send(worker, Task(self._epoch, self._sent, indices, self._resume.pop(worker, None)))
        self._owners[self._sent] = worker
        self._sent += 1

    def __next__(self):
        try:
            return self._next()
        except KeyboardInterrupt:  # a message may be half read: these workers are of no more use
            self.pool.stop(grace=0)
            raise

    def _next(self):
        while self._owners:
            task = self._take()
            worker = self._owners.pop(task)
            kind, changes, load = self._arrived.pop(task)
            self.progress.snapshots[worker].update(changes)
            if kind == END:
                self._active[worker] = False
                self._send_task()
                continue
            self._send_task()
            value = load()
            if kind != BATCH:
                value.reraise()
            self.progress.count(task, worker)
            self._counted(self._dataset, self._count)
            batch = place(value, self._pin_memory)
            self._look_ahead()
            return batch
        self.progress.finished = True
        raise StopIteration

    def _look_ahead(self):
        """Start to copy the batch that comes next to the GPU, if it is here: while this one is worked on."""
        device = get_default_device()
        if not (device.is_cuda and self._in_order and self._owners):
            return
        task = next(iter(self._owners))
        if task not in self._arrived:
            self._note(self.pool.receive(time.monotonic()))
        kind, changes, load = self._arrived.get(task, (None, None, None))
        if kind == BATCH:
            moving = depart(load(), device)
            self._arrived[task] = kind, changes, lambda: moving

    def _take(self):
        """The number of the task whose turn it is, once its reply is here."""
        deadline = time.monotonic() + self._timeout if self._timeout else None
        while True:
            if self._in_order:
                task = next(iter(self._owners))
                if task in self._arrived:
                    return task
            elif self._arrived:
                return next(iter(self._arrived))
            self._receive(deadline)

    def _receive(self, deadline):
        parcels = self.pool.receive(deadline)
        if not parcels:
            self.pool.stop(grace=0)
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        self._note(parcels)

    def _note(self, parcels):
        for reply, load in parcels:
            if reply.epoch == self._epoch:
                self._arrived[reply.task] = reply.kind, reply.changes, load
            else:  # of a pass that was left early
                self.progress.snapshots[reply.worker].update(reply.changes)
