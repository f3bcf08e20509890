"""What op calls leave so that they can be replayed, and what everything below the ops says about that.

A *plan* is a function that does again, for a call with the same signature, what the op's `forward` did: it allocates,
launches and wraps without running `forward` (autograd/planning.py makes plans, and says how). This module is what the
rooms below know of them: `ready`, all plans by signature; the `Trace` of a call that is being noted; and what rules
plans out:

- `spoil()`: what this thread does now is no launch (it copies, sets or reads memory, or waits), so a call that is
  being noted cannot be replayed;
- `invalidate()`: what `forward` looks at besides its arguments has changed, so that every plan is void;
- `forbidden()`: somebody wants to see each call run, as long as the block is open.

Looking at `ready` is all that a replay costs, so whatever forbids plans empties it. With TRITORCH_PLANS=0 there are
none.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

ready: dict = {}  # signature -> the function that replays such a call
traces: dict = {}  # thread -> its Trace, while a call is being noted
_lock = threading.Lock()


class Trace:
    """What one call of `forward` did: `made`, the arrays it allocated, and `launches`, each an entry with its values.

    `spoiled` says whether it did anything else.
    """

    def __init__(self):
        self.made: list = []
        self.launches: list = []  # (launcher.Entry, cuda-core's LaunchConfig, values of all parameters)
        self.spoiled = False


class _State:
    """How often plans became void, and how many blocks forbid them."""

    generation = 0
    forbidding = int(os.environ.get("TRITORCH_PLANS") == "0")


state = _State()


def current_trace():
    """The Trace of the call that this thread is noting, or None; ask only where `traces` is not empty."""
    return traces.get(threading.get_ident())


def spoil():
    """Say that what this thread does now is no launch."""
    trace = traces.get(threading.get_ident())
    if trace is not None:
        trace.spoiled = True


def invalidate():
    """Make every plan void."""
    with _lock:
        state.generation += 1
        ready.clear()


def keep(signature, plan, generation, most):
    """Make a plan ready, unless plans became void since `generation`; all are let go of when there are `most`."""
    with _lock:
        if generation == state.generation and not state.forbidding:
            if len(ready) >= most:
                ready.clear()
            ready[signature] = plan


@contextmanager
def forbidden():
    """A context in which every call runs, in all threads."""
    with _lock:
        state.forbidding += 1
        state.generation += 1
        ready.clear()
    try:
        yield
    finally:
        with _lock:
            state.forbidding -= 1
