"""load: a checkpoint into a nested state dict, on any number of ranks."""

from __future__ import annotations

import json

import numpy as np

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.distributed.checkpoint import plan
from tritorch.distributed.checkpoint.filesystem import FileSystemReader
from tritorch.distributed.checkpoint.metadata import BytesStorageMetadata
from tritorch.distributed.checkpoint.ranks import Ranks
from tritorch.distributed.checkpoint.stateful import Stateful
from tritorch.runtime.device import CPU
from tritorch.serialization.errors import Corrupt, Refused
from tritorch.serialization.unpacking import Unpacker
from tritorch.serialization.writing import KEY


def load(state_dict, *, checkpoint_id=None, storage_reader=None, planner=None, process_group=None, no_dist=False):
    """Fill a nested state dict from the folder `checkpoint_id`. Every rank has to call this.

    Tensors are written over in place, each rank reading the parts that it holds; other values are replaced. What the
    checkpoint has beyond the names in `state_dict` is left alone. If anything is missing or damaged on any rank, all
    raise and nothing is changed. Objects with `state_dict` and `load_state_dict` get what was loaded.
    """
    if planner is not None:
        raise ValueError("load(): planner is not supported; pass the state dict that is to be filled")
    if checkpoint_id is None and storage_reader is None:
        raise RuntimeError("`checkpoint_id` must be specified if `storage_reader` is None.")
    reader = FileSystemReader(checkpoint_id) if storage_reader is None else storage_reader
    states = {key: each.state_dict() if isinstance(each, Stateful) else each for key, each in state_dict.items()}
    items = plan.items_of(states)
    read: dict = {}
    try:
        Ranks(process_group, no_dist).together("load()", lambda: read.update(_read_all(reader, items)))
    finally:
        reader.close()
    _fill(items, read)
    for key, each in state_dict.items():
        if isinstance(each, Stateful):
            each.load_state_dict(states[key])
        else:
            state_dict[key] = states[key]


def _read_all(reader, items):
    """The values of all items by name: NumPy vectors for tensors."""
    _check(reader.read_metadata().state_dict_metadata, items)
    plain: dict = {}
    return {name: read_value(reader, name, plain, items[name]) for name in items}


def _check(entries, items):
    missing = [name for name in items if name not in entries]
    if missing:
        raise RuntimeError(f"Missing key in checkpoint state_dict: {', '.join(missing)}.")
    for name, item in items.items():
        entry = entries[name]
        is_tensor = not isinstance(entry, BytesStorageMetadata)
        if is_tensor is not item.is_tensor:
            raise ValueError(f"{name!r} is {'a' if is_tensor else 'no'} tensor in the checkpoint, unlike here")
        if is_tensor and tuple(entry.size) != tuple(item.value.shape):
            raise ValueError(
                f"Size mismatch between saved {list(entry.size)} and current: {list(item.value.shape)} for {name}"
            )


def read_value(reader, name, plain, item=None):
    """The value of a name: a NumPy vector of the elements that a tensor's item has here, all without an item.

    `plain` keeps what is no tensor in the files read so far.
    """
    entry = reader.read_metadata().state_dict_metadata[name]
    if not isinstance(entry, BytesStorageMetadata):
        low, count = (0, int(np.prod(entry.size))) if item is None else (item.offset, item.local.numel())
        return reader.elements(name, entry, low, low + count)
    if entry.file not in plain:
        plain[entry.file] = reader.read(entry.file, _plain)
    return plain[entry.file][name]


def _plain(source, entries, texts):
    """What is no tensor in a file, by name."""
    unpacker = Unpacker(source, entries, False)
    try:
        found = unpacker.unpack(json.loads(texts.get(KEY, "null")))
    except Refused as error:
        raise Corrupt(str(error)) from None
    unpacker.assembly.place(None)
    return found


@no_grad()
def _fill(items, read):
    for name, item in items.items():
        if item.is_tensor:
            local = item.local.detach()
            local.copy_(creation.wrap(read[name], CPU).reshape(local.shape))
        else:
            item.holder[item.key] = read[name]
