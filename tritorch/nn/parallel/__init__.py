"""Models on several GPUs, by PyTorch's names: a process uses one GPU here."""

from __future__ import annotations

from tritorch.nn.parallel.data_parallel import DataParallel as DataParallel
from tritorch.nn.parallel.data_parallel import data_parallel as data_parallel
from tritorch.nn.parallel.distributed import DistributedDataParallel as DistributedDataParallel
