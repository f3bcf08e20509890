"""save and load: tensors in the safetensors format, the structure around them as JSON in its metadata, no pickle.

A state dict is a plain safetensors file that other programs can read; files that others wrote load as a dict of
tensors, and PyTorch's own checkpoints load through a machine that makes only what a table allows. Tensors that share
memory share it again when loaded. Loading runs nothing that the file says.
"""

from __future__ import annotations

from tritorch.serialization.listing import get_unsafe_globals_in_checkpoint as get_unsafe_globals_in_checkpoint
from tritorch.serialization.reading import load as load
from tritorch.serialization.safe import add_safe_globals as add_safe_globals
from tritorch.serialization.safe import clear_safe_globals as clear_safe_globals
from tritorch.serialization.safe import get_safe_globals as get_safe_globals
from tritorch.serialization.safe import safe_globals as safe_globals
from tritorch.serialization.torch_writing import save_torch as save_torch
from tritorch.serialization.writing import save as save
