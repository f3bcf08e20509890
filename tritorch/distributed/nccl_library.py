"""The NCCL library through nccl4py: found when first used; where it is not, what to install."""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np

from tritorch.distributed.reduce_op import ReduceOp


@cache
def bindings():
    """nccl4py's bindings, with the library loaded; a RuntimeError says what to install."""
    try:
        from nccl.bindings import nccl
    except ImportError as error:
        raise RuntimeError("backend 'nccl' needs the Python package nccl4py (pip install 'tritorch[nccl]')") from error
    try:
        nccl.get_version()
    except RuntimeError as error:
        raise RuntimeError(
            "backend 'nccl' needs the library libnccl.so.2, which was not found: pip install 'tritorch[nccl]' (or "
            "nvidia-nccl-cu12 for a driver of CUDA 12), or name the folder of the system's in LD_LIBRARY_PATH"
        ) from error
    return nccl


def is_nccl_available():
    """Whether nccl4py and the NCCL library are installed; a GPU need not be there."""
    try:
        bindings()
    except RuntimeError:
        return False
    return True


def version():
    """NCCL's version, such as (2, 29, 7)."""
    number = bindings().get_version()
    return number // 10000, number // 100 % 100, number % 100


# NCCL's numbers for what it reduces, by dtype; bool is reduced as uint8, and what is only moved is moved as bytes.
BYTE = 1
_DTYPES = {
    np.dtype(each): number
    for each, number in (
        (np.int8, 0), (np.uint8, BYTE), (np.int32, 2), (np.int64, 4), (np.float16, 6), (np.float32, 7), (np.float64, 8),
        (ml_dtypes.bfloat16, 9), (ml_dtypes.float8_e4m3fn, 10), (ml_dtypes.float8_e5m2, 11),
    )
}  # fmt: skip
_SUM, _PRODUCT, _MAX, _MIN, _AVERAGE = range(5)
_OPERATIONS = {
    ReduceOp.SUM: _SUM, ReduceOp.PRODUCT: _PRODUCT, ReduceOp.MAX: _MAX, ReduceOp.MIN: _MIN, ReduceOp.AVG: _AVERAGE,
}  # fmt: skip
_OF_BOOL = {ReduceOp.SUM: _MAX, ReduceOp.MAX: _MAX, ReduceOp.PRODUCT: _MIN, ReduceOp.MIN: _MIN}


def reduction_of(dtype, op):
    """NCCL's numbers of a dtype and of how to reduce it; a sum of bools is "any", their product "all"."""
    op = ReduceOp(op)
    if dtype == np.bool_:
        if op is ReduceOp.AVG:
            raise ValueError("Cannot use ReduceOp.AVG with Boolean inputs")
        dtype, operations = np.dtype(np.uint8), _OF_BOOL
    else:
        operations = _OPERATIONS
    if op not in operations:
        raise ValueError(f"Cannot use ReduceOp.{op.name} with NCCL")
    if dtype not in _DTYPES:
        raise TypeError(f"NCCL does not reduce tensors of dtype torch.{dtype.name}; reduce one of torch.int32")
    return _DTYPES[dtype], operations[op]
