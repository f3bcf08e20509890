"""Cooperative launches: programs that meet at barriers run as threads, of which one at a time moves on.

Each program runs to its next barrier, in the order of their numbers; then the next round begins.
"""

from __future__ import annotations

import threading

import numpy as np

from tritorch.runtime import barrier
from tritorch.runtime.interpreter import state
from tritorch.runtime.interpreter.rewrite import set_body

_open: list[Programs] = []  # the cooperative launch that runs


class _Abandoned(BaseException):
    """Ends the thread of a program whose launch has failed."""


class _Program:
    """One program: its index in the grid, and how far it is."""

    def __init__(self, index):
        self.index, self.go, self.done, self.error = index, threading.Semaphore(0), False, None


class Programs:
    """The programs of a cooperative launch; `run(body, arguments, place)` calls `place(index)` before each moves on."""

    def __init__(self, indices):
        self.programs = [_Program(index) for index in indices]
        self.current, self.paused, self.failed = None, threading.Semaphore(0), False

    def run(self, body, arguments, place):
        """Run all to their end; the first exception of one is raised."""
        threads = [
            threading.Thread(target=self._live, args=(each, body, arguments), daemon=True) for each in self.programs
        ]
        for each in threads:
            each.start()
        _open.append(self)
        try:
            while not all(each.done for each in self.programs):
                self._round(place)
        finally:
            _open.remove(self)
            self.failed = True
            for each in self.programs:
                each.go.release()
            for each in threads:
                each.join()

    def _round(self, place):
        for each in self.programs:
            self.current = each
            place(each.index)
            each.go.release()
            self.paused.acquire()
            if each.error is not None:
                raise each.error
        waiting = [each.index for each in self.programs if not each.done]
        if waiting and len(waiting) < len(self.programs):
            raise RuntimeError(f"programs {waiting} wait at a barrier that the others never reach")

    def _live(self, program, body, arguments):
        program.go.acquire()
        state.depth = 1  # of this thread: kernels that it calls are interpreted
        try:
            with np.errstate(all="ignore"):
                if not self.failed:
                    body(*arguments)
        except _Abandoned:
            return
        except Exception as error:
            program.error = error
        program.done = True
        self.paused.release()

    def cross(self):
        """The current program is at a barrier: the others go first."""
        program = self.current
        self.paused.release()
        program.go.acquire()
        if self.failed:
            raise _Abandoned


def _cross(arrivals):
    if not _open:
        raise RuntimeError("grid_barrier() in a launch without launch_cooperative_grid=True")
    _open[-1].cross()


set_body(barrier.grid_barrier, _cross)
