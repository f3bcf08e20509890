"""Pieces of large arrays on several threads at once: NumPy lets go of the interpreter's lock in its loops.

The threads are made when they are first needed and wait for the next call. There are as many as the process has cores,
eight at most, or OMP_NUM_THREADS, which BLAS minds too. A forked process works alone: threads do not survive a fork,
and it is one of several that share a machine, as the workers of a DataLoader are.
"""

from __future__ import annotations

import os
import queue
import threading

import numpy as np

from tritorch.ops.layout import empty_by
from tritorch.runtime.quiet import silence

_MOST_THREADS = 8
_PIECE = 1 << 18  # elements

_own = threading.local()


def scratch(like):
    """An array like another to write over, until the thread asks again: fresh memory would have to be zeroed first."""
    kept = getattr(_own, "memory", None)
    if kept is None or kept.nbytes < like.nbytes:
        kept = _own.memory = np.empty(like.nbytes, np.uint8)
    return kept[: like.nbytes].view(like.dtype).reshape(like.shape)


class _Helpers:
    """Threads that take work from a queue."""

    def __init__(self, count):
        self.count = count
        self.work = queue.SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._serve, name="tritorch pieces", daemon=True).start()

    def _serve(self):
        silence()  # NumPy's warnings are a setting of each thread
        while True:
            function, pieces, done = self.work.get()
            done.put(_failure(function, pieces))
            function = pieces = done = None  # arrays do not live until the next call

    def run(self, function, pieces):
        """Call `function` on each of `pieces`, which threads take one after another from one iterator."""
        pieces, done = iter(pieces), queue.SimpleQueue()
        for _ in range(self.count):
            self.work.put((function, pieces, done))
        failures = [_failure(function, pieces), *(done.get() for _ in range(self.count))]
        for failure in failures:
            if failure is not None:
                raise failure


def _failure(function, pieces):
    """What stopped a thread before there were no more pieces, or None."""
    try:
        for piece in pieces:
            function(piece)
    except BaseException as failure:  # which the thread that asked raises
        return failure
    return None


def _count():
    """How many threads may help the one that asks."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(asked) if asked.isdigit() and int(asked) else cores, _MOST_THREADS) - 1


_helpers: _Helpers | None = None
_lock = threading.Lock()


def _the_helpers():
    global _helpers
    with _lock:
        if _helpers is None:
            _helpers = _Helpers(_count())
    return _helpers


def _work_alone():
    global _helpers, _lock
    _helpers, _lock = _Helpers(0), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_work_alone)


def pieces_of(items, size, times=1):
    """Slices of some of `items`, each of `size` elements: little enough to stay in the cache, enough for a thread.

    What only reads its piece, in one call, is through with it sooner, and takes pieces that are `times` as large.
    """
    step = max(1, times * _PIECE // max(size, 1))
    return [slice(start, min(start + step, items)) for start in range(0, items, step)]


def for_each(function, pieces):
    """Call `function` on each of a list of pieces, in any order, several at a time where there are many.

    A piece reads and writes nothing that another piece writes. It should be as large as those of `pieces_of`: each call
    of NumPy hands the interpreter's lock over, which takes as long as a call on much less does. What is summed over
    pieces is summed by the caller, in order, so that it has the same bits at every call.
    """
    helpers = (_helpers or _the_helpers()) if len(pieces) > 1 else None
    if helpers is None or not helpers.count:
        for piece in pieces:
            function(piece)
    else:
        helpers.run(function, pieces)


def by_items(function, input, *results):
    """What a function that treats the items along the first dimension apart gives, from pieces with several of them.

    It gives a tuple, of arrays of the shapes and dtypes that `results` says, their first dimension that of `input`; a
    third part of each may say in which order its dimensions lie in memory.
    """
    pieces = pieces_of(len(input), input[:1].size)
    if len(pieces) < 2:
        return function(input)
    whole = tuple(empty_by(input, shape, *order, dtype=dtype) for shape, dtype, *order in results)

    def fill(piece):
        for result, part in zip(whole, function(input[piece]), strict=True):
            result[piece] = part

    for_each(fill, pieces)
    return whole
