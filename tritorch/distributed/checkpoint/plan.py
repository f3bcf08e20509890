"""From a state dict to named items, and which rank writes which of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritorch.distributed.checkpoint.metadata import BytesStorageMetadata, ChunkStorageMetadata, TensorStorageMetadata
from tritorch.distributed.shards import ShardedTensor
from tritorch.serialization import container
from tritorch.tensor import Tensor


@dataclass
class Item:
    """A value of a nested state dict: the keys that lead to it, and who holds it under which key.

    Among the keys, the place in a list is a list of one number.
    """

    path: tuple
    holder: dict | list
    key: str | int
    value: object

    @property
    def is_tensor(self):
        """Whether it is one, whole or a part."""
        return isinstance(self.value, (Tensor, ShardedTensor))

    @property
    def local(self):
        """The tensor on this rank."""
        return self.value.local if isinstance(self.value, ShardedTensor) else self.value

    @property
    def offset(self):
        """Where the first element of the local tensor lies in the flattened whole."""
        return self.value.shard.offset if isinstance(self.value, ShardedTensor) else 0


def items_of(state_dict):
    """The items by name: keys joined by dots. Dicts, and lists that hold tensors or dicts, are entered."""
    found: dict[str, Item] = {}

    def enter(holder, path, prefix):
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if not isinstance(key, (str, int)):
                raise TypeError(f"state_dict has the key {key!r} in {path}: keys have to be strings or integers")
            own = (*path, key if isinstance(holder, dict) else [key])
            label = f"{prefix}{key}"
            if isinstance(value, dict) or (isinstance(value, list) and any(map(_is_entered, value))):
                enter(value, own, f"{label}.")
                continue
            if label in found:
                raise ValueError(f"state_dict has two values under the name {label!r}: {found[label].path} and {own}")
            found[label] = Item(own, holder, key, value)

    enter(state_dict, (), "")
    return found


def _is_entered(value):
    return isinstance(value, (Tensor, ShardedTensor, dict))


def described(items):
    """What other ranks have to know of the items, as JSON."""
    found = {}
    for name, item in items.items():
        if not item.is_tensor:
            found[name] = None
            continue
        local = item.local
        if local.is_sparse or container.code_of(local.dtype.numpy) is None:
            raise TypeError(f"save(): {name!r} is a tensor of dtype {local.dtype}, which no checkpoint can have")
        found[name] = [local.dtype.name, list(item.value.shape), item.offset, local.numel()]
    return found


def divided(descriptions, paths, file_of):
    """The metadata of all items, each chunk with one writer: of the ranks that have it the one with least to write.

    descriptions  what `described` gave on each rank
    paths         the keys of each item, by name
    """
    entries: dict = {}
    holders: dict = {}  # of a chunk: the ranks
    for rank, description in enumerate(descriptions):
        for name, found in description.items():
            if found is None:
                entries.setdefault(name, BytesStorageMetadata(file_of(rank), paths[name]))
                continue
            dtype, shape, offset, length = found
            entry = entries.setdefault(name, TensorStorageMetadata(dtype, tuple(shape), [], paths[name]))
            if not isinstance(entry, TensorStorageMetadata) or [entry.dtype, list(entry.size)] != [dtype, shape]:
                raise ValueError(f"save(): {name!r} is not the same on all ranks: on rank {rank} it is {dtype} {shape}")
            holders.setdefault((name, offset, length), []).append(rank)
    loads = [0] * len(descriptions)
    for (name, offset, length), ranks in holders.items():
        if length or not math.prod(entries[name].size):
            writer = min(ranks, key=loads.__getitem__)
            loads[writer] += length
            entries[name].chunks.append(ChunkStorageMetadata(offset, length, file_of(writer), f"{name}@{offset}"))
    return entries
