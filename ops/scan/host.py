"""Running sums in NumPy by BLAS: blocks of a row times a triangle of ones, then what came before each block added.

NumPy's own accumulation waits for each sum before it adds the next element, which takes several times as long.
"""

from __future__ import annotations

import functools

import numpy as np

from tritorch.ops import blas
from tritorch.ops.parallel import for_each, pieces_of, scratch

BLOCK = 16  # elements that one product sums: more are more work, fewer are more blocks
_STACK = 512  # blocks of one product, up to which BLAS starts no threads of its own, also for their squares


@functools.lru_cache(maxsize=8)
def _triangle(dtype, reverse):
    """What a block is multiplied by: for each place ones at the elements that are summed there."""
    ones = np.ones((BLOCK, BLOCK), dtype)
    return np.tril(ones) if reverse else np.triu(ones)


@functools.lru_cache(maxsize=8)
def _first_of_two(dtype):
    """What (a, 0) is multiplied by for a block of a: NumPy does not leave products of one term to BLAS."""
    found = np.zeros((2, BLOCK), dtype)
    found[0] = 1
    return found


def _within(blocks, out, reverse):
    """The running sums within each block, to `out`; whether BLAS could tell them apart.

    It multiplies by zero what is not summed, which must be finite. Where squares are, sums of a block are too.
    """
    fit = True
    for stack, sums in zip(blas.stacks(blocks, _STACK), blas.stacks(out, _STACK), strict=True):
        np.matmul(stack, _triangle(out.dtype, reverse), sums)
        flat = stack.reshape(len(stack), -1)
        fit &= bool(np.isfinite(np.vecdot(flat, flat)).all())
    return fit


def _before(sums, reverse):
    """What comes before each block of rows of them, (rows, blocks, elements), summed in float64: pairs of it and 0."""
    found = np.zeros((*sums.shape[:2], 2), sums.dtype)
    if reverse:
        found[:, -2::-1, 0] = np.cumsum(sums[:, :0:-1, 0], 1, np.float64)
    else:
        found[:, 1:, 0] = np.cumsum(sums[:, :-1, -1], 1, np.float64)
    return found.reshape(-1, 2)


def _raise(sums, before):
    """What comes before each block added to its sums."""
    more = scratch(sums)
    blas.multiply(before, _first_of_two(sums.dtype), more)
    sums += more


def _scan(rows, sums, reverse):
    """The running sums of some rows of blocks, to `sums`; whether they are right."""
    flat = sums.reshape(-1, BLOCK)
    fit = _within(rows.reshape(-1, BLOCK), flat, reverse)
    if fit:
        _raise(flat, _before(sums, reverse))
    return fit


def _scan_long(row, sums, reverse):
    """The same of one long row, (blocks, elements), in pieces."""
    pieces, fit = pieces_of(len(row), BLOCK), []
    for_each(lambda piece: fit.append(_within(row[piece], sums[piece], reverse)), pieces)
    if all(fit):
        before = _before(sums[None], reverse)
        for_each(lambda piece: _raise(sums[piece], before[piece]), pieces)
    return all(fit)


def running_sums(x, reverse):
    """The running sums of contiguous rows of whole blocks; None where an element is not finite, or very large."""
    result = np.empty_like(x)
    rows, sums = (each.reshape(len(x), -1, BLOCK) for each in (x, result))
    pieces = pieces_of(*x.shape)
    if len(pieces) == len(x):
        fit = [_scan_long(row, own, reverse) for row, own in zip(rows, sums, strict=True)]
    else:
        fit = []
        for_each(lambda piece: fit.append(_scan(rows[piece], sums[piece], reverse)), pieces)
    return result if all(fit) else None
