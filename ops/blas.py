"""Products of narrow matrices by BLAS on the thread that asks: a call for a stack of them, each too small for threads.

BLAS would start threads of its own for more, which wait for those that already work on other pieces.
"""

from __future__ import annotations

import numpy as np

_MOST = 1 << 18  # multiplications of a product, up to which BLAS (OpenBLAS) starts no threads


def height(*sizes):
    """How many rows of a matrix one product takes, where each is multiplied and added as often as `sizes` say."""
    work = 1
    for size in sizes:
        work *= max(size, 1)
    return max(1, _MOST // work)


def stacks(matrix, count):
    """A contiguous matrix as stacks of matrices with `count` rows, and what is left as one more; none without rows."""
    whole = len(matrix) // count * count
    found = matrix[:whole].reshape(-1, count, matrix.shape[1]), matrix[None, whole:]
    return [each for each in found if each.shape[0] * each.shape[1]]


def multiply(left, right, out):
    """left @ right to `out`, for a narrow `right` or a `left` of few columns, of two at least."""
    count = height(*right.shape)
    for own, result in zip(stacks(left, count), stacks(out, count), strict=True):
        np.matmul(own, right, result)


def weighed_sums(weights, rows):
    """For each column of `weights`, (rows, few), the sum of the rows times its numbers: (few, columns)."""
    found, count = np.zeros((weights.shape[1], rows.shape[1]), rows.dtype), height(weights.shape[1], rows.shape[1])
    for own, part in zip(stacks(weights, count), stacks(rows, count), strict=True):
        found += np.matmul(own.transpose(0, 2, 1), part).sum(0)
    return found
