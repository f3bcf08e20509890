"""Elements picked along one dimension, each at its own place in the others: gather, and its gradient, scatter."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import TABLE, Op
from tritorch.ops.batching import shifted
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.index.indexing import as_rows, pick_along, places_of, read_picked, write_picked
from tritorch.ops.index.segments import accumulate
from tritorch.ops.layout import empty_like
from tritorch.ops.outputs import takes_out
from tritorch.ops.pointwise.cast import copy_elements


def key_along(shape, dim, index):
    """The key that says to NumPy what `index` says along `dim`."""
    check_range(shape, dim, index)
    ndim = index.ndim
    return tuple(
        [
            index if at == dim else np.arange(size).reshape((1,) * at + (size,) + (1,) * (ndim - 1 - at))
            for at, size in enumerate(index.shape)
        ]
    )


def places_along(shape, dim, index):
    """The same as positions in the flattened tensor: NumPy's `ufunc.at` is quicker with those."""
    check_range(shape, dim, index)
    places, step = np.zeros(index.shape, np.int64), 1
    for at in reversed(range(index.ndim)):
        own = index if at == dim else np.arange(index.shape[at]).reshape((-1,) + (1,) * (index.ndim - 1 - at))
        places += np.multiply(own, step, dtype=np.int64)
        step *= shape[at]
    return places.reshape(-1)


def check_range(shape, dim, index):
    """Refuse positions outside of dimension `dim`; an index on a GPU is not waited for."""
    if isinstance(index, np.ndarray) and index.size and not 0 <= index.min() <= index.max() < shape[dim]:
        wrong = index[(index < 0) | (index >= shape[dim])][0]
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {shape[dim]}")


def check_index(op, dim, index, **tensors):
    """Refuse an index of another dtype or rank than gather and scatter take, or larger than the tensors."""
    if index.array.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{op}(): Expected dtype int32/int64 for index")
    for name, (shape, checks_dim) in tensors.items():
        if len(shape) != index.array.ndim:
            raise RuntimeError(f"Index tensor must have the same number of dimensions as {name} tensor")
        for at, (size, wanted) in enumerate(zip(shape, index.array.shape, strict=True)):
            if wanted > size and (at != dim or checks_dim) and index.array.size:
                apart = "" if checks_dim else f" apart from dimension {dim}"
                raise RuntimeError(
                    f"Size does not match at dimension {at} expected index {list(index.array.shape)} to be no larger "
                    f"than {'self' if name == 'input' else name} {list(shape)}{apart}"
                )


def at_least_one(tensor):
    """A tensor without dimensions as one of one element."""
    return tensor if tensor.array.ndim else tensor.reshape(1)


def part_of(src, index):
    """The elements of `src` that an index as large or smaller takes; all of one without dimensions."""
    return src[tuple([slice(size) for size in index.shape])] if src.ndim else src


def whole_of(part, shape):
    """The gradient of a part, zero in the rest of `shape`; of an element taken everywhere, by the engine's sum."""
    if not shape or part.array.shape == shape:
        return part
    whole = part.new_zeros(shape)
    whole[tuple([slice(size) for size in part.array.shape])] = part
    return whole


