"""Groups of ranks: the default one that init_process_group makes, and those that new_group makes of some ranks."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from importlib.util import find_spec

from tritorch.distributed.ranks import rank_of_environment

default_pg_timeout = timedelta(minutes=30)
_NOT_INITIALIZED = "Default process group has not been initialized, please make sure to call init_process_group."


class Backend(str):
    """The name of what carries data between processes, in lower case."""

    GLOO, MPI, NCCL, UCC, XCCL, UNDEFINED = "gloo", "mpi", "nccl", "ucc", "xccl", "undefined"

    def __new__(cls, name):
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """Some ranks, and the engine that moves data between them for each type of device."""

    def __init__(self, ranks, engines, backend, name, timeout):
        self.ranks, self.engines, self.backend = list(ranks), engines, backend
        self.group_name, self.timeout, self.store = name, timeout, None
        self._rank = self.ranks.index(_global_rank())

    def rank(self):
        """This process's number in the group."""
        return self._rank

    def size(self):
        """How many ranks the group has."""
        return len(self.ranks)

    def name(self):
        """The backend's name."""
        return str(self.backend)

    def engine(self, device):
        """The engine for tensors on `device`."""
        found = self.engines.get(device.type)
        if found is None:
            raise RuntimeError(
                f"No backend type associated with device type {device.type}: the group was made with {self.backend!r}"
            )
        return found

    def control(self):
        """The engine for host arrays, or whichever there is."""
        return self.engines.get("cpu") or next(iter(self.engines.values()))

    def close(self):
        """End the engines."""
        for engine in {id(each): each for each in self.engines.values()}.values():
            engine.close()


class _World:
    """The groups of this process."""

    def __init__(self):
        self.forget()

    def forget(self):
        """No group is left."""
        self.default, self.groups, self.me, self.count, self.ending = None, [], None, 0, None


world = _World()


def _global_rank():
    return world.me.rank


class _OfWorld(type):
    @property
    def WORLD(cls):
        return world.default

    @WORLD.setter
    def WORLD(cls, value):
        world.default = value


class group(metaclass=_OfWorld):
    """`group.WORLD` is the group of all ranks, None before there is one."""


class GroupMember(metaclass=_OfWorld):
    """`NON_GROUP_MEMBER` is what new_group gives a rank that is not in the group."""

    NON_GROUP_MEMBER = -100


def is_mpi_available():
    """Whether mpi4py is installed, and with it groups of CPU ranks."""
    return find_spec("mpi4py") is not None


def is_gloo_available():
    """Whether scripts may say "gloo": MPI does its work."""
    return is_mpi_available()


def is_nccl_available():
    """Whether nccl4py is installed; NCCL's own library is looked for when it is first used."""
    return find_spec("nccl") is not None


def is_ucc_available():
    """Whether UCC can be used: never."""
    return False


def is_available():
    """Whether processes can train together: where the extra `distributed` is installed."""
    return is_mpi_available() or is_nccl_available()


def is_initialized():
    """Whether init_process_group was called."""
    return world.default is not None


def is_torchelastic_launched():
    """Whether PyTorch's launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _duration(timeout):
    timeout = default_pg_timeout if timeout is None else timeout
    if not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    return timeout


def _names(backend):
    """The engines that a backend's name asks for; None is for all that are there."""
    if backend is None:
        return {"mpi"} | ({"nccl"} if is_nccl_available() else set())
    names = {part.rpartition(":")[2] for part in backend.split(",")}
    unknown = names - {"gloo", "mpi", "nccl"}
    if unknown:
        raise ValueError(f"Invalid backend: '{backend}'; tritorch.distributed has 'mpi' (or 'gloo') and 'nccl'")
    return {"mpi" if name == "gloo" else name for name in names}


def _mpi_world(me):
    """MPI's communicator of all ranks, which only MPI's launchers can have started."""
    if not is_mpi_available():
        raise RuntimeError("tritorch.distributed needs mpi4py: pip install 'tritorch[distributed]'")
    if me.launcher in ("environment", "slurm") and me.size > 1 and "PMI_FD" not in os.environ:
        raise RuntimeError(
            f"RANK={me.rank} and WORLD_SIZE={me.size} are set, but this process was not started by MPI, whose ranks "
            f"CPU tensors use: start the script with `mpiexec -n {me.size} python SCRIPT`"
        )
    from tritorch.distributed import mpi

    return mpi.start().COMM_WORLD.Dup()


def _common_store(me, comm, timeout):
    """Rank 0's store, whose address goes over MPI, or is MASTER_ADDR and MASTER_PORT."""
    from tritorch.distributed.store import HashStore, TCPStore

    if me.size == 1:
        return HashStore()
    if comm is None:
        if me.master is None:
            raise ValueError("environment variable MASTER_ADDR expected, but not set")
        return TCPStore(*me.master, is_master=me.rank == 0, timeout=timeout)
    host = "127.0.0.1" if me.local_size == me.size else me.master[0] if me.master else socket.gethostname()
    here = "127.0.0.1" if host == "127.0.0.1" else "0.0.0.0"
    own = TCPStore(here, is_master=True, timeout=timeout) if me.rank == 0 else None
    host, port = comm.bcast((host, own.port) if own else None)
    return own or TCPStore(host, port, timeout=timeout)


