"""save: a nested state dict to a folder, by all ranks together; `async_save` writes while training goes on."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import asdict
from functools import cache
from threading import Thread

from tritorch import distributed as dist
from tritorch.distributed.checkpoint import plan
from tritorch.distributed.checkpoint.filesystem import FileSystemWriter
from tritorch.distributed.checkpoint.metadata import FileMetadata, Metadata
from tritorch.distributed.checkpoint.ranks import Ranks
from tritorch.distributed.checkpoint.stateful import Stateful
from tritorch.runtime import transfer
from tritorch.serialization.packing import Packer
from tritorch.serialization.writing import KEY


def save(state_dict, *, checkpoint_id=None, storage_writer=None, planner=None, process_group=None, no_dist=False):
    """Write a nested dict of tensors and plain values to the folder `checkpoint_id`. Every rank has to call this.

    A ShardedTensor is written by the ranks that hold its parts, and what several ranks hold alike by one of them. Of
    values that are no tensors, the first rank's count. Objects with `state_dict` and `load_state_dict` are asked for
    their state. Gives the Metadata.
    """
    writer = _writer(checkpoint_id, storage_writer, planner)
    ranks = Ranks(process_group, no_dist)
    return _write(writer, ranks, *_planned(state_dict, writer, ranks, _array))


def async_save(state_dict, *, checkpoint_id=None, storage_writer=None, planner=None, process_group=None, no_dist=False):
    """Copy the state to the host and write it as `save` does, but in a thread; gives a Future of the Metadata.

    Every rank has to call this. The ranks' threads talk through a group of their own.
    """
    writer = _writer(checkpoint_id, storage_writer, planner)
    ranks = Ranks(process_group, no_dist)
    planned = _planned(state_dict, writer, ranks, _copied)
    if not ranks.alone:
        ranks = Ranks(_own_group(process_group))
    future: Future = Future()

    def run():
        try:
            future.set_result(_write(writer, ranks, *planned))
        except BaseException as error:  # raised where the future is asked for its result
            future.set_exception(error)

    Thread(target=run, name="async_save").start()
    return future


@cache
def _own_group(group):
    return dist.new_group(None if group is None else dist.get_process_group_ranks(group))


def _writer(checkpoint_id, storage_writer, planner):
    if planner is not None:
        raise ValueError("save(): planner is not supported; pass the state dict as it is to be saved")
    if checkpoint_id is None and storage_writer is None:
        raise RuntimeError("`checkpoint_id` must be specified if `storage_writer` is None.")
    return FileSystemWriter(checkpoint_id) if storage_writer is None else storage_writer


def _array(tensor):
    return tensor.detach().array


def _copied(tensor):
    array = transfer.to_host(tensor.detach().array)
    return array.copy() if array is tensor.detach().array else array


def _planned(state_dict, writer, ranks, take):
    """The metadata of all items, and what this rank writes: arrays by name, and texts."""
    state_dict = {key: each.state_dict() if isinstance(each, Stateful) else each for key, each in state_dict.items()}
    found: dict = {}

    def describe():
        found.update(plan.items_of(state_dict))
        return [plan.described(found), {name: list(item.path) for name, item in found.items()}]

    told = ranks.together("save()", describe)
    paths = {name: path for _, some in reversed(told) for name, path in some.items()}
    entries = plan.divided([description for description, _ in told], paths, writer.file_of)
    own = writer.file_of(ranks.rank)
    packer = Packer()
    plain = {name: each.value for name, each in found.items() if not each.is_tensor and entries[name].file == own}
    texts = {"format": "pt", KEY: json.dumps(packer.structure(plain), separators=(",", ":"))}
    for name, item in found.items():
        for chunk in entries[name].chunks if item.is_tensor else ():
            if chunk.file == own and chunk.offset == item.offset:
                packer.names.arrays[chunk.name] = take(item.local)
    return entries, packer.names.arrays, texts


def _write(writer, ranks, entries, arrays, texts):
    first = ranks.rank == 0
    ranks.together("save()", writer.start if first else _nothing)
    try:
        files = ranks.together("save()", lambda: asdict(writer.write(ranks.rank, arrays, texts)))
        metadata = Metadata(entries, {writer.file_of(n): FileMetadata(**each) for n, each in enumerate(files)})
        ranks.together("save()", (lambda: writer.finish(metadata)) if first else _nothing)
    finally:
        if first:
            writer.give_up()  # what is left of it, if anything
    return metadata


def _nothing():
    return None
