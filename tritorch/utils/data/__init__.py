"""Datasets, samplers, collating, and the DataLoader with its worker processes."""

from __future__ import annotations

from tritorch.utils.data import _utils as _utils
from tritorch.utils.data import distributed as distributed
from tritorch.utils.data.collate import default_collate as default_collate
from tritorch.utils.data.collate import default_convert as default_convert
from tritorch.utils.data.dataloader import DataLoader as DataLoader
from tritorch.utils.data.dataloader import _DatasetKind as _DatasetKind
from tritorch.utils.data.dataset import ChainDataset as ChainDataset
from tritorch.utils.data.dataset import ConcatDataset as ConcatDataset
from tritorch.utils.data.dataset import Dataset as Dataset
from tritorch.utils.data.dataset import IterableDataset as IterableDataset
from tritorch.utils.data.dataset import StackDataset as StackDataset
from tritorch.utils.data.dataset import Subset as Subset
from tritorch.utils.data.dataset import TensorDataset as TensorDataset
from tritorch.utils.data.dataset import random_split as random_split
from tritorch.utils.data.distributed import DistributedSampler as DistributedSampler
from tritorch.utils.data.sampler import BatchSampler as BatchSampler
from tritorch.utils.data.sampler import RandomSampler as RandomSampler
from tritorch.utils.data.sampler import Sampler as Sampler
from tritorch.utils.data.sampler import SequentialSampler as SequentialSampler
from tritorch.utils.data.sampler import SubsetRandomSampler as SubsetRandomSampler
from tritorch.utils.data.sampler import WeightedRandomSampler as WeightedRandomSampler
from tritorch.utils.data.worker import WorkerInfo as WorkerInfo
from tritorch.utils.data.worker import get_worker_info as get_worker_info