def _engines(names, me, timeout, store, device_id):
    """The store, the engines by type of device, and what ends the other ranks."""
    from tritorch.distributed.ending import Ending
    from tritorch.distributed.watch import Watch

    found, seconds = {}, timeout.total_seconds()
    comm = _mpi_world(me) if "mpi" in names or me.launcher == "mpi" else None
    common = _common_store(me, comm, timeout) if store is None or comm is not None else None
    watch = Watch(me.rank, common if me.size > 1 else None)
    store = store or common
    if "mpi" in names:
        from tritorch.distributed.mpi import MpiEngine

        engine = MpiEngine(comm, seconds, "world", watch)
        found |= dict.fromkeys(engine.device_types, engine)
    if "nccl" in names:
        from tritorch.distributed.nccl import NcclEngine, device_of_rank

        index = device_of_rank(me.local_rank, device_id) if "mpi" not in names or device_id is not None else None
        found["cuda"] = NcclEngine(store, me.rank, me.size, seconds, "world", watch, index)
    return store, found, Ending(comm.Abort if comm is not None and me.size > 1 else None, watch)


def init_process_group(
    backend=None, init_method=None, timeout=None, world_size=-1, rank=-1, store=None, group_name="", pg_options=None,
    device_id=None,
):  # fmt: skip
    """Make the group of all ranks that the launcher started; every one of them calls it.

    `backend` is "mpi" (also spelled "gloo") for host tensors. `world_size` and `rank` may be given, and have to be the
    launcher's.
    """
    if world.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    duration = _duration(timeout)
    backend = None if backend is None else Backend(backend)
    me = rank_of_environment()
    store, engines, world.ending = _engines(_names(backend), me, duration, store, device_id)
    from tritorch.distributed.tuning import make_equal

    engine = next(iter(engines.values()))
    for name, given, found in (("rank", rank, engine.rank), ("world_size", world_size, engine.size)):
        if given not in (-1, found):
            raise ValueError(f"init_process_group(): {name}={given}, but the launcher's is {found}")
    world.me = type(me)(engine.rank, engine.size, me.local_rank, me.local_size, me.launcher, me.master)
    world.default = ProcessGroup(range(engine.size), engines, backend or Backend("gloo"), "0", timeout)
    world.default.store = store
    world.groups.append(world.default)
    make_equal(store, engine.rank, engine.size)


def destroy_process_group(group=None):
    """Leave a group, or with None all of them."""
    if group is GroupMember.NON_GROUP_MEMBER:
        return
    group = world.default if group is None else group
    if group is None:
        raise AssertionError("Process group cannot be None")
    if group not in world.groups:
        raise ValueError("Invalid process group specified")
    ended = list(reversed(world.groups)) if group is world.default else [group]
    for each in ended:
        each.close()
    if group is world.default:
        world.ending.release()
        world.forget()
    else:
        world.groups.remove(group)


def resolve(group):
    """The group that is meant: None is the default one."""
    if group is None:
        if world.default is None:
            raise ValueError(_NOT_INITIALIZED)
        return world.default
    return group


def get_rank(group=None):
    """This process's number in the group; -1 if it is not in it."""
    group = resolve(group)
    return -1 if group is GroupMember.NON_GROUP_MEMBER else group.rank()


def get_world_size(group=None):
    """How many ranks the group has; -1 if this process is not in it."""
    group = resolve(group)
    return -1 if group is GroupMember.NON_GROUP_MEMBER else group.size()


def get_backend(group=None):
    """The name with which the group was made."""
    group = resolve(group)
    if group is GroupMember.NON_GROUP_MEMBER:
        raise ValueError("Invalid process group specified")
    return str(group.backend)


def get_process_group_ranks(group):
    """The global ranks of a group, in its order."""
    return list(resolve(group).ranks)


def get_group_rank(group, global_rank):
    """The number in `group` of a global rank."""
    ranks = resolve(group).ranks
    if global_rank not in ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return ranks.index(global_rank)


def get_global_rank(group, group_rank):
    """The global rank of a number in `group`."""
    ranks = resolve(group).ranks
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return ranks[group_rank]


def new_group(
    ranks=None, timeout=None, backend=None, pg_options=None, use_local_synchronization=False, group_desc=None
):
    """Make a group of some ranks; every rank of the default group calls it, with the same ranks."""
    whole = resolve(None)
    ranks = list(range(whole.size())) if ranks is None else sorted(ranks)
    if len(set(ranks)) != len(ranks) or not all(0 <= each < whole.size() for each in ranks):
        raise ValueError("The new group's rank should be within the world_size set by init_process_group")
    world.count += 1
    name = str(world.count)
    seconds = whole.control().timeout if timeout is None else _duration(timeout).total_seconds()
    parts = [engine.split(ranks, seconds, name) for engine in dict.fromkeys(whole.engines.values())]
    for part in parts:
        if part is not None:
            part.ranks = ranks
    if whole.rank() not in ranks:
        return GroupMember.NON_GROUP_MEMBER
    engines = {kind: part for part in parts for kind in part.device_types}
    found = ProcessGroup(ranks, engines, whole.backend if backend is None else Backend(backend), name, timeout)
    world.groups.append(found)
    return found
