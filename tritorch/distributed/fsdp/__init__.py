"""Fully sharded data parallel: parameters, gradients and optimizer state in parts on the ranks, gathered where used."""

from __future__ import annotations

from tritorch.distributed.fsdp.api import BackwardPrefetch as BackwardPrefetch
from tritorch.distributed.fsdp.api import FullOptimStateDictConfig as FullOptimStateDictConfig
from tritorch.distributed.fsdp.api import FullStateDictConfig as FullStateDictConfig
from tritorch.distributed.fsdp.api import LocalStateDictConfig as LocalStateDictConfig
from tritorch.distributed.fsdp.api import MixedPrecision as MixedPrecision
from tritorch.distributed.fsdp.api import MixedPrecisionPolicy as MixedPrecisionPolicy
from tritorch.distributed.fsdp.api import OptimStateDictConfig as OptimStateDictConfig
from tritorch.distributed.fsdp.api import ShardedOptimStateDictConfig as ShardedOptimStateDictConfig
from tritorch.distributed.fsdp.api import ShardedStateDictConfig as ShardedStateDictConfig
from tritorch.distributed.fsdp.api import ShardingStrategy as ShardingStrategy
from tritorch.distributed.fsdp.api import StateDictConfig as StateDictConfig
from tritorch.distributed.fsdp.api import StateDictType as StateDictType
from tritorch.distributed.fsdp.fully_shard import FSDPModule as FSDPModule
from tritorch.distributed.fsdp.fully_shard import fully_shard as fully_shard
from tritorch.distributed.fsdp.fully_sharded_data_parallel import FullyShardedDataParallel as FullyShardedDataParallel
