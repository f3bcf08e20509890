"""Where values belong in sorted sequences, found by bisection: searchsorted, bucketize."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, element_strides, empty_like, merge
from tritorch.ops.pointwise.family import block_space, offsets_of, pointwise_default, triton_dtype
from tritorch.runtime import dtypes, tl


@kernel(space=block_space(most=16), default=pointwise_default, key=("RIGHT", "RANK"))
def _search(
    out,  # how many elements of the value's row come before it: (count,)
    x,  # the values, of `shape` by their strides, each row's one after the other
    rows,  # sorted: (number of rows, size), contiguous; one for all, or one for each `width` values
    sorter,  # their order, int64, where they are not sorted themselves, likewise; or None
    count,
    width,
    size,
    shape,
    strides,
    RIGHT: tl.constexpr,  # equal elements come before
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    value = tl.load(x + offsets_of(index, shape, strides, 0, RANK), mask=inside, other=0).to(COMPUTE)
    base = (index // width) * size
    low = index * 0
    high = low + size
    left = size
    while left > 0:
        middle = (low + high) // 2
        searching = inside & (low < high)
        if sorter is None:
            other = tl.load(rows + base + middle, mask=searching, other=0).to(COMPUTE)
        else:
            at = tl.load(sorter + base + middle, mask=searching, other=0)
            known = (at >= 0) & (at < size)
            tl.device_assert(known, "index out of bounds", mask=searching)
            other = tl.load(rows + base + at, mask=searching & known, other=0).to(COMPUTE)
        # Not the reverse of the reverse: a NaN comes after everything.
        before = (other > value) == 0 if RIGHT else (other >= value) == 0
        low = tl.where(searching & before, middle + 1, low)
        high = tl.where(searching & (before == 0), middle, high)
        left = left // 2
    tl.store(out + index, low.to(out.dtype.element_ty), mask=inside)


class FindPlace(Op):
    """How many elements of a sorted sequence are below each value (or, `right`, at most it), as int64 or int32.

    The sequence is one for all values, or one for each of their rows along the last dimension; `sorter` is the order of
    a sequence that is not sorted itself.
    """

    widens = True

    @staticmethod
    def reference(sorted_sequence, input, right, kind, sorter=None):
        if sorter is not None:
            sorted_sequence = np.take_along_axis(sorted_sequence, sorter, -1)
        several, size = sorted_sequence.ndim > 1, sorted_sequence.shape[-1]
        low, high = np.zeros(input.shape, np.int64), np.full(input.shape, size)
        for _ in range(size.bit_length()):
            middle = np.minimum((low + high) // 2, size - 1)
            other = np.take_along_axis(sorted_sequence, middle, -1) if several else sorted_sequence[middle]
            before = (low < high) & ~(other > input if right else other >= input)
            low, high = np.where(before, middle + 1, low), np.where(before, high, np.minimum(middle, high))
        return low.astype(kind)

    @classmethod
    def fast(cls, sorted_sequence, input, right, kind, sorter=None):
        if sorted_sequence.ndim > 1 or sorter is not None or (sorted_sequence[-1:] != sorted_sequence[-1:]).any():
            return cls.reference(sorted_sequence, input, right, kind, sorter)
        return np.asarray(np.searchsorted(sorted_sequence, input, "right" if right else "left")).astype(kind)

    def forward(self, sorted_sequence, input, right, kind, sorter=None):
        """One launch."""
        out = empty_like(input, dtype=kind)
        if not out.size:
            return out
        size, several = sorted_sequence.shape[-1], sorted_sequence.ndim > 1
        shape, (strides,) = merge(input.shape, [element_strides(input)])
        rows, order = as_contiguous(sorted_sequence), None if sorter is None else as_contiguous(sorter)
        facts = {"RIGHT": right, "RANK": len(shape)}
        config = _search.config((out, input, rows, order), count=out.size, **facts)
        _search[(cdiv(out.size, config["BLOCK"]),)](
            out, input, rows, order, out.size, input.shape[-1] if several else out.size, size, shape, strides,
            COMPUTE=triton_dtype(dtypes.COMPUTE[input.dtype]), **facts, **config,
        )  # fmt: skip
        return out

    @classmethod
    def batch(cls, call):
        """One sequence for all values, or rows of them: a sequence for each example is a row of the batch."""
        sequence, input, right, kind, sorter = call.args
        if call.rank(0) > 1:
            return cls.apply(*call.in_front())
        if sorter is not None:
            return None
        if not call.batched[0]:
            return cls.apply(sequence, input, right, kind, None)
        rows = call.front(1).reshape((call.size, -1))
        return cls.apply(sequence, rows, right, kind, None).reshape((call.size, *call.shape(1)))

    @staticmethod
    def samples(draw):
        wide = np.dtype(np.int64)
        for right in (False, True):
            yield np.sort(draw(9)), draw(5, 7), right, wide, None
            yield np.sort(draw.integers(0, 20, 3, 40), 1), draw.integers(0, 20, 3, 7), right, wide, None
        yield np.sort(draw(6)), draw(6, 4).T, False, np.dtype(np.int32), None
        yield np.sort(draw(1)), draw(), False, wide, None
        yield np.sort(draw(1030)), draw(1025), False, wide, None
        yield np.array([1, 2, np.inf]).astype(draw.dtype), np.array([np.nan, 2]).astype(draw.dtype), True, wide, None
        mixed = draw(2, 9)
        yield mixed, draw(2, 3), False, wide, np.argsort(mixed, 1)
        yield np.array([1, np.nan]).astype(draw.dtype), np.array([np.nan, 2]).astype(draw.dtype), False, wide, None
        yield draw(0), draw(3), False, wide, None

    @staticmethod
    def sized(draw, M=4096, N=4096, S=65536):
        return np.sort(draw(S)), draw(M, N), False, np.dtype(np.int64), None
