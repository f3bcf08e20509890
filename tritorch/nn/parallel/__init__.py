"""Modules on several devices: DataParallel, on the one device there is, and DistributedDataParallel's name."""

from __future__ import annotations

from tritorch.nn.parallel.data_parallel import DataParallel as DataParallel
from tritorch.nn.parallel.data_parallel import data_parallel as data_parallel
from tritorch.nn.parallel.distributed import DistributedDataParallel as DistributedDataParallel
