"""Where a tensor is not zero: a result whose size depends on the data, so the host waits for a count."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op, device_of
from tritorch.ops.layout import element_strides, empty_like
from tritorch.ops.pointwise.family import block_space, offsets_of, pointwise_default
from tritorch.runtime import tl, transfer


@kernel(space=block_space(), default=pointwise_default, key=("RANK",))
def _count(
    counts,  # elements that are not zero in each block, int64: (blocks,)
    x,  # `shape` by its strides
    count,
    shape,
    strides,
    RANK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + offsets_of(index, shape, strides, 0, RANK), mask=index < count, other=0)
    tl.store(counts + tl.program_id(0), tl.sum((value != 0).to(tl.int64), 0))


@kernel
def _locate(
    out,  # the position of each element that is not zero, along each dimension, int64: (RANK, total)
    starts,  # how many are found before each block, int64: (blocks,)
    x,  # `shape` by its strides
    total,
    count,
    shape,
    strides,
    RANK: tl.constexpr,
    BLOCK: tl.constexpr,  # as in the count
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + offsets_of(index, shape, strides, 0, RANK), mask=index < count, other=0)
    found = (value != 0) & (index < count)
    place = tl.load(starts + tl.program_id(0)) + tl.cumsum(found.to(tl.int64), 0) - 1
    for k in tl.static_range(RANK):
        # A name for RANK - 1 - k would be a value at run time, which cannot index a tuple.
        tl.store(out + (RANK - 1 - k) * total + place, index % shape[RANK - 1 - k], mask=found)
        index = index // shape[RANK - 1 - k]


class Nonzero(Op):
    """The positions of the elements that are not zero, in order: one row for each dimension of the input."""

    @staticmethod
    def reference(input):
        if not input.ndim:
            return np.empty((0, int(input != 0)), np.int64)
        return np.array(np.nonzero(input))

    def forward(self, input):
        """One launch that counts by block, the host's sum of the counts, one launch that writes the positions."""
        if not input.ndim or not input.size:
            counted = int(transfer.to_host(input) != 0) if input.size else 0
            return empty_like(input, (input.ndim, counted), np.dtype(np.int64))
        config = _count.config((input,), count=input.size, RANK=input.ndim)
        blocks = cdiv(input.size, config["BLOCK"])
        layout = (input.shape, element_strides(input))
        counts = empty_like(input, (blocks,), np.dtype(np.int64))
        _count[blocks](counts, input, input.size, *layout, RANK=input.ndim, **config)
        counted = transfer.to_host(counts).tolist()
        starts, total = [], 0
        for each in counted:
            starts.append(total)
            total += each
        out = empty_like(input, (input.ndim, total), np.dtype(np.int64))
        before = transfer.from_host(np.array(starts, np.int64), device_of(input))
        _locate[blocks](out, before, input, total, input.size, *layout, RANK=input.ndim, **config)
        return out

    @classmethod
    def batch(cls, call):
        """None: the examples have results of different sizes."""
        raise RuntimeError(
            "vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over "
            "aten::nonzero. Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature."
        )

    @staticmethod
    def samples(draw):
        yield (draw.booleans(5, 7),)
        yield (draw.integers(0, 3, 1025),)
        yield (draw.booleans(4, 6, 3).transpose(2, 0, 1),)
        yield (draw.booleans(0, 3),)
        yield (np.asarray(True),)
        yield (np.zeros(9, np.float32),)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (draw.booleans(M, N),)
