"""The MPI engine: collectives of host arrays by mpi4py, in the order of the calls, beside the script.

Calls are queued. A thread of the group takes them one by one, or whoever waits for one does, so that a small collective
costs no change of threads. Before each collective its ranks agree on what it is, by one tiny reduction of a hash; then
its data moves. Both are MPI's non-blocking forms, polled, so that a timeout or the death of a rank ends the wait. Sends
and receives have no order: they are polled beside whatever else is under way.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

import numpy as np

from tritorch.distributed.agreement import Agreement, Disagreement
from tritorch.distributed.backend import Engine
from tritorch.distributed.mpi_types import as_bytes, finish_reduction, for_reduction, mpi_operations
from tritorch.distributed.work import Work
from tritorch.runtime import dtypes

_SPINS = 300  # polls in a row before the first sleep
_FIRST_SLEEP, _LONGEST_SLEEP = 2e-5, 1e-3


def start():
    """MPI, started with leave for several threads, and ended when the process ends."""
    import atexit
    import sys

    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize = mpi4py.rc.finalize = False
    from mpi4py import MPI

    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
        atexit.register(_finish, MPI, os.getpid())
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError("tritorch.distributed needs MPI_THREAD_MULTIPLE, and MPI was started without it")
    return MPI


def _finish(MPI, process):
    """End MPI once every rank has come: MPI_Finalize holds Python's lock, so that rank 0's store would not answer."""
    if os.getpid() == process and not MPI.Is_finalized():
        pause, everybody = _Pause(), MPI.COMM_WORLD.Ibarrier()
        while not everybody.Test():
            pause.rest()
        MPI.Finalize()


class _Pause:
    """What happens between two polls: nothing at first, then sleeps that grow."""

    def __init__(self):
        self.polls, self.sleep, self.since = 0, _FIRST_SLEEP, time.monotonic()

    def rest(self):
        """Rest once; True if it was a sleep."""
        self.polls += 1
        if self.polls < _SPINS:
            return False
        time.sleep(self.sleep)
        self.sleep = min(self.sleep * 1.2, _LONGEST_SLEEP)
        return True


class MpiWork(Work):
    """A Work that whoever waits for it may carry out; `start(comm)` makes its request, `end()` takes the result."""

    def __init__(self, engine, what, start, end, after, number=None, peers=None):
        super().__init__(what if number is None else f"{what} #{number}")
        self.engine, self.what, self.start, self.end, self.after = engine, what, start, end, after
        self.number, self.peers = number, peers
        self.request = self.pause = self.source = None

    def wait(self, timeout=None):
        if timeout is None and not self._done.is_set():
            self.engine.drive(self)
        else:
            self.engine.flush()
        return super().wait(timeout)

    def complete(self):
        """The request is done: write back and tell who waits."""
        error = None
        try:
            for step in (self.end, self.after):
                if step is not None:
                    step()
        except Exception as raised:
            error = raised
        self.finish(error)


class MpiEngine(Engine):
    """Collectives of host arrays over an MPI communicator of the group's own."""

    name = "mpi"
    device_types = ("cpu", "interpreter")

    def __init__(self, comm, timeout, name, watch):
        super().__init__(comm.Get_rank(), comm.Get_size(), timeout, name)
        self.comm, self.watch, self.process = comm, watch, os.getpid()
        self.sequence, self.error, self._kept = 0, None, []
        from mpi4py import MPI

        self._mpi, self._operations = MPI, mpi_operations(MPI)
        self._agreement = Agreement(comm)
        self._queue, self._messages = deque(), []
        self._running = threading.RLock()  # held by who carries things out: the thread, or a waiter
        self._awake = threading.Condition()
        self._thread, self._closed = None, False

    # ------------------------------------------------------------------------------------------- carrying out

    def _work(self, what, *arguments):
        if os.getpid() != self.process:
            raise RuntimeError(f"{what}: a process forked after init_process_group cannot talk to the other ranks")
        if self.error is not None:
            raise self.error
        return MpiWork(self, what, *arguments)

    def _collective(self, what, start, end=None, after=None):
        work = self._work(what, start, end, after, self.sequence + 1)
        self.sequence += 1
        self._queue.append(work)
        return work

    def _message(self, what, start, peer, after):
        """A send or receive: it starts at once."""
        work = self._work(what, start, None, after, None, None if peer is None else [peer])
        work.request, work.pause = work.start(self.comm), _Pause()
        self._messages.append(work)
        return work

    def flush(self):
        """Have the thread carry out what is queued."""
        if not self._queue and not self._messages:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=f"tritorch {self.group_name}", daemon=True)
            self._thread.start()
        with self._awake:
            self._awake.notify()

    def _serve(self):
        while not self._closed:
            with self._awake:
                while not (self._queue or self._messages or self._closed):
                    self._awake.wait()
            with self._running:
                self._carry_on(lambda: not (self._queue or self._messages))

    def drive(self, work):
        """Carry out what is queued until `work` is done, unless somebody is at it."""
        if self._running.acquire(blocking=False):
            try:
                self._carry_on(work.is_completed)
            finally:
                self._running.release()
        else:
            self.flush()

    def _carry_on(self, enough):
        """Collectives one by one, and messages between, until `enough()`."""
        pause = _Pause()
        while not enough():
            if self._queue:
                self._carry_out(self._queue.popleft())
                pause = _Pause()
            else:
                self._look_at_messages()
                if not enough():
                    pause.rest()

    def _carry_out(self, work):
        self.watch.calls[self.group_name] = [work.number, work.description]
        try:
            self._agree(work)
            if work.start is not None:
                work.request = work.start(self.comm)
                self._poll(work.request, work.description)
        except Exception as error:
            work.finish(error)
            if not isinstance(error, Disagreement):
                self.abort(error)
        else:
            work.complete()

    def _agree(self, work):
        """Raise on every rank if the ranks do not all call the same; nobody passes before all have come."""
        self._poll(self._agreement.ask(work.what), work.description)
        if not self._agreement.reached():
            self._poll(self._agreement.show(work.what), work.description)
            raise Disagreement(self._agreement.difference(work.description))

    def _poll(self, request, description):
        pause = _Pause()
        while not request.Test():
            if self._messages:
                self._look_at_messages()
            if pause.rest():
                self.watch.look(self, description, pause.since)

    def _look_at_messages(self):
        for work in list(self._messages):
            try:
                status = self._mpi.Status()
                done = work.request.Test(status)
                if not done:
                    self.watch.look(self, work.description, work.pause.since, work.peers)
            except Exception as error:
                self.abort(error)
                return
            if done:
                self._messages.remove(work)
                work.source = status.Get_source()
                work.complete()

    def abort(self, error):
        """End every Work that is under way with `error`; later calls raise it too."""
        self.error, self.watch.failed = error, True
        ended = [*self._queue, *self._messages]
        self._kept = ended  # MPI may still write to their arrays
        self._queue.clear()
        self._messages.clear()
        for work in ended:
            work.finish(error)

    def close(self):
        """Carry out what is queued, end the thread, free the communicator."""
        with self._running:
            self._carry_on(lambda: not (self._queue or self._messages))
        self._closed = True
        if self._thread is not None:
            with self._awake:
                self._awake.notify()
            self._thread.join()
        if self.error is None:
            self.comm.Free()

    # ------------------------------------------------------------------------------------------- what is carried out

    def all_reduce(self, array, op, after=None):
        return self._reduction("all_reduce", array, op, None, after)

    def reduce(self, array, root, op, after=None):
        return self._reduction("reduce", array, op, root, after)

    def _reduction(self, name, array, op, root, after):
        held = []

        def start(comm):
            flat, wire = for_reduction(array, op)
            held.append(flat)
            operation = self._operations[wire]
            if root is None:
                return comm.Iallreduce(self._mpi.IN_PLACE, flat, op=operation)
            if self.rank == root:
                return comm.Ireduce(self._mpi.IN_PLACE, flat, op=operation, root=root)
            return comm.Ireduce(flat, None, op=operation, root=root)

        def end():
            if root is None or self.rank == root:
                finish_reduction(array, held[0], op, self.size)

        to = "" if root is None else f" to rank {root}"
        return self._collective(f"{name} {op.name} of {_said(array)}{to}", start, end, after)

    def broadcast(self, array, root, after=None):
        what = f"broadcast of {_said(array)} from rank {root}"
        return self._collective(what, lambda comm: comm.Ibcast(as_bytes(array), root), None, after)

    def all_gather(self, out, array, after=None):
        what = f"all_gather of {_said(array)}"
        return self._collective(what, lambda comm: comm.Iallgather(as_bytes(array), as_bytes(out)), None, after)

    def gather(self, out, array, root, after=None):
        def start(comm):
            return comm.Igather(as_bytes(array), None if out is None else as_bytes(out), root)

        return self._collective(f"gather of {_said(array)} to rank {root}", start, None, after)

    def scatter(self, array, source, root, after=None):
        def start(comm):
            return comm.Iscatter(None if source is None else as_bytes(source), as_bytes(array), root)

        return self._collective(f"scatter of {_said(array)} from rank {root}", start, None, after)

    def reduce_scatter(self, array, source, op, after=None):
        held = []

        def start(comm):
            flat, wire = for_reduction(source, op)
            part = np.empty(array.size, flat.dtype)
            held.extend((flat, part))
            return comm.Ireduce_scatter_block(flat, part, op=self._operations[wire])

        def end():
            finish_reduction(array, held[1], op, self.size)

        return self._collective(f"reduce_scatter {op.name} to {_said(array)}", start, end, after)

    def all_to_all(self, out, array, received, sent, after=None):
        size = array.itemsize

        def start(comm):
            there, here = [n * size for n in sent], [n * size for n in received]
            return comm.Ialltoallv((as_bytes(array), there), (as_bytes(out), here))

        return self._collective(f"all_to_all of {dtypes.of(array.dtype)!r}", start, None, after)

    def barrier(self):
        return self._collective("barrier", None)

    def send(self, array, peer, tag, after=None):
        what = f"send of {_said(array)} to rank {peer}"
        return self._message(what, lambda comm: comm.Isend(as_bytes(array), peer, tag), peer, after)

    def receive(self, array, peer, tag, after=None):
        source = self._mpi.ANY_SOURCE if peer is None else peer
        what = f"receive of {_said(array)} from {'any rank' if peer is None else f'rank {peer}'}"
        return self._message(what, lambda comm: comm.Irecv(as_bytes(array), source, tag), peer, after)

    def split(self, ranks, timeout, name):
        self.barrier().wait()
        color = 0 if self.rank in ranks else self._mpi.UNDEFINED
        comm = self.comm.Split(color, ranks.index(self.rank) if self.rank in ranks else 0)
        return None if comm == self._mpi.COMM_NULL else MpiEngine(comm, timeout, name, self.watch)


def _said(array):
    return f"{dtypes.of(array.dtype).name}{list(array.shape)}"
