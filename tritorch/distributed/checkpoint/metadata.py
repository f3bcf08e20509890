"""What a checkpoint holds, and in which files: the one JSON file that is written last."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field

from tritorch.runtime import dtypes
from tritorch.serialization.errors import Corrupt

FORMAT, VERSION = "tritorch.distributed.checkpoint", 1


class CheckpointException(RuntimeError):
    """Some ranks could not save or load; `failures` has what each of them said, by rank."""

    def __init__(self, msg, failures):
        super().__init__(msg + "".join(f"\nrank {rank}: {text}" for rank, text in sorted(failures.items())))
        self.failures = failures


@dataclass
class ChunkStorageMetadata:
    """A run of elements of a flattened tensor: the first, how many, and the file and name under which they stand."""

    offset: int
    length: int
    file: str
    name: str


@dataclass
class TensorStorageMetadata:
    """A tensor: the name of its dtype, its whole shape, and its chunks."""

    dtype: str
    size: tuple[int, ...]
    chunks: list[ChunkStorageMetadata]
    path: list  # the keys that lead to it


@dataclass
class BytesStorageMetadata:
    """What is no tensor: the file in whose header it stands."""

    file: str
    path: list


@dataclass
class FileMetadata:
    """A file: how many bytes it has, and their checksums, block by block."""

    size: int
    sums: list[int]


@dataclass
class Metadata:
    """All of a checkpoint: `state_dict_metadata` by names, keys of nested dicts joined by dots, and the files."""

    state_dict_metadata: dict = field(default_factory=dict)
    files: dict[str, FileMetadata] = field(default_factory=dict)

    def to_json(self):
        """The text of the file, with a checksum of what it says."""
        said = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return _text({**said, "crc32": zlib.crc32(_text(said).encode())})

    @classmethod
    def from_json(cls, text):
        """The inverse of `to_json`; refuses anything else."""
        try:
            found = json.loads(text)
            expected = found.pop("crc32")
            if found["format"] != FORMAT or found["version"] != VERSION:
                raise Corrupt(f"it is of format {found['format']!r}, version {found['version']!r}, not {FORMAT!r} 1")
            if zlib.crc32(_text(found).encode()) != expected:
                raise Corrupt("it is damaged: its checksum is another; use another checkpoint")
            entries = {name: _entry(each) for name, each in found["state_dict_metadata"].items()}
            return cls(entries, {name: FileMetadata(**each) for name, each in found["files"].items()})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise Corrupt(f"not the metadata of a checkpoint, or damaged ({type(error).__name__}: {error})") from None


def _text(value):
    return json.dumps(value, separators=(",", ":"))


def _entry(found):
    if "chunks" not in found:
        return BytesStorageMetadata(**found)
    if found["dtype"] not in dtypes.NAMES:
        raise ValueError(f"dtype {found['dtype']!r}")
    chunks = [ChunkStorageMetadata(**each) for each in found["chunks"]]
    return TensorStorageMetadata(found["dtype"], tuple(found["size"]), chunks, found["path"])
