"""Modules that run on several devices or processes, for scripts that wrap their model in one: here it runs on one."""

from __future__ import annotations

from tritorch.nn.parallel.data_parallel import DataParallel as DataParallel
from tritorch.nn.parallel.data_parallel import data_parallel as data_parallel
from tritorch.nn.parallel.distributed import DistributedDataParallel as DistributedDataParallel
