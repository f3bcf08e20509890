"""The end of a rank that failed: it ends the others too, where MPI_Finalize would wait for them for ever."""

from __future__ import annotations

import atexit
import os
import signal
import sys


class Ending:
    """What an uncaught exception, or an exit after a failure, does in a rank among others.

    `abort(code)` ends every rank with that exit code, or is None where no engine can; `watch` knows of failures.
    """

    def __init__(self, abort, watch):
        self.abort, self.watch, self.process = abort, watch, os.getpid()
        self.before = sys.excepthook
        sys.excepthook = self.hook = self._uncaught
        atexit.register(self._at_exit)

    def release(self):
        """Uncaught exceptions are no longer looked at; exits are, after a failure that others may not know of."""
        if sys.excepthook is self.hook:
            sys.excepthook = self.before
        self.watch.close()
        if not self.watch.failed:
            atexit.unregister(self._at_exit)

    def _uncaught(self, kind, value, trace):
        here = os.getpid() == self.process and self.abort is not None  # a forked worker is not a rank
        interrupted = issubclass(kind, KeyboardInterrupt)
        if not (here and interrupted):
            self.before(kind, value, trace)
        if here:
            self._end(128 + signal.SIGINT if interrupted else 1)

    def _at_exit(self):
        if os.getpid() != self.process:
            return
        if self.watch.failed and self.abort is not None:
            self._end(1)
        self.watch.close()

    def _end(self, code):
        sys.stdout.flush()
        sys.stderr.flush()
        self.abort(code)
