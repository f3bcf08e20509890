"""A Python process beside this one that answers calls, one at a time, and may hang or die without harm.

It is started anew, not forked (CUDA does not survive a fork) and without the main script (which may have no guard),
with this one's `sys.path` and interpreter flags. It ignores Ctrl-C, which is for its parent to decide upon, and ends
when its parent is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from multiprocessing.connection import Connection, wait

from tritorch.runtime.processes import interrupts_blocked, set_signals

PARENT_CHECK_SECONDS = 1.0
_TEXT = "import sys; sys.path[:] = {path!r}; from tritorch.autotune.child import serve; serve({pipe}, {parent})"
_KILL_SECONDS = 10.0
_SAID = 4000  # the last characters of what a process printed before it died


class ChildError(RuntimeError):
    """A child that gave no answer; its process has ended."""


class ChildDied(ChildError):
    """A child whose process ended by itself, with what it said last."""


class ChildTimeout(ChildError):
    """A child that gave no answer in time, and was killed."""


class Child:
    """`child.call(function, *arguments, timeout=...)` gives what a module's function gives in that process."""

    def __init__(self, **environment):
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # what it prints is wanted here, not on the terminal
        text = _TEXT.format(path=sys.path, pipe=theirs.fileno(), parent=os.getpid())
        command = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", text]
        with theirs, interrupts_blocked():
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                env=os.environ | _not_tuning() | environment,
            )
        self.connection = Connection(ours.detach())

    @property
    def pid(self):
        """The number of its process."""
        return self.process.pid

    @property
    def ended(self):
        """Whether it was killed, or was seen to have died."""
        return self.connection.closed

    def call(self, function, *arguments, timeout=None):
        """What `function(*arguments)` gives or raises there; a ChildError if it does not come back."""
        self.send(function, *arguments)
        try:
            ready = wait([self.connection], timeout)
        except BaseException:  # an interrupt: the answer would be taken for that to the next call
            self.kill()
            raise
        if not ready:
            self.kill()
            raise ChildTimeout(f"no answer within {timeout:g} s")
        return self.receive()

    def send(self, function, *arguments):
        """Ask without waiting; `receive` gives the answer, when `connection` is ready."""
        if self.ended:
            raise ChildDied("the process has ended")
        try:
            self.connection.send((function, arguments))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def receive(self):
        """The answer to what was sent."""
        try:
            good, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if not good:
            raise value
        return value

    def _died(self):
        code = self.process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-_SAID:]
        self.kill()
        return ChildDied(f"{_obituary(code)}{said and ': ' + said}")

    def kill(self):
        """End it at once, whatever it is doing; again does nothing."""
        if self.process.returncode is None:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the driver may hold it while a GPU hangs
                self.process.wait(_KILL_SECONDS)
        self.connection.close()
        self._said.close()


def _not_tuning():
    """What a child's environment needs where this process tunes at misses: what it runs itself is tried, not tuned."""
    return {"TRITORCH_AUTOTUNE": "cached"} if os.environ.get("TRITORCH_AUTOTUNE") == "1" else {}


def _obituary(code):
    if code < 0:
        return f"the process was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"the process ended with exit code {code}"


def serve(pipe, parent):
    """The main function of a child: answer calls until the parent closes the pipe or is gone."""
    set_signals()
    faulthandler.enable(all_threads=False)
    connection, calls = Connection(pipe), queue.SimpleQueue()
    threading.Thread(target=_take_in, args=(connection, calls, parent), daemon=True).start()
    while True:
        function, arguments = calls.get()
        try:
            answer = True, function(*arguments)
        except Exception as error:
            error.add_note("in a child process:\n" + "".join(traceback.format_exception(error)))
            answer = False, error
        _send(connection, answer)


def _take_in(connection, calls, parent):
    """Take calls in while the process is busy, so that it notices when its parent is gone."""
    while True:
        ready = wait([connection], PARENT_CHECK_SECONDS)
        if os.getppid() != parent:  # others may hold copies of the parent's end of the pipe
            os._exit(1)
        if ready:
            try:
                calls.put(connection.recv())
            except (EOFError, ConnectionResetError):
                os._exit(1)


def _send(connection, answer):
    try:
        connection.send_bytes(_packed(*answer))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)


def _packed(good, value):
    """An answer as bytes; an exception that cannot be made again elsewhere goes as text."""
    try:
        packed = pickle.dumps((good, value))
        if not good:
            pickle.loads(packed)
    except Exception as failure:
        text = f"{type(failure).__name__}: {failure}" if good else f"{type(value).__name__}: {value}"
        return pickle.dumps((False, RuntimeError(text)))
    return packed
