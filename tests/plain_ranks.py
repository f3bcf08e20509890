"""Ranks for tests of what is built on `tritorch.distributed`: plain blocking MPI in the place of its engines."""

import numpy as np
from mpi4py import MPI

from tritorch import distributed as dist

COUNTS = {}  # collectives by name


class _Done:
    def wait(self):
        return True


class Group:
    """Some ranks of all."""

    def __init__(self, comm, ranks):
        self.comm, self.ranks = comm, ranks


def _comm(group):
    return (group or dist.group.WORLD).comm


def _counted(name, async_op):
    COUNTS[name] = COUNTS.get(name, 0) + 1
    return _Done() if async_op else None


def _reduced(array, op, comm):
    array = np.ascontiguousarray(array)
    wide = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    every = np.stack(comm.allgather(wide))
    if op is dist.ReduceOp.MAX:
        return every.max(0).astype(array.dtype)
    found = every.sum(0)
    return (found / comm.Get_size() if op is dist.ReduceOp.AVG else found).astype(array.dtype)


def all_reduce(tensor, op=dist.ReduceOp.SUM, group=None, async_op=False):
    tensor.array[...] = _reduced(tensor.array, op, _comm(group))
    return _counted("all_reduce", async_op)


def reduce_scatter_tensor(output, input, op=dist.ReduceOp.SUM, group=None, async_op=False):
    comm = _comm(group)
    output.array[...] = np.split(_reduced(input.array, op, comm), comm.Get_size())[comm.Get_rank()]
    return _counted("reduce_scatter_tensor", async_op)


def all_gather_into_tensor(output, input, group=None, async_op=False):
    output.array[...] = np.concatenate(_comm(group).allgather(input.array))
    return _counted("all_gather_into_tensor", async_op)


def all_gather_object(found, value, group=None):
    found[:] = _comm(group).allgather(value)


def broadcast(tensor, src, group=None, async_op=False):
    where = (group or dist.group.WORLD).ranks.index(src)
    tensor.array[...] = _comm(group).bcast(tensor.array, where)
    return _counted("broadcast", async_op)


def start():
    """Put these in the place of the names of `tritorch.distributed`."""
    world = MPI.COMM_WORLD
    dist.group.WORLD = Group(world, list(range(world.Get_size())))
    for each in (all_reduce, reduce_scatter_tensor, all_gather_into_tensor, all_gather_object, broadcast):
        setattr(dist, each.__name__, each)
    dist.get_rank = lambda group=None: _comm(group).Get_rank()
    dist.get_world_size = lambda group=None: _comm(group).Get_size()
    dist.get_global_rank = lambda group, rank: group.ranks[rank]
    dist.is_initialized = lambda: True
    dist.barrier = lambda group=None: _comm(group).barrier()


def new_group(ranks):
    """A group of some ranks, or None for a rank that is not one of them."""
    world = MPI.COMM_WORLD
    comm = world.Create(world.group.Incl(ranks))
    return Group(comm, list(ranks)) if world.Get_rank() in ranks else None
