"""The NCCL engine: collectives of GPU arrays through nccl4py, on streams of their own.

A collective is queued on the stream of its communicator, behind an event that stands for what made its arrays, and
records one that `Work.wait()` has the current stream wait for: the host waits for neither. Arrays under way are kept
until that event is over, or until the stream that they were allocated on waits for it.

A group has one communicator for its collectives, made by the first of them, and one for each pair of ranks that send to
each other, so that those stand beside the order of the collectives. A thread looks after what is under way: an error
of NCCL's, a timeout or the death of a rank ends it by aborting the communicators.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, deque
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from tritorch.distributed.backend import Engine
from tritorch.distributed.nccl_library import BYTE, bindings, reduction_of
from tritorch.distributed.work import Work
from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.cuda.array import empty

_PERIOD = 0.1  # seconds between two looks at what is under way
_IN_PROGRESS = 7  # ncclInProgress
_made: Counter = Counter()  # how often this process has joined the communicator of a label


def device_of_rank(local_rank, device_id=None):
    """The index of a rank's GPU: `device_id`, else what the script chose, else that of its rank on this machine.

    The last is made the current one. So ranks that share a machine never meet on its first GPU by chance; a script's
    own `torch.cuda.set_device(local_rank)` says the same.
    """
    if device_id is not None:
        return driver.index_of(device_id)
    if driver.current_device() == 0 and local_rank > 0:
        driver.set_device(local_rank % driver.device_count())  # 0 where each rank is shown its GPU alone
    return driver.current_device()


class NcclWork(Work):
    """A Work on a stream: `wait()` has the current stream wait for it, the host if it `blocks` or by a timeout."""

    def __init__(self, engine, description, arrays, after=None, blocks=False):
        super().__init__(description)
        self.engine, self.arrays, self.after, self.blocks = engine, arrays, after, blocks
        self.event, self.source, self.since = None, None, time.monotonic()

    def is_completed(self):
        return self._done.is_set() or (self.event is not None and self.event.query())

    def is_success(self):
        return self.is_completed() and self._error is None

    def wait(self, timeout=None):
        if self._error is None:
            if self.blocks or timeout:
                self._wait_on_host(timeout)
            if self._error is None and not self._done.is_set():
                self._order()
        if self._error is not None:
            raise self._error
        return True

    def when_done(self, callback):
        """Call `callback()` at once, with the current stream behind the result."""
        if self._error is None and not self._done.is_set():
            self._order()
        callback()

    def _order(self):
        stream = streams.current_stream(self.engine.index)
        self.event.wait(stream)
        self.engine.release(self, stream)

    def _wait_on_host(self, timeout):
        seconds = getattr(timeout, "total_seconds", lambda: timeout)()
        ends, pause = time.monotonic() + (seconds or float("inf")), 2e-5
        while not self.is_completed():
            if time.monotonic() > ends:
                raise RuntimeError(f"wait timeout after {seconds * 1000:.0f}ms: {self.description} is not complete")
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)


class _Channel:
    """A communicator and the stream that its work is queued on."""

    def __init__(self, store, label, rank, size, index, timeout):
        nccl = bindings()
        driver.activate(index)
        if rank == 0:
            store.set(f"{label}/id", bytes(nccl.get_unique_id()).hex())
        store.set(f"{label}/{rank}", str(index))
        _wait_for_all(store, label, size, timeout)
        found = store.get(f"{label}/id")
        identifier = nccl.UniqueId.from_buffer(bytes.fromhex(found.decode() if isinstance(found, bytes) else found))
        self.comm = nccl.comm_init_rank(size, identifier, rank)
        self.stream = streams.Stream(index, priority=-1)  # its kernels are short, and others wait for them


def _wait_for_all(store, label, size, timeout):
    """Wait until every rank is about to join: NCCL itself would wait for one that does not come without an end."""
    keys = [f"{label}/{rank}" for rank in range(size)]
    try:
        store.wait(keys, timedelta(seconds=timeout))
    except RuntimeError as error:
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        raise RuntimeError(
            f"NCCL communicator {label}: ranks {missing} did not come within {timeout:g} s of the first collective"
        ) from error


class NcclEngine(Engine):
    """Collectives of GPU arrays; `device` is the index of the rank's GPU, None for that of its first array."""

    name = "nccl"
    device_types = ("cuda",)

    def __init__(self, store, rank, size, timeout, name, watch, device=None):
        super().__init__(rank, size, timeout, name)
        self.store, self.watch, self.index = store, watch, device
        self.sequence, self.error = 0, None
        self._channels, self._under_way = {}, deque()
        self._lock = threading.Lock()
        self._gathered = None  # sends and receives of `together`, while there is one
        self._thread, self._stopped = None, threading.Event()
        weakref.finalize(self, self._stopped.set)  # the thread must not ask the driver while the interpreter ends
        if device is not None:
            with self._failing("making its communicator"):
                self._channel()

    # ------------------------------------------------------------------------------------------- carrying out

    def _channel(self, peer=None):
        """The communicator of all ranks, or of this one and `peer`; its ranks call this at the same time."""
        found = self._channels.get(peer)
        if found is None:
            if peer is None:
                label, rank, size = "all", self.rank, self.size
            else:
                low, high = sorted((self.rank, peer))
                label, rank, size = f"{low}:{high}", int(self.rank == high), 2
            label = f"nccl/{self.group_name}/{label}"
            _made[label] += 1  # a group may come again under its name, and finds the keys of the one before
            label = f"{label}/{_made[label]}"
            found = self._channels[peer] = _Channel(self.store, label, rank, size, self.index, self.timeout)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_after, name=f"nccl {self.group_name}", daemon=True)
                self._thread.start()
        return found

    def _work(self, what, arrays, after=None, blocks=False):
        """A new Work on arrays, which are all on the GPU of the group."""
        if self.error is not None:
            raise self.error
        for array in arrays:
            if self.index is None:
                self.index = array.device.index
            if array.device.index != self.index:
                raise RuntimeError(f"{what}: the group's GPU is cuda:{self.index}, and a tensor is on {array.device}")
        work = NcclWork(self, what, arrays, after, blocks)
        with self._lock:
            self._prune()
            self._under_way.append(work)
        return work

    def _collective(self, what, arrays, run, after=None, blocks=False):
        """Queue what `run(nccl, comm, stream)` starts."""
        self.sequence += 1
        work = self._work(f"{what} #{self.sequence}", arrays, after, blocks)
        self.watch.calls[self.group_name] = [self.sequence, work.description]
        with self._failing(work.description):
            self._start([(work, self._channel(), run if any(each.size for each in arrays) else None)])
        return work

    def _start(self, planned):
        """Start each (work, channel, run) as one, and record when each is over; NCCL takes an empty group."""
        nccl = bindings()
        for channel in {channel for _, channel, _ in planned}:
            channel.stream.wait_stream(streams.current_stream(self.index))
        driver.activate(self.index)
        alone = len(planned) == 1
        if not alone:
            nccl.group_start()
        for _, channel, run in planned:
            if run is not None:
                run(nccl, channel.comm, channel.stream.cuda_stream)
        if not alone:
            nccl.group_end()
        for work, channel, _ in planned:
            with streams.stream(channel.stream):
                if work.after is not None:
                    work.after()
                work.event = channel.stream.record_event()

    @contextmanager
    def _failing(self, description):
        """Errors of NCCL as ours, after which the group is unusable; where an abort caused them, with its reason."""
        try:
            yield
        except bindings().NCCLError as error:
            if self.error is None:
                self.abort(RuntimeError(f"rank {self.rank}: NCCL failed in {description}: {error}"))
            raise self.error from error
        except BaseException as error:
            if self.error is None:
                self.abort(error)
            raise

    def _prune(self):
        """Let go of what is over; called with the lock held."""
        waiting = deque()
        for work in self._under_way:
            if work.is_completed():
                work.finish()
                work.arrays, work.after = (), None
            else:
                waiting.append(work)
        self._under_way = waiting

    def release(self, work, stream):
        """A stream waits for `work`: arrays of that stream are safe without being kept."""
        if work.after is None and all(each.block is None or each.block.stream is stream for each in work.arrays):
            work.arrays = ()

    def _look_after(self):
        driver.activate(self.index)
        while not self._stopped.wait(_PERIOD):
            with self._lock:
                self._prune()
                oldest = self._under_way[0] if self._under_way else None
            if oldest is not None and self.error is None:
                try:
                    self._look_at(oldest)
                except Exception as error:
                    self.abort(error)

    def _look_at(self, oldest):
        """Raise what should end the wait for the oldest work under way."""
        nccl = bindings()
        for channel in list(self._channels.values()):
            status = nccl.comm_get_async_error(channel.comm)
            if status not in (0, _IN_PROGRESS):
                words = nccl.get_error_string(status)
                raise RuntimeError(f"rank {self.rank}: NCCL failed in {oldest.description}: {words}")
        self.watch.look(self, oldest.description, oldest.since)

    # ------------------------------------------------------------------------------------------- collectives

    def all_reduce(self, array, op, after=None):
        dtype, how = reduction_of(array.dtype, op)

        def run(nccl, comm, stream):
            nccl.all_reduce(array.pointer, array.pointer, array.size, dtype, how, comm, stream)

        return self._collective("all_reduce", (array,), run, after)

    def reduce(self, array, root, op, after=None):
        dtype, how = reduction_of(array.dtype, op)

        def run(nccl, comm, stream):
            nccl.reduce(array.pointer, array.pointer, array.size, dtype, how, root, comm, stream)

        return self._collective("reduce", (array,), run, after)

    def broadcast(self, array, root, after=None):
        def run(nccl, comm, stream):
            nccl.broadcast(array.pointer, array.pointer, array.nbytes, BYTE, root, comm, stream)

        return self._collective("broadcast", (array,), run, after)

    def all_gather(self, out, array, after=None):
        def run(nccl, comm, stream):
            nccl.all_gather(array.pointer, out.pointer, array.nbytes, BYTE, comm, stream)

        return self._collective("all_gather", (out, array), run, after)

    def reduce_scatter(self, array, source, op, after=None):
        dtype, how = reduction_of(array.dtype, op)

        def run(nccl, comm, stream):
            nccl.reduce_scatter(source.pointer, array.pointer, array.size, dtype, how, comm, stream)

        return self._collective("reduce_scatter", (array, source), run, after)

    def gather(self, out, array, root, after=None):
        received = [(rank, array.nbytes) for rank in range(self.size)] if self.rank == root else []
        return self._parts("gather", out, array, received, [(root, array.nbytes)], after)

    def scatter(self, array, source, root, after=None):
        sent = [(rank, array.nbytes) for rank in range(self.size)] if self.rank == root else []
        return self._parts("scatter", array, source, [(root, array.nbytes)], sent, after)

    def all_to_all(self, out, array, received, sent, after=None):
        itemsize = array.itemsize
        received, sent = ([(rank, n * itemsize) for rank, n in enumerate(each)] for each in (received, sent))
        return self._parts("all_to_all", out, array, received, sent, after)

    def _parts(self, what, out, source, received, sent, after):
        """Parts of `source` go to ranks and parts of `out` come from ranks, as lists of (rank, bytes), as one."""

        def run(nccl, comm, stream):
            nccl.group_start()
            for array, parts, function in ((source, sent, nccl.send), (out, received, nccl.recv)):
                start = array.pointer if parts else 0
                for rank, nbytes in parts:
                    if nbytes:
                        function(start, nbytes, BYTE, rank, comm, stream)
                    start += nbytes
            nccl.group_end()

        return self._collective(what, tuple(each for each in (out, source) if each is not None), run, after)

    def barrier(self):
        if self.index is None:
            self.index = driver.current_device()
        array = empty((1,), np.uint8, self.index)

        def run(nccl, comm, stream):
            nccl.all_reduce(array.pointer, array.pointer, 1, BYTE, 0, comm, stream)

        return self._collective("barrier", (array,), run, blocks=True)

    # ------------------------------------------------------------------------------------------- pairs of ranks

    def send(self, array, peer, tag, after=None):
        def run(nccl, comm, stream):
            nccl.send(array.pointer, array.nbytes, BYTE, self._place(peer), comm, stream)

        return self._message(f"send to rank {peer}", array, peer, run, after)

    def receive(self, array, peer, tag, after=None):
        if peer is None:
            raise ValueError("NCCL receives from a rank that is named; recv() needs src")

        def run(nccl, comm, stream):
            nccl.recv(array.pointer, array.nbytes, BYTE, self._place(peer), comm, stream)

        work = self._message(f"recv from rank {peer}", array, peer, run, after)
        work.source = peer
        return work

    def _place(self, peer):
        """The rank of `peer` in the communicator of the pair."""
        return int(peer > self.rank)

    def _message(self, what, array, peer, run, after):
        if peer == self.rank:
            raise ValueError(f"{what}: a rank cannot send to or receive from itself")
        work = self._work(what, (array,), after)
        planned = work, peer, run if array.size else None
        if self._gathered is not None:
            self._gathered.append(planned)
        else:
            self._start_messages([planned])
        return work

    def _start_messages(self, planned):
        with self._failing(planned[0][0].description):
            for peer in sorted({peer for _, peer, _ in planned}, key=lambda peer: sorted((peer, self.rank))):
                self._channel(peer)  # in one order of pairs on all ranks, so that none waits in a circle
            self._start([(work, self._channel(peer), run) for work, peer, run in planned])

    @contextmanager
    def together(self):
        self._gathered = []
        try:
            yield
            planned = self._gathered
        finally:
            self._gathered = None
        if planned:
            self._start_messages(planned)

    # ------------------------------------------------------------------------------------------- groups, the end

    def split(self, ranks, timeout, name):
        if self.rank not in ranks:
            return None
        rank = list(ranks).index(self.rank)
        return NcclEngine(self.store, rank, len(ranks), timeout, name, self.watch)

    def close(self):
        """Wait for what is under way, then destroy the communicators."""
        nccl = bindings() if self._channels else None
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self.error is None:
            for channel in self._channels.values():
                channel.stream.synchronize()
                nccl.comm_finalize(channel.comm)
                nccl.comm_destroy(channel.comm)
            with self._lock:
                self._prune()
        self._channels = {}

    def abort(self, error):
        """End what is under way with `error`; later calls raise it too."""
        self.error = error
        for channel in list(self._channels.values()):
            bindings().comm_abort(channel.comm)
        with self._lock:
            ended, self._under_way = self._under_way, deque()
        for work in ended:
            work.finish(error)
