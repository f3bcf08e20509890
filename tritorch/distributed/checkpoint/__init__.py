"""Checkpoints that all ranks write together, each its part, and that any number of ranks can load.

A checkpoint is a folder: a safetensors file for each rank, and metadata.json, which is written last and says where the
elements of each tensor are, with a checksum of each block of each file. A reader reads the blocks that it needs.
"""

from __future__ import annotations

from tritorch.distributed.checkpoint.filesystem import FileSystemReader as FileSystemReader
from tritorch.distributed.checkpoint.filesystem import FileSystemWriter as FileSystemWriter
from tritorch.distributed.checkpoint.metadata import BytesStorageMetadata as BytesStorageMetadata
from tritorch.distributed.checkpoint.metadata import CheckpointException as CheckpointException
from tritorch.distributed.checkpoint.metadata import ChunkStorageMetadata as ChunkStorageMetadata
from tritorch.distributed.checkpoint.metadata import Metadata as Metadata
from tritorch.distributed.checkpoint.metadata import TensorStorageMetadata as TensorStorageMetadata
from tritorch.distributed.checkpoint.state_dict_loader import load as load
from tritorch.distributed.checkpoint.state_dict_saver import async_save as async_save
from tritorch.distributed.checkpoint.state_dict_saver import save as save
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
