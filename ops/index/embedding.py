"""Embedding: rows of a table by number."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE, Op, device_of
from tritorch.ops.creation import Full
from tritorch.ops.index.indexing import Pick, pick, places_of, read_picked
from tritorch.ops.index.segments import NARROW, accumulate, add_rows, summed_rows
from tritorch.ops.layout import as_contiguous, element_strides, empty_like
from tritorch.runtime import dtypes


class Embedding(Op):
    """weight[indices], row by row; row `padding_idx` gets no gradient.

    With `scale_grad_by_freq` the gradient of a row is divided by how often it is named. `sparse=True` is taken, so that
    scripts train that ask for it; the gradient is dense all the same.
    """

    saves = ("indices",)

    @staticmethod
    def reference(weight, indices, padding_idx, scale_grad_by_freq):
        return weight.take(indices, 0)

    @classmethod
    def call(cls, weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
        check_numbers("embedding", "indices", indices)
        if weight.array.ndim != 2:
            raise RuntimeError("'weight' must be 2-D")
        check_inside(indices.array, weight.array.shape[0])
        return cls.apply(weight, indices, padding_idx, bool(scale_grad_by_freq))

    def forward(self, weight, indices, padding_idx, scale_grad_by_freq):
        """One launch."""
        return read_picked(weight, pick(weight, (0,), (indices,))._replace(wraps=False))

    def backward(self, grad):
        """The gradient's rows added up by number."""
        _, indices, padding_idx, by_frequency = self.inputs
        count = self.edges[0][2][0]
        grad = by_frequency_of(grad, indices, count) if by_frequency else grad
        return (EmbeddingBackward.apply(grad, indices, count, padding_idx),)

    @classmethod
    def batch(cls, call):
        """Tables that differ between the examples are one table, whose rows for each start further on."""
        weight, indices, padding, by_frequency = call.args
        if not call.batched[0]:
            return cls.apply(weight, indices, padding, by_frequency)
        if by_frequency:
            return None
        count, width = call.shape(0)
        if padding >= 0:  # its row has no gradient
            is_padding = (_numbers(count, weight) == padding).unsqueeze(-1)
            weight = TABLE["where"].apply(is_padding, weight.detach(), weight)
        return cls.apply(weight.reshape((call.size * count, width)), offset_by_example(call, 1, count), -1, False)

    @staticmethod
    def samples(draw):
        yield draw(7, 3), draw.integers(0, 7, 4, 5), -1, False
        yield draw(7, 16), draw.integers(0, 7, 40), -1, False
        yield draw(7, 300), draw.integers(0, 7, 3, 5), -1, False
        yield draw(3, 7).T, draw.integers(0, 7, 1025, dtype=np.int32), -1, False
        yield draw(7, 3), draw.integers(0, 7), -1, False
        yield draw(7, 3), draw.integers(0, 7, 0), -1, False

    @staticmethod
    def sized(draw, V=50304, D=768, N=8192):
        return draw(V, D), draw.integers(0, V, N), -1, False


def check_numbers(op, name, indices):
    """Refuse numbers of rows that are not int64 or int32."""
    if indices.array.dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            f"Expected tensor for argument #1 '{name}' to have one of the following scalar types: Long, Int; but "
            f"got {indices.type()} instead (while checking arguments for {op})"
        )


def check_inside(array, count):
    """Refuse numbers of rows that do not exist; on a GPU they are left alone, as nobody waits for it to look."""
    if isinstance(array, np.ndarray) and array.size and (array.min() < 0 or array.max() >= count):
        raise IndexError("index out of range in self")


def by_frequency_of(rows, indices, count):
    """The rows, each divided by how often its number is among the indices."""
    ones = rows.detach().new_ones((*indices.shape, 1)).to(dtypes.of(dtypes.COMPUTE[rows.array.dtype]))
    often = EmbeddingBackward.apply(ones, indices, count, -1)
    return (rows / Embedding.apply(often, indices, -1, False)).to(rows.dtype)


def _numbers(count, like):
    return TABLE["arange"].apply(0, 1, count, np.dtype(np.int64), like.device)


def offset_by_example(call, at, count):
    """The numbers of rows at position `at`, those of each example `count` further on."""
    starts = _numbers(call.size, call.args[at]) * count
    return call.front(at) + starts.reshape((-1, *(1,) * call.rank(at)))


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
        keys, rows = indices.reshape(-1), grad.reshape(indices.size, grad.shape[-1])
        if keys.size and rows.shape[1] >= NARROW:
            keys, rows = summed_rows(keys, rows)
            result[keys] = rows
        else:
            add_rows(result, keys, rows)
        if padding_idx >= 0:
            result[padding_idx] = 0
        return result

    def forward(self, grad, indices, count, padding_idx):
        """The numbers sorted, and two launches that sum, or write zeros where nothing is added."""
        if not grad.size:
            return Full().forward((count, grad.shape[-1]), 0, grad.dtype, device_of(grad))
        out = empty_like(grad, (count, grad.shape[-1]))
        touched = Full().forward((count,), 0, np.dtype(np.uint8), device_of(grad))
        spread = [element_strides(indices)]
        found = Pick(indices.shape, (0,) * indices.ndim, (indices,), spread, (count,), (1,), wraps=False)
        keys, bound, _ = places_of(found, out, count, padding_idx, touched)
        accumulate(out, as_contiguous(grad), keys, bound, grad.shape[-1], touched=touched)
        return out

    def backward(self, grad):
        """The rows of the gradient, by number."""
        _, indices, _, padding_idx = self.inputs
        rows = Embedding.apply(grad, indices, padding_idx, False)
        if padding_idx >= 0:
            rows = rows * (indices != padding_idx).unsqueeze(-1).to(rows.dtype)
        return (rows,)

    @classmethod
    def batch(cls, call):
        """One table of rows for all examples."""
        _, _, count, padding = call.args
        rows = cls.apply(call.front(0), offset_by_example(call, 1, count), call.size * count, -1)
        rows = call.unfolded(rows, count)
        if padding >= 0:
            rows = TABLE["where"].apply((_numbers(count, rows) == padding).unsqueeze(-1), 0.0, rows)
        return rows

    @staticmethod
    def samples(draw):
        yield draw(4, 5, 3), draw.integers(0, 7, 4, 5), 7, -1
        yield draw(40, 16), draw.integers(0, 7, 40), 7, 2
        yield draw(3, 1025).T, draw.integers(0, 700, 1025, dtype=np.int32), 700, -1
        yield draw(0, 3), draw.integers(0, 7, 0), 7, -1

    @staticmethod
    def sized(draw, V=50304, D=768, N=8192):
        return draw(N, D), draw.integers(0, V, N), V, -1
