"""Folders of a checkpoint: a file for each rank, and metadata that come last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from tritorch.distributed.checkpoint.blocks import BlockSource, BlockWriter
from tritorch.distributed.checkpoint.metadata import FileMetadata, Metadata
from tritorch.runtime import dtypes
from tritorch.runtime.files import replace_folder, whole_file
from tritorch.serialization import container
from tritorch.serialization.errors import ILL_FORMED, Corrupt

METADATA = "metadata.json"


class FileSystemWriter:
    """Writes a checkpoint to the folder `path`, on a file system that all ranks share.

    Files come into a folder beside it, which takes the place of `path` when all is on the disk: whenever a save is
    interrupted, what was at `path` is still there and whole. With `overwrite=False` nothing may be there.
    """

    def __init__(self, path, single_file_per_rank=True, sync_files=True, thread_count=1, overwrite=True):
        self.path, self.overwrite = Path(os.path.abspath(os.fspath(path))), overwrite
        self.temporary = self.path.with_name(f".{self.path.name}.saving")

    @staticmethod
    def file_of(rank):
        """The name of a rank's file."""
        return f"rank{rank}.safetensors"

    def start(self):
        """Make the folder to write to, in the place of what an interrupted save left; one rank calls this."""
        if self.path.exists() and not self.overwrite:
            raise RuntimeError(f"Checkpoint already exists and overwrite=False: {self.path}")
        if self.path.exists() and not (self.path.is_dir() and self._is_ours()):
            raise RuntimeError(f"{self.path} is not a checkpoint: saving would replace it")
        if self.temporary.exists():
            shutil.rmtree(self.temporary)
        self.temporary.mkdir(parents=True)

    def _is_ours(self):
        return (self.path / METADATA).exists() or not any(self.path.iterdir())

    def write(self, rank, arrays, texts):
        """Write a rank's arrays and texts; gives what the metadata say of the file."""
        if not self.temporary.is_dir():
            raise RuntimeError(f"{self.temporary} is not there: ranks have to share the file system of a checkpoint")
        with whole_file(self.temporary / self.file_of(rank)) as file:
            blocks = BlockWriter(file)
            container.write(blocks, arrays, texts)
        return FileMetadata(blocks.size, blocks.sums)

    def finish(self, metadata):
        """Write the metadata and put the folder in its place; one rank calls this when all have written."""
        with whole_file(self.temporary / METADATA) as file:
            file.write(metadata.to_json().encode())
        replace_folder(self.temporary, self.path)

    def give_up(self):
        """Remove what was written; one rank calls this."""
        shutil.rmtree(self.temporary, ignore_errors=True)


class FileSystemReader:
    """Reads a checkpoint from the folder `path`, of each file only the blocks that are needed."""

    def __init__(self, path):
        self.path = Path(os.path.abspath(os.fspath(path)))
        self._metadata = None
        self._files: dict = {}  # name -> (source, entries, texts)

    def read_metadata(self):
        """What the checkpoint holds."""
        if self._metadata is None:
            path = self.path / METADATA
            if not path.exists():
                raise FileNotFoundError(
                    f"{self.path} is not a checkpoint: it has no {METADATA}, which is written last, so that it was not "
                    "saved to the end, or is something else"
                )
            try:
                self._metadata = Metadata.from_json(path.read_text(encoding="utf-8"))
            except (Corrupt, UnicodeDecodeError) as error:
                raise RuntimeError(f"load(): {path}: {error}") from None
        return self._metadata

    def read(self, name, read):
        """What `read(source, entries, texts)` makes of a file; errors name the file."""
        try:
            return read(*self._opened(name))
        except FileNotFoundError:
            raise RuntimeError(f"load(): {self.path / name} is missing: the checkpoint is not whole") from None
        except Corrupt as error:
            raise RuntimeError(f"load(): {self.path / name}: {error}") from None
        except ILL_FORMED as error:
            raise RuntimeError(
                f"load(): {self.path / name}: it is corrupt ({type(error).__name__}: {error})"
            ) from error

    def _opened(self, name):
        if name not in self._files:
            stated = self.read_metadata().files.get(name)
            if stated is None or os.path.basename(name) != name:
                raise Corrupt(f"{METADATA} does not list it among the files")
            file = open(self.path / name, "rb")  # noqa: SIM115 -- until close()
            try:
                source = BlockSource(file, name, stated.size, stated.sums)
                self._files[name] = source, *container.read_header(source)
            except BaseException:
                file.close()
                raise
        return self._files[name]

    def elements(self, name, tensor, low, high):
        """Elements `low` to `high` of a flattened tensor, a NumPy vector of its dtype, put together from its chunks."""
        kind = dtypes.NAMES[tensor.dtype].numpy
        found, covered = np.empty(high - low, kind), low
        for chunk in sorted(tensor.chunks, key=lambda chunk: chunk.offset):
            first, last = max(low, chunk.offset), min(high, chunk.offset + chunk.length)
            if first > covered:
                break
            if first < last:
                part = self.read(chunk.file, lambda *file, at=(chunk, first, last): _part(*file, *at, kind))
                found[first - low : last - low] = part
                covered = max(covered, last)
        if covered < high:
            raise RuntimeError(f"load(): {self.path / METADATA}: elements {covered} to {high} of {name!r} are missing")
        return found

    def close(self):
        """Close the files."""
        for source, *_ in self._files.values():
            source.file.close()
        self._files.clear()


def _part(source, entries, texts, chunk, first, last, kind):
    entry = entries.get(chunk.name)
    if entry is None or entry.dtype != kind or entry.length != chunk.length * kind.itemsize:
        raise Corrupt(f"it does not have {chunk.length} elements of {chunk.name!r}, as the metadata say")
    start = entry.start + (first - chunk.offset) * kind.itemsize
    return source.vector(start, (last - first) * kind.itemsize).view(kind)
