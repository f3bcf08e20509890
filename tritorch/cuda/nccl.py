"""NCCL by the names of `torch.cuda.nccl`: which version is there. Its collectives are those of tritorch.distributed."""

from __future__ import annotations

import warnings

from tritorch.distributed.nccl_library import is_nccl_available
from tritorch.distributed.nccl_library import version as version


def is_available(tensors):
    """Whether NCCL is there and could reduce these tensors: on GPUs, contiguous, each on a GPU of its own."""
    devices = set()
    for tensor in tensors:
        if not tensor.is_cuda or not tensor.is_contiguous() or tensor.device in devices:
            return False
        devices.add(tensor.device)
    if not is_nccl_available():
        warnings.warn("tritorch finds no NCCL (pip install 'tritorch[nccl]')", stacklevel=2)
        return False
    return True