class Gather(Op):
    """out[i][j] = input[index[i][j]][j] for dim 0, and alike for others."""

    batch = shifted("dim")
    exports = ("gather", "Tensor.gather")
    saves = ("index",)

    @staticmethod
    def reference(input, dim, index):
        return input[key_along(input.shape, dim, index)]

    @classmethod
    def function(cls):
        """With `out=`."""
        return takes_out(super().function())

    @classmethod
    def call(cls, input, dim, index, *, sparse_grad=False):
        dim = wrap_dim(dim, input.array.ndim)
        if not index.array.size:  # of any dtype and rank
            return input.reshape(-1)[:0].reshape(index.array.shape)
        if not index.array.ndim or not input.array.ndim:
            check_index("gather", dim, index)
            return cls.apply(at_least_one(input), dim, at_least_one(index)).reshape(index.array.shape)
        check_index("gather", dim, index, input=(input.array.shape, False))
        return cls.apply(input, dim, index)

    def forward(self, input, dim, index):
        """One launch."""
        check_range(input.shape, dim, index)
        return read_picked(input, pick_along(input, dim, index))

    def backward(self, grad):
        """The gradient added up where it was picked."""
        dim, index = self.inputs[1:]
        if grad.level is None:
            return (TABLE["collect"].apply(grad, self.edges[0][2], dim, index),)
        return (Scatter.apply(grad.new_zeros(self.edges[0][2]), dim, True, index, grad),)

    @staticmethod
    def samples(draw):
        yield draw(5, 3), 0, draw.integers(0, 5, 7, 3)
        yield draw(5, 3), 1, draw.integers(0, 3, 4, 2)
        yield draw(6, 5, 3).transpose(2, 0, 1), 2, draw.integers(0, 5, 2, 6, 1)
        yield draw(4), 0, draw.integers(0, 4, 1025, dtype=np.int32)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, draw.integers(0, N, M, N)

    @staticmethod
    def errors(draw):
        yield (draw(2, 3), 0, draw(2, 3)), {}, RuntimeError, "gather(): Expected dtype int32/int64 for index"
        message = "Index tensor must have the same number of dimensions as input tensor"
        yield (draw(2, 3), 0, draw.integers(0, 2, 3)), {}, RuntimeError, message


class Scatter(Op):
    """input with `src` written or (accumulate) added at `index` along `dim`: the reverse of gather."""

    saves = ("index",)
    widens = True

    @staticmethod
    def reference(input, dim, accumulate, index, src):
        result, key = input.copy(), key_along(input.shape, dim, index)
        if accumulate:
            np.add.at(result, key, part_of(src, index))
        else:
            result[key] = part_of(src, index)
        return result

    @classmethod
    def fast(cls, input, dim, accumulate, index, src):
        """Sums by flat positions."""
        if not accumulate:
            return cls.reference(input, dim, accumulate, index, src)
        result = input.copy()
        part = np.broadcast_to(part_of(src, index), index.shape).astype(result.dtype, copy=False)
        np.add.at(result.reshape(-1), places_along(input.shape, dim, index), part.reshape(-1))
        return result

    def forward(self, input, dim, accumulates, index, src):
        """A copy, and one launch that writes; or the sorted sums."""
        check_range(input.shape, dim, index)
        result = empty_like(input)
        copy_elements(input, result)
        part, found = part_of(src, index), pick_along(result, dim, index)
        if accumulates:
            rows = as_rows(part, tuple(index.shape), tuple(range(index.ndim)), result)
            accumulate(result, rows, *places_of(found, result, result.size))
        else:
            write_picked(result, part, found)
        return result

    def backward(self, grad):
        """For the input what was not overwritten, for the source what is at the index."""
        dim, accumulates, index = self.inputs[1:4]
        kept = source = None
        if self.edges[0] is not None:
            kept = grad if accumulates else Scatter.apply(grad, dim, False, index, grad.new_zeros(()))
        if self.edges[4] is not None:
            source = whole_of(Gather.apply(grad, dim, index), self.edges[4][2])
        return kept, None, None, None, source

    @classmethod
    def batch(cls, call):
        """One dimension further on; a number for all places is one for each."""
        if not call.rank(0):
            return None
        input, dim, accumulate, index, src = call.in_front()
        if not call.rank(4):
            src = src.reshape((-1, *(1,) * call.rank(3))).expand(*index.array.shape)
        return cls.apply(input, dim + 1, accumulate, index, src)

    @staticmethod
    def samples(draw):
        yield draw(5, 3), 0, True, draw.integers(0, 5, 7, 3), draw(7, 3)
        yield draw(5, 3), 1, True, draw.integers(0, 3, 4, 2), draw(4, 3)
        yield draw(6, 5, 3).transpose(2, 0, 1), 2, True, draw.integers(0, 5, 2, 6, 4), draw(2, 6, 4)
        yield draw(5, 3), 1, False, np.array([[2, 0], [1, 2]]), draw(4, 3)
        yield draw(5), 0, False, np.array([4, 1]), draw()

    @staticmethod
    def sized(draw, M=1024, N=4096):
        return draw(M, N), 1, True, draw.integers(0, N, M, N), draw(M, N)
