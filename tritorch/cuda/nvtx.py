"""Marks for NVIDIA's profilers, by PyTorch's names: accepted, and without effect."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager

_depth = threading.local()
_handles = itertools.count(1)


def mark(msg):
    """Mark a moment."""


def range_push(msg):
    """Begin a range inside those already begun; gives how many there were."""
    before = getattr(_depth, "ranges", 0)
    _depth.ranges = before + 1
    return before


def range_pop():
    """End the range begun last; gives how many remain."""
    _depth.ranges = getattr(_depth, "ranges", 0) - 1
    return _depth.ranges


def range_start(msg):
    """Begin a range that another thread may end; gives the number to end it by."""
    return next(_handles)


def range_end(range_id):
    """End a range that `range_start` began."""


@contextmanager
def range(msg, *args, **kwargs):
    """A range around a `with` block or a decorated function; `msg` is formatted with the other arguments."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
