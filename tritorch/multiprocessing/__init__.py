"""Python's multiprocessing with PyTorch's additions: `spawn`, and names of ways to share tensors.

A tensor sent through a queue or a pipe is copied. One that `share_memory_()` moved is shared with processes that are
forked afterwards.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403

from tritorch.multiprocessing.spawn import ProcessContext as ProcessContext
from tritorch.multiprocessing.spawn import ProcessExitedException as ProcessExitedException
from tritorch.multiprocessing.spawn import ProcessRaisedException as ProcessRaisedException
from tritorch.multiprocessing.spawn import spawn as spawn
from tritorch.multiprocessing.spawn import start_processes as start_processes

__all__ = [*multiprocessing.__all__, "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy",
           "spawn"]  # fmt: skip

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"


def set_sharing_strategy(new_strategy):
    """Remember how PyTorch would share tensors between processes; here they are copied."""
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_STRATEGIES}")
    _strategy = new_strategy


def get_sharing_strategy():
    """What `set_sharing_strategy` was last told."""
    return _strategy


def get_all_sharing_strategies():
    """What can be chosen."""
    return set(_STRATEGIES)
