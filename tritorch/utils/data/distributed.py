"""DistributedSampler: the part of a dataset that one of several processes reads."""

from __future__ import annotations

import math

from tritorch import distributed
from tritorch.random import Generator
from tritorch.utils.data.sampler import Sampler, permutation


class DistributedSampler(Sampler):
    """Every `num_replicas`-th index from `rank` on, in an order that `seed` and the epoch fix for all processes.

    The order is repeated at its end so that all parts have one length, or with `drop_last` cut. `set_epoch` before each
    epoch makes another order. The epoch is the state that a loader saves.
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if (num_replicas is None or rank is None) and not distributed.is_available():
            raise RuntimeError("Requires distributed package to be available")
        num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else math.ceil(count / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self):
        count = len(self.dataset)
        order = list(range(count))
        if self.shuffle:
            order = permutation(count, Generator().manual_seed(self.seed + self.epoch))
        if order:
            order *= math.ceil(self.total_size / count)
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self):
        return self.num_samples

    def set_epoch(self, epoch):
        """Read in the order of this epoch from the next pass on."""
        self.epoch = epoch

    def state_dict(self):
        """The epoch."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state_dict):
        """Go to the epoch of a state."""
        self.epoch = state_dict["epoch"]
