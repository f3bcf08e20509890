"""Groups of ranks: the default one that init_process_group makes, and those that new_group makes of some ranks."""

from __future__ import annotations

import os
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
        self.group_name, self.timeout = name, timeout
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
        self.default, self.groups, self.me, self.count = None, [], None, 0


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
    """Whether the NCCL engine and its bindings are installed."""
    return find_spec("tritorch.distributed.nccl") is not None and find_spec("nccl") is not None


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


def _seconds(timeout):
    timeout = default_pg_timeout if timeout is None else timeout
    if not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    return timeout.total_seconds()


def _engines(backend, me, seconds):
    """The engines by type of device for a backend's name; None and "cpu:gloo,cuda:nccl" are for all devices."""
    names = {part.rpartition(":")[2] for part in backend.split(",")} if backend else {"gloo"}
    unknown = names - {"gloo", "mpi", "nccl"}
    if unknown:
        raise ValueError(f"Invalid backend: '{backend}'; tritorch.distributed has 'mpi' (or 'gloo') and 'nccl'")
    if "nccl" in names:
        raise NotImplementedError(
            "init_process_group(): backend 'nccl' is not connected to groups yet; use 'mpi' with CPU tensors"
        )
    if not is_mpi_available():
        raise RuntimeError("tritorch.distributed needs mpi4py: pip install 'tritorch[distributed]'")
    if me.launcher in ("environment", "slurm") and me.size > 1 and "PMI_FD" not in os.environ:
        raise RuntimeError(
            f"RANK={me.rank} and WORLD_SIZE={me.size} are set, but this process was not started by MPI, whose ranks "
            f"the backend {backend or 'mpi'!r} uses: start the script with `mpiexec -n {me.size} python SCRIPT`"
        )
    from tritorch.distributed import mpi
    from tritorch.distributed.watch import Watch

    engine = mpi.MpiEngine(mpi.start().COMM_WORLD.Dup(), seconds, "world", Watch())
    return dict.fromkeys(engine.device_types, engine)


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
    seconds = _seconds(timeout)
    backend = None if backend is None else Backend(backend)
    me = rank_of_environment()
    engines = _engines(backend, me, seconds)
    engine = next(iter(engines.values()))
    for name, given, found in (("rank", rank, engine.rank), ("world_size", world_size, engine.size)):
        if given not in (-1, found):
            raise ValueError(f"init_process_group(): {name}={given}, but the launcher's is {found}")
    world.me = type(me)(engine.rank, engine.size, me.local_rank, me.local_size, me.launcher, me.master)
    world.default = ProcessGroup(range(engine.size), engines, backend or Backend("gloo"), "0", timeout)
    world.groups.append(world.default)


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
    seconds = whole.control().timeout if timeout is None else _seconds(timeout)
    made = whole.control().split(ranks, seconds, name)
    if made is None:
        return GroupMember.NON_GROUP_MEMBER
    engines = dict.fromkeys(made.device_types, made)
    found = ProcessGroup(ranks, engines, whole.backend if backend is None else Backend(backend), name, timeout)
    world.groups.append(found)
    return found
