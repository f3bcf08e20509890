"""A linear map that is added to something, as in the blocks of a transformer, in the product's own launch."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import Examples
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.matmul import Linear, linear_shape
from tritorch.ops.matrix.products import turned


class LinearAdd(Op):
    """residual + input @ weight^T + bias, of one dtype; `residual` has the shape of the result."""

    saves = ("input", "weight")
    widens = True
    multiplications = Linear.multiplications

    @classmethod
    def batch(cls, call):
        """Linear's, and a sum."""
        return Linear.batch(Examples(call.size, call.args[:3], call.batched[:3])) + call.args[3]

    @staticmethod
    def reference(input, weight, bias, residual):
        return Linear.reference(input, weight, bias) + residual

    @staticmethod
    def fast(input, weight, bias, residual):
        out = Linear.fast(input, weight, bias)
        return np.add(out, residual, out=out)

    def forward(self, input, weight, bias, residual):
        """One launch, or two where the sums are split into parts."""
        shape = linear_shape(input, weight, bias)
        a, rows = (input, shape) if input.ndim > 1 else (input[None], (1, *shape))
        return launch_matmul(a, turned(weight), rows, bias, residual=residual).reshape(shape)

    def backward(self, grad):
        """Linear's, and the gradient itself."""
        return *Linear.backward(self, grad), grad

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        return *Linear.sized(draw, M, N, K), draw(M, N)

    @staticmethod
    def samples(draw):
        for input, weight, bias in Linear.samples(draw):
            yield input, weight, bias, draw(*input.shape[:-1], weight.shape[0])
        yield draw(6, 7), draw(4, 7), None, draw(4, 6).T
