"""Matrix products on the host: which NumPy call takes the fast way for which layout and dtype."""

from __future__ import annotations

import math

import numpy as np

USUAL = np.dtype(np.float32)  # what most tensors have, told by identity: a hash takes longer
FLOATS = frozenset(np.dtype(kind) for kind in (np.float32, np.float64))
_SMALL = 64 * 64  # below this, an integer product is done before a cast would be


def product(a, b):
    """a @ b for matrices, or stacks of matrices whose batch dimensions broadcast."""
    if a.dtype.kind in "iu":
        return _whole_product(a, b)
    if a.ndim == 2 == b.ndim:
        return a.dot(b)  # half the overhead of matmul, and awkward strides are copied instead of looped over
    if b.ndim > 2 and a.ndim >= b.ndim and b.size and not any(b.strides[:-2]) and a.shape[-b.ndim : -2] == b.shape[:-2]:
        b = b[(0,) * (b.ndim - 2)]  # one matrix, repeated
    if b.ndim == 2 and a.ndim > 2:
        return rows_of(a).dot(b).reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(_for_blas(a), _for_blas(b))


def rows_of(a):
    """An array or Tensor as a matrix: all dimensions but the last are its rows."""
    shape = a.shape
    return a if len(shape) == 2 else a.reshape(math.prod(shape[:-1]), shape[-1])


def turned(array):
    """The matrices of a stack transposed, without a copy."""
    order = list(range(array.ndim))
    order[-2:] = order[-1], order[-2]
    return array.transpose(*order)


def _whole_product(a, b):
    # BLAS knows no integers; in float64 a sum is exact while it stays below 2^53.
    if a.size > _SMALL and b.size > _SMALL and _largest(a) * _largest(b) * a.shape[-1] < 2**53:
        return product(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)
    return np.matmul(a, b)


def _largest(a):
    return max(abs(int(a.max())), abs(int(a.min())))


def _for_blas(a):
    """`a`, copied where neither of its last two strides is one element: NumPy would multiply those in a plain loop."""
    size, (rows, columns) = a.itemsize, a.strides[-2:]
    if (columns == size and rows >= a.shape[-1] * size) or (rows == size and columns >= a.shape[-2] * size):
        return a
    return np.ascontiguousarray(a)
