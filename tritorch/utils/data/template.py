"""A process parked before CUDA starts, from which a loader's workers are forked afterwards.

A process that has used CUDA must not fork. `DataLoader` therefore parks a template where CUDA may come later: a fork of
the main process, made when the loader is constructed, that waits and never touches CUDA. Asked for a worker it forks
itself, so nothing has to be picklable and the script needs no main guard. It ends with the loader and its iterators, or
with the main process.

Workers see the main process as it was when the loader was made. The attributes of the dataset, and of objects in its
attributes, that were set since are sent to them; other changes, such as those inside an array, are not seen.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
import types
import weakref
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait

import tritorch
from tritorch.runtime.processes import interrupts_blocked, set_signals
from tritorch.utils.data import placement, transport
from tritorch.utils.data.worker import PARENT_CHECK_SECONDS, Plan, run_worker

END_SECONDS = 1.0
MEMBERS = 64  # of a list of objects: transforms and joined datasets, not samples
UNKNOWN_EXIT = 255
MISSING = object()
NUMBER = struct.Struct("i")  # what a template writes of each worker: its pid or minus an errno, at last its exit code
# What has attributes but is no state of a dataset, or is code, which other processes find by its name.
STATELESS = (types.ModuleType, type, types.FunctionType, types.MethodType, tritorch.Tensor)
UNPICKLED = (
    "DataLoader: '{name}' of {kind} was set after the loader was constructed and cannot be pickled: {error}. Workers "
    "are forked from a copy of the process made before CUDA was used, so set it before constructing the loader, or "
    "load in the main process with num_workers=0."
)
DIED = (
    "DataLoader: the process that workers are forked from (pid {pid}) has died, perhaps because memory ran out. "
    "Construct the loader again, or load in the main process with num_workers=0."
)


def wanted(context):
    """Whether a loader made now should park a template: CUDA may come, and is not in use yet."""
    if context is not None or sys.platform != "linux" or multiprocessing.current_process().daemon:
        return False
    return placement.cuda_may_start() and not placement.cuda_in_use()


class Template:
    """The main process's side of a parked process."""

    def __init__(self, loading, worker_init_fn):
        self._roots = types.SimpleNamespace(loading=loading, worker_init_fn=worker_init_fn)
        self._states = _states_of(self._roots)
        self._lock = threading.Lock()
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        arguments = theirs, self._connection, self._roots, self._states
        process = context.Process(target=_serve, args=arguments, name="DataLoader template", daemon=True)
        try:
            with interrupts_blocked():
                process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self.pid = process.pid
        weakref.finalize(self, _end, process, self._connection, os.getpid())

    def __reduce__(self):
        return type(None), ()  # a copy of the loader has none

    def start(self, connection, loading, worker_init_fn, numbers):
        """Fork the worker of these (id, num_workers, base_seed), which uses `connection`."""
        with self._lock:
            vars(self._roots.loading).update(vars(loading))
            self._roots.worker_init_fn = worker_init_fn
            parcel = transport.Parcel(_changes(self._states))
            status, theirs = os.pipe()
            try:
                parcel.send(self._connection, numbers)
                for handle in (connection.fileno(), theirs):
                    reduction.send_handle(self._connection, handle, self.pid)
            except (BrokenPipeError, ConnectionResetError):
                os.close(status)
                raise RuntimeError(DIED.format(pid=self.pid)) from None
            finally:
                os.close(theirs)
        return ForkedWorker(status, self.pid)


class ForkedWorker:
    """A worker forked from a template: as much of `multiprocessing.Process` as a pool uses."""

    def __init__(self, status, template):
        self.sentinel, self._exitcode = status, None
        weakref.finalize(self, os.close, status).atexit = False  # the pool asks for exit codes then
        self.pid = self._read(0)
        if self.pid == 0:
            raise RuntimeError(DIED.format(pid=template))
        if self.pid < 0:
            raise OSError(-self.pid, f"DataLoader: no worker could be forked: {os.strerror(-self.pid)}")

    def _read(self, ended):
        data = os.read(self.sentinel, NUMBER.size)
        return NUMBER.unpack(data)[0] if data else ended

    @property
    def exitcode(self):
        """None while it runs, minus the number of the signal that killed it, else its exit status."""
        if self._exitcode is None and wait([self.sentinel], 0):
            self._exitcode = self._read(UNKNOWN_EXIT)
        return self._exitcode

    def is_alive(self):
        """Whether it runs."""
        return self.exitcode is None

    def join(self, timeout=None):
        """Wait until it has ended, or for `timeout` seconds."""
        wait([self.sentinel], timeout)

    def terminate(self):
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self):
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number):
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _end(process, connection, owner):
    if os.getpid() != owner:
        return  # a forked process got a copy of the template: it is not its own
    with contextlib.suppress(OSError):  # dead already
        transport.Parcel(None).send(connection, None)
    connection.close()
    process.join(END_SECONDS)
    if process.is_alive():
        process.kill()
        process.join(END_SECONDS)


