"""Between a checkpoint folder and one file."""

from __future__ import annotations

import os

from tritorch import creation
from tritorch.distributed.checkpoint import state_dict_loader, state_dict_saver
from tritorch.distributed.checkpoint.filesystem import FileSystemReader
from tritorch.distributed.checkpoint.metadata import BytesStorageMetadata
from tritorch.runtime.device import CPU
from tritorch.serialization import load, save


def dcp_to_torch_save(dcp_checkpoint_dir, torch_save_path):
    """Write all of a checkpoint to one file, as `save` of its nested dicts does."""
    reader = FileSystemReader(dcp_checkpoint_dir)
    whole: dict = {}
    plain: dict = {}
    try:
        for name, entry in reader.read_metadata().state_dict_metadata.items():
            value = state_dict_loader.read_value(reader, name, plain)
            if not isinstance(entry, BytesStorageMetadata):
                value = creation.wrap(value, CPU).reshape(entry.size)
            holder = whole
            for key in entry.path[:-1]:
                holder = holder.setdefault(_hashable(key), {})
            holder[_hashable(entry.path[-1])] = value
    finally:
        reader.close()
    save(_with_lists(whole), torch_save_path)


def _hashable(key):
    return tuple(key) if isinstance(key, list) else key


def _with_lists(value):
    """Nested dicts, of which those whose keys are places in a list become one."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(key, tuple) for key in value):
        return [_with_lists(value[key]) for key in sorted(value)]
    return {key: _with_lists(each) for key, each in value.items()}


def torch_save_to_dcp(torch_save_path, dcp_checkpoint_dir):
    """Write the nested dicts of one file as a checkpoint."""
    state_dict_saver.save(load(os.fspath(torch_save_path)), checkpoint_id=dcp_checkpoint_dir, no_dist=True)
