"""Safetensors files by the names of `safetensors.torch`: every tensor under its own name, and text beside them.

`tritorch.save(state_dict, path)` writes such files too, and keeps order, other values and tied tensors. These functions
read and write exactly what other programs do, in one file or in several with an index.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
from contextlib import ExitStack

from tritorch.serialization import container, regions
from tritorch.serialization import load as load_any
from tritorch.serialization.errors import Corrupt
from tritorch.serialization.source import opened
from tritorch.serialization.unpacking import Unpacker
from tritorch.serialization.writing import write_file
from tritorch.tensor import Tensor

SHARED = (
    "Some tensors share memory, this will lead to duplicate memory on disk and potential differences when loading them "
    "again: {}. A potential way to correctly save your model is to use `save_model`."
)
STRIDED = (
    "You are trying to save a non contiguous tensor: `{}` which is not allowed. It either means you are trying to save "
    "tensors which are reference of each other in which case it's recommended to save only the full tensors, and "
    "reslice at load time, or simply call `.contiguous()` on your tensor to pack it before saving."
)

# -------------------------------------------------------------------------------------------- out


def save_file(tensors, filename, metadata=None):
    """Write a dict of tensors, which must be contiguous and share no memory, and a dict of text."""
    arrays = _checked(tensors, metadata)
    write_file(filename, lambda file: container.write(file, arrays, metadata))


def save(tensors, metadata=None):
    """The bytes that `save_file` writes."""
    stream = io.BytesIO()
    save_file(tensors, stream, metadata)
    return stream.getvalue()


def _checked(tensors, metadata):
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
    for key, text in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"save_file(): metadata must be text by text, but {key!r} is {text!r}")
    shared = [group for group in _groups(tensors) if len(group) > 1]
    if shared:
        raise RuntimeError(SHARED.format([set(group) for group in shared]))
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(STRIDED.format(name))
    return {name: tensor.detach().array for name, tensor in tensors.items()}


def _groups(tensors):
    """The names of tensors that overlap in memory, group by group."""
    members = [
        regions.Member({"device": str(tensor.device)}, None, tensor.detach().array, (name,))
        for name, tensor in tensors.items()
    ]
    found = regions.clusters([member for member in members if member.array.size])
    return [[member.path[0] for member in group] for group in found]


def save_model(model, filename, metadata=None, force_contiguous=True):
    """Write the state of a module; of tied tensors one is written, which the metadata names for the others."""
    state, metadata = dict(model.state_dict()), dict(metadata or {})
    for kept, *others in _tied(state):
        for name in others:
            metadata.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, filename, metadata)


def _tied(state, preferred=()):
    """Names of the same tensor, the one to be kept first: a preferred one, else the first in order of the alphabet."""
    for group in _groups(state):
        if len(group) > 1:
            yield sorted(group, key=lambda name: (name not in preferred, name))


# -------------------------------------------------------------------------------------------- in


class safe_open:
    """An open file, mapped, whose tensors are read one by one: `with safe_open(path, "pt") as file: ...`."""

    def __init__(self, filename, framework="pt", device="cpu"):
        self._files, self._device, self._name = ExitStack(), device, os.fspath(filename)
        try:
            source = self._files.enter_context(opened(filename, mapped=True))
            self._entries, self._metadata = container.read_header(source)
            self._unpacker = Unpacker(source, self._entries, False)
        except Corrupt as error:
            self._files.close()
            raise RuntimeError(f"safe_open(): {self._name}: {error}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._files.close()

    def keys(self):
        """The names of the tensors."""
        return sorted(self._entries)

    def offset_keys(self):
        """The names of the tensors in the order in which they lie in the file."""
        return sorted(self._entries, key=lambda name: self._entries[name].start)

    def metadata(self):
        """The text beside the tensors, or None."""
        return self._metadata or None

    def get_tensor(self, name):
        """One tensor, on the device of this file."""
        if name not in self._entries:
            raise KeyError(f"safe_open(): {self._name} does not contain tensor {name}")
        try:
            return self._unpacker.tensor(name, "cpu", {}).to(self._device)
        except Corrupt as error:
            raise RuntimeError(f"safe_open(): {self._name}: {error}") from None

    def get_slice(self, name):
        """One tensor in the file's memory, of which indexing reads a part."""
        return Slice(self, name)


class Slice:
    """A tensor of a file before it is read."""

    def __init__(self, file, name):
        self._file, self._name = file, name

    def get_shape(self):
        """Its sizes."""
        return list(self._file._entries[self._name].shape)

    def get_dtype(self):
        """The format's name of its dtype."""
        return container.code_of(self._file._entries[self._name].dtype)

    def __getitem__(self, key):
        return self._file._unpacker.tensor(self._name, "cpu", {})[key].contiguous().to(self._file._device)


def load_file(filename, device="cpu", *, backend="mmap"):
    """The tensors of a file by name."""
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.offset_keys()}


def load(data):
    """The tensors of the bytes of a file by name."""
    with opened(io.BytesIO(data)) as source:
        try:
            entries, _ = container.read_header(source)
            unpacker = Unpacker(source, entries, False)
            return {name: unpacker.tensor(name, "cpu", {}) for name in entries}
        except Corrupt as error:
            raise RuntimeError(f"load(): {error}") from None


def load_model(model, filename, strict=True, device="cpu", *, backend="mmap"):
    """Load a file that `save_model` wrote into a module; returns the missing and the unexpected names."""
    state = load_file(filename, device)
    own = model.state_dict()
    for name, others in ((group[0], group[1:]) for group in _tied(own, preferred=state)):
        state.update((other, state[name]) for other in others if name in state and other not in state)
    if not strict:
        found = model.load_state_dict(state, strict=False)
        return set(found.missing_keys), list(found.unexpected_keys)
    model.load_state_dict(state)
    return set(), []


def load_sharded(path, device="cpu"):
    """The tensors of a checkpoint in several files, by its index (`*.index.json`) or the folder that has one.

    The index is JSON with a "weight_map" from names to the files beside it: safetensors, or PyTorch's.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.index.json"))
        if not found:
            raise FileNotFoundError(f"load_sharded(): there is no *.index.json in {path}")
        path = found[0]
    try:
        places = json.loads(path.read_text())["weight_map"]
        files = sorted({str(each) for each in places.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeError(f"load_sharded(): {path}: not an index of a checkpoint ({error})") from None
    if any(name != os.path.basename(name) for name in files):
        raise RuntimeError(f"load_sharded(): {path} refers to files outside its folder")
    shards = {name: load_any(path.parent / name, device, mmap=True) for name in files}
    missing = [name for name, file in places.items() if name not in shards[file]]
    if missing:
        raise RuntimeError(f"load_sharded(): {path}: {missing} are not in the files where they should be")
    return {name: shards[file][name] for name, file in places.items()}