# ------------------------------------------------------------------------------- attributes set since the fork


def _states_of(root):
    """[(object, its attributes)] of `root` and the objects in its attributes; the same list in the template."""
    pending, seen, states = [root], set(), []
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        if isinstance(value, (list, tuple)):
            seen.add(id(value))
            pending += value[:MEMBERS]
        elif hasattr(value, "__dict__") and not isinstance(value, STATELESS):
            seen.add(id(value))
            states.append((value, dict(vars(value))))
            pending += vars(value).values()
    return states


def _changes(states):
    """[(position in states, attributes set since, names deleted since)], checked to be picklable."""
    changes = []
    for position, (value, before) in enumerate(states):
        now = vars(value)
        changed = {name: new for name, new in now.items() if before.get(name, MISSING) is not new}
        deleted = before.keys() - now.keys()
        for name, new in changed.items():
            try:
                transport.pickled(new)
            except Exception as error:  # whatever the user's own __reduce__ raises
                message = UNPICKLED.format(name=name, kind=type(value).__name__, error=error)
                raise pickle.PicklingError(message) from error
        if changed or deleted:
            changes.append((position, changed, deleted))
    return changes


class Inherited:
    """What a forked worker has of its Plan: the objects of the template, and how to load what changed since."""

    def __init__(self, roots, states, load, numbers):
        self.roots, self.states, self.load, self.numbers = roots, states, load, numbers

    def open(self):
        """The plan."""
        for position, changed, deleted in self.load():
            attributes = vars(self.states[position][0])
            attributes.update(changed)
            for name in deleted:
                del attributes[name]
        return Plan(self.roots.loading, self.roots.worker_init_fn, *self.numbers)


# ---------------------------------------------------------------------------------------- the parked process


def _serve(connection, other_end, roots, states):
    """The main function of a template: forks workers as it is told to, and reports how they ended."""
    other_end.close()
    set_signals()
    gc.freeze()  # what a forked process inherits is not ours to collect
    main, parent = multiprocessing.parent_process().sentinel, os.getppid()
    workers = {}  # descriptor that is at its end when the worker is -> (pid, descriptor for its exit code)
    while True:
        ready = wait([connection, main, *workers], PARENT_CHECK_SECONDS)
        if main in ready or os.getppid() != parent:
            os._exit(1)
        for alive in workers.keys() & set(ready):
            _report(alive, *workers.pop(alive))
        if connection in ready and not _fork_next(connection, roots, states, workers):
            return


def _report(alive, pid, status):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(status, NUMBER.pack(code))
    os.close(alive)
    os.close(status)


def _fork_next(connection, roots, states, workers):
    """Fork the worker that a message asks for; False when it was the last message."""
    try:
        numbers, load = transport.receive(connection)
        if numbers is None:
            return False
        theirs, status = reduction.recv_handle(connection), reduction.recv_handle(connection)
    except (EOFError, ConnectionResetError):
        return False
    alive, held = os.pipe()  # the worker alone holds the end for writing, without doing anything with it
    _flush()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -error.errno
    if pid == 0:
        connection.close()
        for descriptor in (alive, status, *workers, *(status for _, status in workers.values())):
            os.close(descriptor)
        _become_worker(Connection(theirs), Inherited(roots, states, load, numbers), numbers[0])
    os.close(theirs)
    os.close(held)
    os.write(status, NUMBER.pack(pid))
    if pid > 0:
        workers[alive] = pid, status
    else:
        os.close(alive)
        os.close(status)
    return True


def _become_worker(connection, plan, number):
    """Run as worker `number` and end this process as `multiprocessing` ends its own."""
    multiprocessing.current_process().name = f"DataLoader worker {number}"
    code = 1
    try:
        run_worker(connection, plan, number)
        code = 0
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else int(request.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code & 0xFF)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # there is none, or it was closed
            stream.flush()
