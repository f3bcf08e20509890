"""Programs of a cooperative launch: they may wait for one another, so each has a thread, and they take turns.

One runs at a time. It gives its turn away when it waits: when a volatile load or an atomic was the one before again,
and found the same. Until then it runs ahead of the others, so what a program forgets to wait for is not there.
"""

from __future__ import annotations

import threading

import numpy as np
from triton.runtime import interpreter as stock

from tritorch.runtime.interpreter import state
from tritorch.runtime.language import triton_lock


class _Stopped(BaseException):
    """Ends a program after another one failed."""


class Turns:
    """Whose turn it is among `count` programs: the next one that is not done, around and around."""

    def __init__(self, count):
        self._mine = [threading.Semaphore(0) for _ in range(count)]
        self._left = [*range(count)]
        self.failure: Exception | None = None

    def wait(self, program):
        """Return when it is this program's turn."""
        self._mine[program].acquire()
        if self.failure is not None:
            raise _Stopped

    def start(self):
        """Give the first turn."""
        self._mine[self._left[0]].release()

    def give_away(self, program):
        """Let the others go on until it is this program's turn again."""
        if len(self._left) > 1:
            self._next(program).release()
            self.wait(program)

    def leave(self, program):
        """Let the others go on for good."""
        following = self._next(program)
        self._left.remove(program)
        if self._left:
            following.release()

    def _next(self, program):
        return self._mine[self._left[(self._left.index(program) + 1) % len(self._left)]]


def run_together(indices, run):
    """run(index) for every index, so that each can wait for what another does; the first error is raised."""
    turns = Turns(len(indices))
    depth, handling = state.depth, np.geterr()

    def work(program, index):
        seen = None

        def looked(*handles):
            nonlocal seen
            before, seen = seen, [each.data.tobytes() for each in handles]
            if seen == before:
                turns.give_away(program)
                stock.interpreter_builder.grid_idx = index

        state.depth, state.looked = depth, looked
        triton_lock.lend()
        try:
            turns.wait(program)
            with np.errstate(**handling):
                run(index)
        except _Stopped:
            pass
        except Exception as error:
            turns.failure = error
        finally:
            turns.leave(program)

    threads = [threading.Thread(target=work, args=each) for each in enumerate(indices)]
    for thread in threads:
        thread.start()
    turns.start()
    for thread in threads:
        thread.join()
    if turns.failure is not None:
        raise turns.failure
