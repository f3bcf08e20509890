"""What functions of matrices ask of their arguments, in PyTorch's words, and the named tuples that they return."""

from __future__ import annotations

import numpy as np

from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


def wide(x):
    """Half types as float32: a composition would round, or overflow, at every step."""
    kind = dtypes.of(x.array.dtype)
    return x if kind.numpy == kind.compute else x.to(dtypes.of(kind.compute))


def kind_of(x):
    """What PyTorch's errors call a tensor's dtype."""
    return KIND_NAMES[dtypes.of(x.array.dtype).name]


def epsilon(x):
    """The distance from 1 to the next number of a tensor's dtype."""
    return float(np.finfo(x.array.dtype).eps)


def check_matrices(op, A, name="A"):
    """Refuse what is no tensor of at least two dimensions."""
    need_tensors(op.replace(".", "_"), **{name: A})
    if A.array.ndim < 2:
        raise RuntimeError(f"{op}: The input tensor {name} must have at least 2 dimensions.")


def check_square(op, A, name="A"):
    """Refuse what is no stack of square matrices."""
    check_matrices(op, A, name)
    rows, columns = A.array.shape[-2:]
    if rows != columns:
        raise RuntimeError(
            f"{op}: {name} must be batches of square matrices, but they are {rows} by {columns} matrices"
        )


def check_floating(op, A):
    """Refuse integers and bools."""
    if A.array.dtype.kind not in "fV":
        raise RuntimeError(f"{op}: Expected a floating point or complex tensor as input. Got {kind_of(A)}")


def no_half(op, A):
    """Refuse what LAPACK has no routines for."""
    check_floating(op, A)
    if A.array.dtype.itemsize < 4:
        raise RuntimeError(f"{op}: Low precision dtypes not supported. Got {kind_of(A)}")


def lapack_only(routine, A):
    """Refuse other dtypes as PyTorch does where it finds out late: by the name of its routine."""
    if A.array.dtype.name not in ("float32", "float64"):
        raise NotImplementedError(f"\"{routine}\" not implemented for '{kind_of(A)}'")


def check_systems(op, A, B, left=True):
    """Refuse matrices and right-hand sides that make no systems of equations A X = B, or X A = B."""
    if A.array.dtype != B.array.dtype:
        raise RuntimeError(
            f"{op}: Expected A and B to have the same dtype, but found A of type {kind_of(A)} and B of type "
            f"{kind_of(B)} instead"
        )
    side = -2 if left else -1
    if A.array.shape[-2] != B.array.shape[side]:
        sizes = [f"{each.array.shape[-2]}x{each.array.shape[-1]}" for each in (A, B)]
        raise RuntimeError(
            f"{op}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({sizes[0]} and {sizes[1]})"
        )
