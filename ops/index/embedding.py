"""Embedding: rows of a table by number."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op, device_of
from tritorch.ops.creation import Full
from tritorch.ops.index.indexing import pick, places_of, read_picked
from tritorch.ops.index.segments import accumulate, add_rows
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.cast import copy_elements


class Embedding(Op):
    """weight[indices], row by row; row `padding_idx` gets no gradient."""

    saves = ("indices",)

    @staticmethod
    def reference(weight, indices, padding_idx):
        return weight.take(indices, 0)

    @classmethod
    def call(cls, weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
        for option, chosen in (("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
            if chosen:
                raise NotImplementedError(f"embedding(): {option}={chosen} is not supported; it takes False")
        if indices.array.dtype.name not in ("int64", "int32"):
            raise RuntimeError(
                "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but "
                f"got {indices.type()} instead (while checking arguments for embedding)"
            )
        if weight.array.ndim != 2:
            raise RuntimeError("'weight' must be 2-D")
        array = indices.array
        if isinstance(array, np.ndarray) and array.size and (array.min() < 0 or array.max() >= weight.array.shape[0]):
            raise IndexError("index out of range in self")
        return cls.apply(weight, indices, padding_idx)

    def forward(self, weight, indices, padding_idx):
        """One launch."""
        return read_picked(weight, pick(weight, (0,), (indices,)))

    def backward(self, grad):
        """The gradient's rows added up by number."""
        _, indices, padding_idx = self.inputs
        return (EmbeddingBackward.apply(grad, indices, self.edges[0][2][0], padding_idx),)

    @staticmethod
    def samples(draw):
        yield draw(7, 3), draw.integers(0, 7, 4, 5), -1
        yield draw(7, 16), draw.integers(0, 7, 40), -1
        yield draw(3, 7).T, draw.integers(0, 7, 1025, dtype=np.int32), -1
        yield draw(7, 3), draw.integers(0, 7), -1
        yield draw(7, 3), draw.integers(0, 7, 0), -1


class EmbeddingBackward(Op):
    """The sum of the rows of `grad` for each of `count` numbers, in a fixed order; zero for `padding_idx`."""

    saves = ("indices",)
    widens = True

    @staticmethod
    def reference(grad, indices, count, padding_idx):
        result = np.zeros((count, grad.shape[-1]), grad.dtype)
        np.add.at(result, indices, grad)
        if padding_idx >= 0:
            result[padding_idx] = 0
        return result

    @staticmethod
    def fast(grad, indices, count, padding_idx):
        """Rows of one number summed in pairs."""
        result = np.zeros((count, grad.shape[-1]), grad.dtype)
        add_rows(result, indices.reshape(-1), grad.reshape(-1, grad.shape[-1]))
        if padding_idx >= 0:
            result[padding_idx] = 0
        return result

    def forward(self, grad, indices, count, padding_idx):
        """The numbers sorted, and one launch that sums."""
        result = Full().forward((count, grad.shape[-1]), 0, grad.dtype, device_of(grad))
        if not grad.size:
            return result
        rows = empty_like(grad)
        copy_elements(grad, rows)
        accumulate(result, rows, places_of(pick(result[:, 0], (0,), (indices,)), result))
        if padding_idx >= 0:
            copy_elements(Full().forward((), 0, grad.dtype, device_of(grad)), result[padding_idx])
        return result

    def backward(self, grad):
        """The rows of the gradient, by number."""
        _, indices, _, padding_idx = self.inputs
        rows = Embedding.apply(grad, indices, padding_idx)
        if padding_idx >= 0:
            rows = rows * (indices != padding_idx).unsqueeze(-1).to(rows.dtype)
        return (rows,)

    @staticmethod
    def samples(draw):
        yield draw(4, 5, 3), draw.integers(0, 7, 4, 5), 7, -1
        yield draw(40, 16), draw.integers(0, 7, 40), 7, 2
        yield draw(3, 1025).T, draw.integers(0, 700, 1025, dtype=np.int32), 700, -1
        yield draw(0, 3), draw.integers(0, 7, 0), 7, -1
