"""Join: ranks with fewer batches than others take part in the others' collectives until all are through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from tritorch import creation
from tritorch import distributed as dist


class JoinHook:
    """What a rank does that is through: `main_hook` for each step of the others, `post_hook` when all are through."""

    def main_hook(self):
        """Take part in the collectives of one step."""

    def post_hook(self, is_last_joiner):
        """Make all ranks alike; `is_last_joiner` says that this one took the most steps."""


class _Config(NamedTuple):
    enable: bool
    throw_on_early_termination: bool
    is_first: bool


class Joinable(ABC):
    """Base of what has collectives in each step; it calls `Join.notify_join_context` before the first of them."""

    _join_config = _Config(False, False, False)

    @abstractmethod
    def join_hook(self, **kwargs):
        """The JoinHook of a rank that is through."""

    @property
    @abstractmethod
    def join_device(self):
        """Where the tensors of its collectives are."""

    @property
    @abstractmethod
    def join_process_group(self):
        """The ranks that take part."""


class Join:
    """Inside, ranks may have different numbers of steps. `joinables` are named in the order of their collectives.

    With `throw_on_early_termination` all ranks raise as soon as one is through.
    """

    def __init__(self, joinables, enable=True, throw_on_early_termination=False, **kwargs):
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable, self._throw = joinables, enable, throw_on_early_termination
        self._group = joinables[0].join_process_group
        if any(each.join_process_group is not self._group for each in joinables):
            raise ValueError("Using join context manager with multiple process groups")
        self._hooks = [each.join_hook(**kwargs) for each in joinables]

    def __enter__(self):
        for each in self._joinables:
            each._join_config = _Config(self._enable, self._throw, each is self._joinables[0])
        return self

    def __exit__(self, kind, value, traceback):
        for each in self._joinables:
            each._join_config = Joinable._join_config  # what hooks call tells nobody of a step
        if not self._enable or kind is not None:
            return
        device = self._joinables[0].join_device
        is_last = True
        while _total(0, device, self._group):
            if self._throw:
                _total(1, device, self._group)
                raise RuntimeError(f"Rank {dist.get_rank(self._group)} exhausted all inputs.")
            is_last = False
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(is_last)

    @staticmethod
    def notify_join_context(joinable):
        """Tell ranks that are through of a step; the work of it for the first joinable, None for others."""
        config = joinable._join_config
        if not (config.enable and config.is_first):
            return None
        device, group = joinable.join_device, joinable.join_process_group
        work = dist.all_reduce(creation.ones(1, device=device), group=group, async_op=True)
        if config.throw_on_early_termination and _total(0, device, group):
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work


def _total(value, device, group):
    """The sum of a number over the ranks."""
    count = creation.full((1,), float(value), device=device)
    dist.all_reduce(count, group=group)
    return count.item()
