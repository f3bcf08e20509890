"""Modules on several devices: DataParallel, on the one device there is, and DistributedDataParallel, over processes."""

from __future__ import annotations

from tritorch.nn.parallel.data_parallel import DataParallel as DataParallel
from tritorch.nn.parallel.data_parallel import data_parallel as data_parallel
from tritorch.rooms import found_when_asked

_room = found_when_asked(__name__)


def __getattr__(name):
    if name != "DistributedDataParallel":
        return _room(name)
    # Brings tritorch.distributed, which scripts of one process do without.
    from tritorch.nn.parallel.distributed import DistributedDataParallel

    return DistributedDataParallel
