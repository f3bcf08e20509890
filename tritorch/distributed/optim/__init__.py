"""Optimizers of several ranks: ZeroRedundancyOptimizer, whose ranks each keep a part of the state."""

from __future__ import annotations

from tritorch.distributed.optim.zero_redundancy_optimizer import ZeroRedundancyOptimizer as ZeroRedundancyOptimizer
