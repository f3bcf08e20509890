"""Ranks for tests of what is built on `tritorch.distributed`, whose collectives are counted."""

import functools

from tritorch import distributed as dist

COUNTS = {}  # collectives by name


def start():
    """Join the ranks of mpiexec, and count what they call."""
    dist.init_process_group("mpi")
    for name in ("all_reduce", "reduce_scatter_tensor", "all_gather_into_tensor", "broadcast"):
        setattr(dist, name, _counted(name, getattr(dist, name)))


def _counted(name, call):
    @functools.wraps(call)
    def counted(*args, **kwargs):
        COUNTS[name] = COUNTS.get(name, 0) + 1
        return call(*args, **kwargs)

    return counted


def new_group(ranks):
    """A group of some ranks, or None for a rank that is not one of them."""
    made = dist.new_group(ranks)
    return made if dist.get_rank() in ranks else None
