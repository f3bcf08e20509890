"""What MPI does not know of our dtypes and reductions: which array goes over the wire, and how it comes back."""

from __future__ import annotations

import numpy as np

from tritorch.distributed.reduce_op import ReduceOp
from tritorch.runtime import dtypes

_BITWISE = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
_OF_BOOL = {  # as whole numbers 0 and 1
    ReduceOp.SUM: ReduceOp.MAX, ReduceOp.MAX: ReduceOp.MAX, ReduceOp.PRODUCT: ReduceOp.MIN, ReduceOp.MIN: ReduceOp.MIN,
    ReduceOp.BAND: ReduceOp.BAND, ReduceOp.BOR: ReduceOp.BOR, ReduceOp.BXOR: ReduceOp.BXOR,
}  # fmt: skip


def as_bytes(array):
    """A contiguous array's memory as a row of bytes: what moves without being computed with."""
    return array.reshape(-1).view(np.uint8)


def for_reduction(array, op):
    """The array that MPI reduces in place of a contiguous one, and the operation it does on it.

    Half types and float8 widen to float32, so that they are rounded once, at the end.
    """
    kind = dtypes.of(array.dtype)
    if op in _BITWISE and kind.is_floating_point:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with tensors of {kind!r}")
    if kind is dtypes.bool_:
        if op not in _OF_BOOL:
            raise RuntimeError(f"Cannot use ReduceOp.{op.name} with tensors of {kind!r}")
        return array.reshape(-1).view(np.uint8), _OF_BOOL[op]
    flat = array.reshape(-1)
    return flat if kind.compute == flat.dtype else flat.astype(kind.compute), op


def finish_reduction(array, reduced, op, size):
    """Write what MPI reduced to the array it is for; an average is divided here."""
    if op is ReduceOp.AVG:
        if reduced.dtype.kind == "f":
            reduced /= size
        else:
            np.copyto(reduced, np.trunc(reduced / size), casting="unsafe")
    flat = array.reshape(-1)
    if not np.may_share_memory(flat, reduced):
        flat[...] = reduced


def mpi_operations(MPI):
    """MPI's operation for each ReduceOp; a sum for the average."""
    return {
        ReduceOp.SUM: MPI.SUM, ReduceOp.AVG: MPI.SUM, ReduceOp.PRODUCT: MPI.PROD, ReduceOp.MIN: MPI.MIN,
        ReduceOp.MAX: MPI.MAX, ReduceOp.BAND: MPI.BAND, ReduceOp.BOR: MPI.BOR, ReduceOp.BXOR: MPI.BXOR,
    }  # fmt: skip
