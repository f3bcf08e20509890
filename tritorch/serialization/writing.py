"""save: an object to a file, whole or not at all."""

from __future__ import annotations

import json
import os

from tritorch.runtime.files import whole_file
from tritorch.serialization import container
from tritorch.serialization.packing import Packer

KEY = "tritorch"  # the metadata entry with the structure
NOT_A_FILE = "expected 'f' to be string, path, or a file-like object with a '{}' attribute"


def save(obj, f, pickle_module=None, pickle_protocol=2, _use_new_zipfile_serialization=True,
         _disable_byteorder_record=False):  # fmt: skip
    """Write `obj` to a path or a binary file object, tensors as safetensors and the rest as JSON, nothing pickled.

    A path is written whole or not at all. What PyTorch's own `torch.load` shall read is written by
    `serialization.save_torch`. The options that say how to pickle are taken and have no effect.
    """
    packer = Packer()
    metadata = {"format": "pt", KEY: json.dumps(packer.structure(obj), separators=(",", ":"))}
    write_file(f, lambda file: container.write(file, packer.names.arrays, metadata))


def write_file(f, write):
    """Call `write(file)` on a file object, or on a file that then takes the place of what was at a path."""
    if hasattr(f, "write"):
        write(f)
        return
    if not isinstance(f, (str, os.PathLike)):
        raise AttributeError(NOT_A_FILE.format("write"))
    if not os.path.isdir(os.path.dirname(os.path.abspath(os.fspath(f)))):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(f))} does not exist.")
    with whole_file(f) as file:
        write(file)
