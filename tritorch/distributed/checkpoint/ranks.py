"""What the ranks of a checkpoint tell each other; a process without a group is alone."""

from __future__ import annotations

from tritorch import distributed as dist
from tritorch.distributed.checkpoint.metadata import CheckpointException


class Ranks:
    """The ranks that save or load together."""

    def __init__(self, group=None, alone=False):
        self.alone = alone or not dist.is_initialized()
        self.group = group
        self.rank = 0 if self.alone else dist.get_rank(group)
        self.size = 1 if self.alone else dist.get_world_size(group)

    def gathered(self, value):
        """The JSON-able values of all ranks, in their order."""
        if self.alone:
            return [value]
        found = [None] * self.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    def together(self, what, function):
        """`function()` on each rank, whose JSON-able values are given to all; if one fails, all raise."""
        failure, value = None, None
        try:
            value = function()
        except Exception as error:  # told to all ranks, which raise it
            failure = error
        found = self.gathered([None if failure is None else f"{type(failure).__name__}: {failure}", value])
        failures = {rank: text for rank, (text, _) in enumerate(found) if text is not None}
        if failures:
            if failure is not None and self.size == 1:
                raise failure
            raise CheckpointException(f"{what} failed", failures) from failure
        return [value for _, value in found]
