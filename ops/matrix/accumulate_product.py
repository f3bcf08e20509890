"""Gradients of weights that are added to those which are there by the launch that computes them."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.products import product, turned
from tritorch.ops.pointwise.cast import copy_elements


class AccumulateProduct(Op):
    """total + first @ second of matrices, each transposed where it is said, written over `total`.

    `total` lies on memory of its own and may have another dtype: sums are added before they are rounded.
    """

    in_place = True

    @staticmethod
    def reference(total, first, second, transpose_first, transpose_second):
        a, b = _as_multiplied(first, second, transpose_first, transpose_second)
        return total + np.matmul(a, b).astype(total.dtype)

    @staticmethod
    def host(total, first, second, transpose_first, transpose_second):
        a, b = _as_multiplied(first, second, transpose_first, transpose_second)
        wide = np.promote_types(total.dtype, np.float32)
        total[...] = total.astype(wide) + product(a.astype(wide), b.astype(wide))
        return total

    def forward(self, total, first, second, transpose_first, transpose_second):
        """One launch, or two where the sums are split into parts."""
        a, b = _as_multiplied(first, second, transpose_first, transpose_second)
        out = as_contiguous(total)
        launch_matmul(a, b, tuple(total.shape), residual=out, out=out)
        if out is not total:
            copy_elements(out, total)
        return total

    @staticmethod
    def multiplications(output, total, first, second, transpose_first, transpose_second):
        return math.prod(output.shape) * first.shape[0 if transpose_first else 1]

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        """(M, N), to which a product of sums of length K is added."""
        return draw(M, N), draw(K, M), draw(K, N), True, False

    @staticmethod
    def samples(draw):
        yield draw(5, 3), draw(5, 7), draw(7, 3), False, False
        yield draw(33, 17), draw(65, 33), draw(65, 17), True, False
        yield draw(33, 17), draw(65, 33), draw(17, 65), True, True
        yield draw(17, 33).astype(np.promote_types(draw.dtype, np.float32)), draw(17, 5), draw(33, 5), False, True
        yield draw(2, 3), draw(2, 0), draw(0, 3), False, False
        yield draw(0, 3), draw(2, 0), draw(2, 3), True, False


def _as_multiplied(first, second, transpose_first, transpose_second):
    return turned(first) if transpose_first else first, turned(second) if transpose_second else second
