"""Parts of matrices: of tensors, as gradients and compositions of stacks of matrices need them."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE

_INT64 = np.dtype(np.int64)


def adjoint(x):
    """The matrices transposed."""
    return x.transpose(-2, -1)


def diagonal(x):
    """The diagonals of the matrices."""
    return x.diagonal(0, -2, -1)


def off_diagonal(x, value=0.0):
    """Square matrices with `value` on their diagonals."""
    place = TABLE["arange"].apply(0, 1, x.shape[-1], _INT64, x.device)
    return TABLE["where"].apply(place.unsqueeze(1) == place, value, x)


def identity(x, rows=None):
    """A `rows` by columns matrix with ones on its diagonal, of the dtype and device of `x` and as wide."""
    columns = x.shape[-1]
    result = x.new_zeros((columns if rows is None else rows, columns))
    if result.numel():
        result.diagonal().fill_(1)
    return result
