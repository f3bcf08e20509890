"""The sum of a tensor and a product, scaled: `addmm`, `baddbmm` and their like, in the product's own launch."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import broadcast_whole
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.matmul import Matmul, product_for, product_shape
from tritorch.ops.matrix.products import product


class AddMatmul(Op):
    """beta * input + alpha * (first @ second), of floating-point numbers; `input` has the shape of the result.

    With a beta of zero it does not matter what `input` holds, not even a NaN.
    """

    batch = broadcast_whole
    saves = ("first", "second")
    widens = True

    @staticmethod
    def reference(input, first, second, beta, alpha):
        product_shape(first, second)
        found = alpha * np.matmul(first, second)
        return found + beta * input if beta else found

    @staticmethod
    def fast(input, first, second, beta, alpha):
        product_shape(first, second)
        out = product(first, second)
        if alpha != 1:
            out *= alpha
        if beta:
            out += input if beta == 1 else input * beta
        return out

    def forward(self, input, first, second, beta, alpha):
        """One product, the tensor added before the store."""
        shape = product_shape(first, second)
        return launch_matmul(first, second, shape, None, None, input if beta else None, alpha, beta)

    def backward(self, grad):
        """beta * grad; alpha * grad times the other operand, transposed."""
        _, first, second, beta, alpha = self.inputs
        of_input = of_first = of_second = None
        if self.edges[0] is not None:
            of_input = grad if beta == 1 else grad * beta
        scaled = grad if alpha == 1 else grad * alpha
        if self.edges[1] is not None:
            of_first = product_for(self, 1, scaled, second, False, True)
        if self.edges[2] is not None:
            of_second = product_for(self, 2, first, scaled, True, False)
        return of_input, of_first, of_second

    @staticmethod
    def multiplications(output, input, first, second, beta, alpha):
        return Matmul.multiplications(output, first, second, False, False)

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        """(M, N) plus (M, K) times (K, N)."""
        return draw(M, N), draw(M, K), draw(K, N), 1, 1

    @staticmethod
    def samples(draw):
        yield draw(5, 3), draw(5, 7), draw(7, 3), 1, 1
        yield draw(5, 3), draw(5, 7), draw(7, 3), 0.5, 2
        yield draw(5, 3), draw(5, 7), draw(7, 3), 0, 1
        yield draw(33, 17), draw(33, 65), draw(65, 17), 1, -1.5
        yield np.broadcast_to(draw(17), (33, 17)), draw(65, 33).T, draw(17, 65).T, 3, 1
        yield draw(2, 5, 3), draw(2, 5, 7), draw(2, 7, 3), 1, 1
        yield np.broadcast_to(draw(4, 1, 3), (4, 5, 3)), draw(4, 6, 5).swapaxes(1, 2), draw(4, 6, 3), 2, 0.5
        yield draw(2, 3), draw(2, 0), draw(0, 3), 2, 1
        yield draw(0, 3), draw(0, 2), draw(2, 3), 1, 1

    @staticmethod
    def errors(draw):
        text = "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
        yield (draw(2, 5), draw(2, 3), draw(4, 5), 1, 1), {}, RuntimeError, text
