"""Scans: one rule for their dimension and layout, and samples that straddle the kernel's blocks and parts."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import shifted


class Scan(Op, abstract=True):
    """An op that gives running results along one dimension; a tensor without dimensions is a row of one element."""

    batch = shifted("dim")

    @staticmethod
    def terms(input, dim, *settings):
        return input.shape[dim] if input.ndim else 1

    def scanned(self, input, dim, launch):
        """What `launch` gives for (array, dim), which has a dimension, under the shape of `input`."""
        rows = input if input.ndim else input.reshape(1)
        found = launch(rows, dim)
        return tuple(None if each is None else each.reshape(input.shape) for each in found)


def along(function, input, dim, reverse=False):
    """A NumPy scan along `dim`, from its end where `reverse`; of an array without dimensions too."""
    rows = input.reshape(input.shape or 1)
    rows = np.flip(rows, dim) if reverse else rows
    found = function(rows, dim)
    return (np.flip(found, dim) if reverse else found).reshape(input.shape)


def scan_samples(draw):
    """Inputs with the dimension that is scanned."""
    yield draw(), 0
    yield draw(1), 0
    yield draw(5, 7), 0
    yield draw(3, 4, 5), 1
    yield draw(6, 4).T, 1
    yield draw(9, 2)[::-2], 0
    yield np.broadcast_to(draw(3, 1), (3, 4)), 1
    yield draw(1025), 0
    yield draw(2, 130), 1
    yield draw(0, 3), 1
    yield draw(2, 0), 1
