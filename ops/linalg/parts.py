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


def lower(x, offset=0):
    """The elements on and below the diagonal that lies `offset` to the right of the main one; zeros elsewhere."""
    row, column = _places(x)
    return TABLE["where"].apply(column - row <= offset, x, 0.0)


def upper(x, offset=0):
    """The elements on and above the diagonal that lies `offset` to the right of the main one; zeros elsewhere."""
    row, column = _places(x)
    return TABLE["where"].apply(column - row >= offset, x, 0.0)


def on_diagonal(x):
    """Matrices with the vectors `x` on their diagonals and zeros elsewhere."""
    row, column = _places(x, x.shape[-1])
    return TABLE["where"].apply(row == column, x.unsqueeze(-1), 0.0)


def off_diagonal(x, value=0.0):
    """Square matrices with `value` on their diagonals."""
    row, column = _places(x)
    return TABLE["where"].apply(row == column, value, x)


def identity(x, rows=None):
    """A `rows` by columns matrix with ones on its diagonal, of the dtype and device of `x` and as wide."""
    columns = x.shape[-1]
    result = x.new_zeros((columns if rows is None else rows, columns))
    if result.numel():
        result.diagonal().fill_(1)
    return result


def _places(x, rows=None):
    """The row numbers, as a column, and the column numbers of a matrix."""
    rows = x.shape[-2] if rows is None else rows
    return (numbers(rows, x.device).unsqueeze(1), numbers(x.shape[-1], x.device))


def numbers(count, device):
    """0, 1, ... as int64."""
    return TABLE["arange"].apply(0, 1, count, _INT64, device)
