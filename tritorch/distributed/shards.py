"""Tensors of which each rank holds a part: what a sharded model's state_dict gives, and checkpoints write and read.

A part is a run of neighbours in the flattened whole (row-major order). Rows of the first dimension are one, and so is
any piece of a flattened parameter, so that no other form is needed; an empty run is a rank without a part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritorch import distributed as dist
from tritorch.tensor import Tensor


@dataclass(frozen=True)
class Shard:
    """Where the elements of a local tensor lie in the whole.

    shape   of the whole tensor
    offset  of the first local element in the flattened whole
    group   the ranks that hold the whole together; None for all ranks

    A parameter that is a part of a whole says so by an attribute `shard`, which its optimizer state shares.
    """

    shape: tuple[int, ...]
    offset: int
    group: object = None

    def __deepcopy__(self, memo):
        return self  # nothing in it changes, and a group cannot be copied


def shard_of(tensor):
    """The Shard that a tensor says it is, or None for a tensor that is whole."""
    return getattr(tensor, "shard", None)


class ShardedTensor:
    """This rank's part of a tensor: `local`, of any shape, whose elements in their order are those of `shard`."""

    def __init__(self, local: Tensor, shard: Shard):
        count = math.prod(shard.shape)
        if not 0 <= shard.offset <= count - local.numel():
            raise ValueError(
                f"ShardedTensor: {local.numel()} elements from {shard.offset} on do not lie in a tensor of shape "
                f"{list(shard.shape)}, which has {count}"
            )
        self.local, self.shard = local, shard

    @property
    def shape(self):
        """Of the whole."""
        return tuple(self.shard.shape)

    @property
    def dtype(self):
        """Of the elements."""
        return self.local.dtype

    @property
    def device(self):
        """Where the local part is."""
        return self.local.device

    def size(self, dim=None):
        """The shape of the whole, or one of its sizes."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self):
        """The count of elements of the whole."""
        return math.prod(self.shape)

    def to_local(self):
        """The local part."""
        return self.local

    def full_tensor(self):
        """The whole, on every rank of the group, all of which have to call this."""
        group = self.shard.group
        local = self.local.detach().reshape(-1)
        spans = [None] * dist.get_world_size(group)
        dist.all_gather_object(spans, [self.shard.offset, local.numel()], group=group)
        longest = max(1, *(length for _, length in spans))
        padded = local.new_zeros(longest)
        padded[: local.numel()] = local
        gathered = local.new_zeros(longest * len(spans))
        dist.all_gather_into_tensor(gathered, padded, group=group)
        whole = local.new_zeros(self.numel())
        for part, (offset, length) in zip(gathered.split(longest), spans, strict=True):
            whole[offset : offset + length] = part[:length]
        return whole.reshape(self.shape)

    def __repr__(self):
        end = self.shard.offset + self.local.numel()
        return f"ShardedTensor({list(self.shape)}, dtype={self.dtype}, elements {self.shard.offset} to {end})"
