"""Elements put at an index along one dimension: the gradient of choosing one of them."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.layout import broadcast_strides, element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise.family import block_space, offsets_of, pointwise_default
from tritorch.runtime import tl


@kernel(space=block_space(), default=pointwise_default, key=("RANK", "WIDE"))
def _put_along(
    out,  # contiguous: (outer, SIZE, inner)
    x,  # what is put: `shape`, one along the middle, by the first RANK strides
    index,  # where along the middle: `shape` by the last RANK strides
    count,
    size,
    inner,
    shape,
    strides,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < count
    source = (number // (size * inner)) * inner + number % inner
    place = tl.load(index + offsets_of(source, shape, strides, RANK, RANK), mask=inside, other=0)
    tl.device_assert((place >= 0) & (place < size), "index out of bounds", mask=inside)
    value = tl.load(x + offsets_of(source, shape, strides, 0, RANK), mask=inside, other=0)
    here = place == (number // inner) % size
    tl.store(out + number, tl.where(here, value, 0).to(out.dtype.element_ty), mask=inside)


class PutAlong(Op):
    """Zeros of `size` along `dim`, but `input` at `index`: the gradient of choosing one element."""

    batch = shifted("dim")
    saves = ("index",)

    @staticmethod
    def reference(input, index, dim, size):
        shape = list(input.shape)
        shape[dim] = size
        out = np.zeros(shape, input.dtype)
        np.put_along_axis(out, index, input, dim)
        return out

    def forward(self, input, index, dim, size):
        """One launch that writes every element."""
        out = empty_like(input, (*input.shape[:dim], size, *input.shape[dim + 1 :]))
        if out.size:
            shape, strides = merge(input.shape, [element_strides(input), broadcast_strides(index, input.shape)])
            wide = out.size >= 2**31 or needs_64_bits(shape, strides)
            config = _put_along.config((out, input, index), count=out.size, RANK=len(shape), WIDE=wide)
            _put_along[(cdiv(out.size, config["BLOCK"]),)](
                out, input, index, out.size, size, math.prod(input.shape[dim + 1 :]), shape, (*strides[0], *strides[1]),
                RANK=len(shape), WIDE=wide, **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """The gradient at the index."""
        return grad.gather(self.inputs[2], self.inputs[1]), None

    @staticmethod
    def samples(draw):
        yield draw(3, 1, 5), draw.integers(0, 4, 3, 1, 5), 1, 4
        yield draw(1, 7), draw.integers(0, 9, 1, 7), 0, 9
        yield draw(7, 1), draw.integers(0, 1025, 7, 1), 1, 1025

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, 1), draw.integers(0, N, M, 1), 1, N
