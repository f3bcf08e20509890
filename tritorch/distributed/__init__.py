"""Several processes that train together: the names, for scripts that ask whether they are one of several.

A process is always alone: `is_available()` and `is_initialized()` are False, and what would talk to others says so.
"""

from __future__ import annotations

import os
from enum import IntEnum

from tritorch.refused import refused
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)

init_process_group = refused(
    "distributed.init_process_group", "a script runs as one process here; run it without its launcher."
)


class ReduceOp(IntEnum):
    """How the values of several processes become one."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class Backend(str):
    """The name of what carries data between processes, in lower case."""

    GLOO, MPI, NCCL, UCC, XCCL, UNDEFINED = "gloo", "mpi", "nccl", "ucc", "xccl", "undefined"

    def __new__(cls, name):
        return super().__new__(cls, name.lower())


class group:
    """The group of all processes: None before there is one."""

    WORLD = None


def is_available():
    """Whether processes can train together: not yet."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_ucc_available = is_available


def is_initialized():
    """Whether this process is one of several: no."""
    return False


def is_torchelastic_launched():
    """Whether PyTorch's launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def destroy_process_group(group=None):
    """Leave the group, which nobody is in."""
    raise AssertionError("Process group cannot be None")


def _needs_group(name):
    def call(*args, **kwargs):
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")

    call.__name__ = call.__qualname__ = name
    call.__doc__ = "Raises ValueError: there is no group of processes."
    return call


for _name in (
    "get_rank", "get_world_size", "get_backend", "new_group", "barrier", "monitored_barrier", "broadcast",
    "broadcast_object_list", "all_reduce", "reduce", "all_gather", "all_gather_into_tensor", "all_gather_object",
    "gather", "gather_object", "scatter", "scatter_object_list", "reduce_scatter", "reduce_scatter_tensor",
    "all_to_all", "all_to_all_single", "send", "recv", "isend", "irecv", "batch_isend_irecv",
):  # fmt: skip
    globals()[_name] = _needs_group(_name)
