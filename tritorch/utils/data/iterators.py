"""One pass over a DataLoader: in this process, or by worker processes."""

from __future__ import annotations

import itertools
import time

from tritorch.utils.data.fetch import make_fetcher
from tritorch.utils.data.placement import place
from tritorch.utils.data.pool import Pool
from tritorch.utils.data.sampler import draw_seed, skip_seed
from tritorch.utils.data.worker import BATCH, END, Task


class LocalIterator:
    """Reads each batch in this process when it is asked for."""

    def __init__(self, loader):
        self._indices = iter(loader.index_sampler)
        skip_seed(loader.generator)  # so that the order does not depend on whether there are workers
        self._fetch = make_fetcher(loader.loading())
        self._pin_memory = loader.pin_memory

    def __iter__(self):
        return self

    def __next__(self):
        batch, ended = self._fetch(next(self._indices))
        if ended:
            raise StopIteration
        return place(batch, self._pin_memory)


class WorkerIterator:
    """Keeps `prefetch_factor` tasks per worker under way, and gives their batches in the order of the tasks."""

    def __init__(self, loader):
        self._timeout, self._pin_memory, self._in_order = loader.timeout, loader.pin_memory, loader.in_order
        self._count = loader.num_workers
        self._ahead = loader.num_workers * max(loader.prefetch_factor, 1)
        self._epoch = 0
        self._indices = iter(loader.index_sampler)
        seed = draw_seed(loader.generator)
        context, template = loader.multiprocessing_context, loader.template
        self.pool = Pool(loader.loading(), loader.worker_init_fn, self._count, seed, context, template)
        self._begin()

    def restart(self, loader):
        """Begin another pass with the same, persistent workers."""
        self._indices = iter(loader.index_sampler)
        skip_seed(loader.generator)
        self._begin()

    def _begin(self):
        self._epoch += 1
        self._turns = itertools.cycle(range(self._count))
        self._active = [True] * self._count  # False: its copy of an iterable dataset has ended
        self._owners = {}  # task under way -> its worker, in the order the tasks were sent
        self._arrived = {}  # task -> (kind, load)
        self._sent = 0
        for _ in range(self._ahead):
            self._send_task()

    def _send_task(self):
        worker = next((w for w in itertools.islice(self._turns, self._count) if self._active[w]), None)
        if worker is None:
            return
        try:
            indices = next(self._indices)
        except StopIteration:
            return
        self.pool.send(worker, Task(self._epoch, self._sent, indices))
        self._owners[self._sent] = worker
        self._sent += 1

    def __iter__(self):
        return self

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
            kind, load = self._arrived.pop(task)
            if kind == END:
                self._active[worker] = False
                self._send_task()
                continue
            self._send_task()
            value = load()
            if kind != BATCH:
                value.reraise()
            return place(value, self._pin_memory)
        raise StopIteration

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
        for reply, load in parcels:
            if reply.epoch == self._epoch:  # else of a pass that was left early
                self._arrived[reply.task] = reply.kind, load
