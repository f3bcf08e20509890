"""What runs in a DataLoader's worker process: reads the samples it is told to and sends their batches back."""

from __future__ import annotations

import collections
import gc
import os
import pickle
import queue
import random
import threading
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait

import numpy as np

import tritorch
from tritorch.runtime.device import CPU
from tritorch.runtime.processes import set_signals
from tritorch.utils.data import transport
from tritorch.utils.data.fetch import make_fetcher
from tritorch.utils.data.progress import Watch

PARENT_CHECK_SECONDS = 1.0
BATCH, END, FAILURE = range(3)  # what a reply holds: a batch, the end of an iterable dataset, an error
# `changes` is how its random states and its dataset's state differ from those that came with its reply before
Reply = collections.namedtuple("Reply", "epoch task kind worker changes")
# `resume` is None, or in a worker's first task of a pass that goes on: batches it gave before, and where it stood then
Task = collections.namedtuple("Task", "epoch number indices resume", defaults=(None,))


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this is: `id` in range(num_workers), its random `seed`, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: object


@dataclass
class Plan:
    """What a worker is made with."""

    loading: object
    worker_init_fn: object
    id: int
    num_workers: int
    base_seed: int


_info: WorkerInfo | None = None


def get_worker_info():
    """The WorkerInfo of this worker process, or None in the main process."""
    return _info


@dataclass
class Failure:
    """An exception on its way to the main process: its type, and the text of its traceback here."""

    kind: type
    text: str
    worker: int

    @classmethod
    def of(cls, error, worker):
        """The failure of a caught exception; a type that cannot be pickled is replaced by its nearest base that can."""
        text = "".join(traceback.format_exception(error))
        return cls(next(kind for kind in type(error).__mro__ if _pickles(kind)), text, worker)

    def reraise(self):
        """Raise it here, as its original type."""
        message = f"Caught {self.kind.__name__} in DataLoader worker process {self.worker}.\nOriginal {self.text}"
        if issubclass(self.kind, StopIteration):  # would silently end the loop over the loader
            raise RuntimeError(message)
        if issubclass(self.kind, KeyError):
            raise self.kind(_Readable(message))
        try:
            error = self.kind(message)
        except TypeError:  # takes other arguments
            raise RuntimeError(message) from None
        raise error


class _Readable(str):
    """Text that a KeyError, which shows the repr of its argument, prints with its line ends."""

    __slots__ = ()

    def __repr__(self):
        return str(self)


def _pickles(kind):
    try:
        return pickle.loads(pickle.dumps(kind)) is kind
    except (pickle.PicklingError, AttributeError, ImportError, TypeError):
        return False


def run_worker(connection, plan, worker):
    """The main function of worker process number `worker`; `plan` is a sealed Plan."""
    set_signals()
    gc.freeze()  # what a forked process inherits is not ours to collect
    inbox = Inbox(connection)
    try:
        with CPU:
            tritorch.set_default_device("cpu")
            _work(connection, inbox, plan, worker)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the main process is gone, or no longer wants anything


class Inbox(threading.Thread):
    """Takes in tasks while the worker works, so that the main process never waits to send one.

    It also ends the process when the main process is gone, in the middle of a sample too.
    """

    def __init__(self, connection):
        super().__init__(daemon=True, name="DataLoader inbox")
        self.connection, self.parent = connection, os.getppid()
        self.tasks, self.epoch = queue.SimpleQueue(), 0
        self.start()

    def run(self):
        """Move messages from the pipe to `tasks` until the last, which is None; end with the main process."""
        sentinel = parent_process().sentinel
        watched = [self.connection, sentinel]
        while True:
            ready = wait(watched, PARENT_CHECK_SECONDS)
            # Siblings hold copies of the pipes' other ends, so their end alone does not show that the parent died.
            if sentinel in ready or (os.name == "posix" and os.getppid() != self.parent):
                os._exit(1)
            if ready and not self._take():
                watched = [sentinel]

    def _take(self):
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            os._exit(1)
        if message is not None:
            self.epoch = message.epoch
        self.tasks.put(message)
        return message is not None


def _work(connection, inbox, plan, worker):
    """Answer tasks until there are no more; where the worker could not be set up, each with that failure."""
    loading, broken = _attempt(lambda: _prepare(plan.open()), worker)
    epoch, fetch, failure, watch = None, None, None, Watch()
    while (task := inbox.tasks.get()) is not None:
        if task.epoch != inbox.epoch:
            continue  # of a pass that was left early
        if broken is None and task.epoch != epoch:
            epoch = task.epoch
            fetch, failure = _attempt(partial(_begin, loading, task, watch), worker)
        kind, parcel = _answer(task, fetch, broken or failure, worker)
        changes = watch.changes(loading.dataset) if kind == BATCH else {}
        parcel.send(connection, Reply(task.epoch, task.number, kind, worker, changes))


def _begin(loading, task, watch):
    """The fetcher of a pass; of one that goes on, after what was given before."""
    if task.resume is None:
        return make_fetcher(loading)
    skip, snapshot = task.resume
    if "dataset" in snapshot:
        watch.restore({"dataset": snapshot["dataset"]}, loading.dataset)
    fetch = make_fetcher(loading)
    for _ in range(skip if loading.iterable and "dataset" not in snapshot else 0):
        fetch(task.indices)
    watch.restore({name: state for name, state in snapshot.items() if name != "dataset"}, None)
    return fetch


def _attempt(function, worker):
    """What `function()` gives, and its Failure: one of both is None."""
    try:
        return function(), None
    except Exception as error:
        return None, Failure.of(error, worker)


def _answer(task, fetch, failure, worker):
    """The kind of reply to a task, and the reply as a parcel."""
    if failure is not None:
        return FAILURE, transport.Parcel(failure)
    try:
        batch, ended = fetch(task.indices)
        return (END, transport.Parcel(None)) if ended else (BATCH, transport.Parcel(batch))
    except Exception as error:
        return FAILURE, transport.Parcel(Failure.of(error, worker))


def _prepare(plan):
    """Become worker `plan.id`: seeds, the user's `worker_init_fn`."""
    global _info
    seed = plan.base_seed + plan.id
    random.seed(seed)
    tritorch.manual_seed(seed)
    np.random.seed(np.random.SeedSequence((plan.base_seed, plan.id)).generate_state(4))
    _info = WorkerInfo(plan.id, plan.num_workers, seed, plan.loading.dataset)
    if plan.worker_init_fn is not None:
        plan.worker_init_fn(plan.id)
    return plan.loading
