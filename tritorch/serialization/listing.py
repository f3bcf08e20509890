"""Which classes and functions a file names that loading refuses, found without making anything."""

from __future__ import annotations

import json
import pickletools

from tritorch.serialization import container, objects, safe
from tritorch.serialization.archive import Archive
from tritorch.serialization.assembly import Assembly
from tritorch.serialization.source import opened
from tritorch.serialization.torch_names import ALWAYS, tensor_makers
from tritorch.serialization.writing import KEY

NO_CHECKPOINT = "Expected input to be a checkpoint returned by torch.save"


def get_unsafe_globals_in_checkpoint(f):
    """The names in a file of ours or of PyTorch, "module.name", that `load` with `weights_only=True` does not allow."""
    with opened(f) as source:
        start = source.bytes(0, 9)
        if start[8:] == b"{":
            _, metadata = container.read_header(source)
            paths = _paths(json.loads(metadata.get(KEY, "null")))
            return sorted({path.replace(":", ".") for path in paths if objects.find(path, False) is None})
        if start[:4] != b"PK\x03\x04":
            raise ValueError(NO_CHECKPOINT)
        archive = Archive(source)
        if "constants.pkl" in archive:
            raise ValueError(f"{NO_CHECKPOINT} but got a torchscript checkpoint")
        known = ALWAYS | tensor_makers(Assembly())
        found = {_renamed(name) for name in _globals(archive.read("data.pkl"))}
        return sorted(name for name in found if name not in known and safe.allowed(name) is None)


def _renamed(name):
    """A name as Python 3 has it."""
    return name.replace("__builtin__.", "builtins.", 1) if name.startswith("__builtin__.") else name


def _globals(data):
    """The names in a pickle; of those that are put together on the stack, those made of the two texts before."""
    texts = []
    for code, argument, _ in pickletools.genops(data):
        if code.name == "GLOBAL":
            yield argument.replace(" ", ".", 1)
        elif code.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)


def _paths(value):
    """The paths of classes and functions in a structure."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("object", "global", "class") and isinstance(each, str):
                yield each
            elif key == "member":
                yield each[0]
            else:
                yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)
