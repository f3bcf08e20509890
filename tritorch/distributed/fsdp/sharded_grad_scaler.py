"""ShardedGradScaler, under the name of its module in PyTorch."""

from __future__ import annotations

from tritorch.distributed.fsdp.clipping import ShardedGradScaler as ShardedGradScaler
