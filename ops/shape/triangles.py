"""The lower and the upper triangle of matrices."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import leading
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.outputs import takes_out
from tritorch.ops.pointwise.family import block_space, offsets_of, pointwise_default
from tritorch.runtime import tl


@kernel(space=block_space(), default=pointwise_default, key=("UPPER", "RANK", "WIDE"))
def _triangle(
    out,  # contiguous: (..., rows, columns)
    x,  # `shape` by its strides
    count,
    rows,
    columns,
    diagonal,  # which diagonal bounds the triangle
    shape,
    strides,
    UPPER: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    right = index % columns - (index // columns) % rows
    keep = right >= diagonal if UPPER else right <= diagonal
    value = tl.load(x + offsets_of(index, shape, strides, 0, RANK), mask=inside & keep, other=0)
    tl.store(out + index, value, mask=inside)


class Triangle(Op, abstract=True):
    """The elements of matrices on one side of a diagonal, that included, and zero elsewhere."""

    batch = leading
    upper = False

    @classmethod
    def function(cls):
        """With `out=`."""
        return takes_out(super().function())

    @classmethod
    def call(cls, input, diagonal=0):
        if input.array.ndim < 2:
            raise RuntimeError(f"{cls.op_name}: input tensor must have at least 2 dimensions")
        return cls.apply(input, diagonal)

    def forward(self, input, diagonal):
        """One launch, which reads only what stays."""
        out = empty_like(input)
        if out.size:
            shape, strides = merge(input.shape, [element_strides(input)])
            facts = {"UPPER": self.upper, "RANK": len(shape), "WIDE": needs_64_bits(shape, strides)}
            config = _triangle.config((out, input), count=out.size, **facts)
            _triangle[(cdiv(out.size, config["BLOCK"]),)](
                out, input, out.size, *input.shape[-2:], diagonal, shape, strides[0], **facts, **config
            )
        return out

    def backward(self, grad):
        """The same triangle of the gradient."""
        return (type(self).apply(grad, self.inputs[1]),)

    @staticmethod
    def samples(draw):
        yield draw(5, 7), 0
        yield draw(2, 3, 4, 5), -2
        yield draw(33, 35).T, 3
        yield np.broadcast_to(draw(1, 6), (4, 6)), 1
        yield draw(4, 9)[:, ::-2], -9
        yield draw(0, 3), 0
        yield draw.integers(0, 9, 1, 1), 1
        yield draw.booleans(3, 3), 0

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 0

    @classmethod
    def errors(cls, draw):
        """Vectors have no triangle."""
        yield (draw(4),), {}, RuntimeError, f"{cls.op_name}: input tensor must have at least 2 dimensions"


class Tril(Triangle):
    """The elements on and below a diagonal of matrices, zero above it."""

    exports = ("tril", "Tensor.tril")

    @staticmethod
    def reference(input, diagonal=0):
        return np.tril(input, diagonal)


class Triu(Triangle):
    """The elements on and above a diagonal of matrices, zero below it."""

    exports = ("triu", "Tensor.triu")
    upper = True

    @staticmethod
    def reference(input, diagonal=0):
        return np.triu(input, diagonal)
