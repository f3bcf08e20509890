"""Elements combined where an index says, otherwise than by adding: products, largest and smallest ones.

Like all sums by index, each place combines what arrives there in the order in which it came.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.index.gathering import Gather, Scatter, check_range, key_along, part_of, places_along, whole_of
from tritorch.ops.index.indexing import as_rows, pick_along, places_of
from tritorch.ops.index.segments import accumulate
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.reduction.prod import multiply
from tritorch.ops.reduction.select_kernel import larger, smaller


class ScatterReduction(Op, abstract=True):
    """input combined with `src` at `index` along `dim`; a member says how: in the kernel, and by NumPy."""

    batch = shifted("dim")
    saves = ("input", "index", "src", "output")
    widens = True
    combine = None
    ufunc: np.ufunc
    identity: object  # of a dtype: what changes nothing when it is combined

    @classmethod
    def reference(cls, input, dim, index, src):
        """NumPy's unbuffered ufunc, element after element."""
        result = input.copy()
        cls.ufunc.at(result, key_along(input.shape, dim, index), part_of(src, index))
        return result

    @classmethod
    def fast(cls, input, dim, index, src):
        """The same by flat positions."""
        result = input.copy()
        part = part_of(src, index).reshape(-1)
        cls.ufunc.at(result.reshape(-1), places_along(input.shape, dim, index), part)
        return result

    def forward(self, input, dim, index, src):
        """A copy, the sorted places, and one launch that combines."""
        check_range(input.shape, dim, index)
        result = empty_like(input)
        copy_elements(input, result)
        rows = as_rows(part_of(src, index), tuple(index.shape), tuple(range(index.ndim)), result)
        places = places_of(pick_along(result, dim, index), result, result.size)
        identity = self.identity(np.dtype(computed_in(result.dtype)))
        accumulate(result, rows, *places, combine=self.combine, identity=identity)
        return result

    @staticmethod
    def samples(draw):
        yield draw.apart(5, 3), 0, draw.integers(0, 5, 7, 3), draw.apart(7, 3, gap=0.07)
        yield draw.apart(6, 5, 3).transpose(2, 0, 1), 2, draw.integers(0, 5, 2, 6, 4), draw.apart(3, 6, 5, gap=0.07)
        yield draw.apart(9), 0, draw.integers(0, 9, 30, dtype=np.int32), draw.apart(30, gap=0.07)[::-1]
        yield draw.integers(-9, 9, 4, 3), 1, draw.integers(0, 3, 4, 2), draw.integers(-9, 9, 4, 2)
        yield draw(0, 3), 0, draw.integers(0, 1, 0, 3), draw(0, 3)

    @staticmethod
    def sized(draw, M=1024, N=4096):
        return draw(M, N), 1, draw.integers(0, N, M, N), draw.uniform(0.5, 1.5, M, N)


class ScatterProd(ScatterReduction):
    """input times the elements of `src` at `index` along `dim`."""

    combine = multiply
    ufunc = np.multiply
    identity = staticmethod(lambda kind: 1)

    def backward(self, grad):
        """grad times the product of all other factors, which is exact where one of them is zero."""
        input, dim, index, src = self.inputs
        part, result = part_of(src, index), self.output
        kept = source = None
        if self.edges[0] is not None:
            sole = input.masked_fill(input == 0, 1)
            kept = grad * ScatterProd.apply(sole, dim, index, src) / sole
        if self.edges[3] is not None:
            zero = part == 0
            zeros = Scatter.apply(input.new_zeros(input.array.shape), dim, True, index, zero.to(input.dtype))
            sole = zero & (Gather.apply(zeros, dim, index) == 1)
            others = ScatterProd.apply(input, dim, index, part.masked_fill(sole, 1))
            usual = Gather.apply(grad * result, dim, index) / part.masked_fill(zero, 1)
            source = Gather.apply(grad * others, dim, index).where(sole, usual)
            source = whole_of(source, self.edges[3][2])
        return kept, None, None, source


class ScatterExtreme(ScatterReduction, abstract=True):
    """The larger or smaller of input and the elements of `src` at `index`; equal ones share its gradient evenly."""

    def backward(self, grad):
        """The gradient, in equal parts for the elements that are equal to the result."""
        input, dim, index, src = self.inputs
        part, result = part_of(src, index), self.output.detach()
        kept, chosen = (input == result).to(grad.dtype), (part == Gather.apply(result, dim, index)).to(grad.dtype)
        share = grad / Scatter.apply(kept, dim, True, index, chosen)
        source = None
        if self.edges[3] is not None:
            source = whole_of(chosen * Gather.apply(share, dim, index), self.edges[3][2])
        return kept * share, None, None, source


class ScatterAmax(ScatterExtreme):
    """The largest of input and the elements of `src` at `index` along `dim`."""

    combine = larger
    ufunc = np.maximum
    identity = staticmethod(lambda kind: int(np.iinfo(kind).min) if kind.kind in "iu" else -float("inf"))


class ScatterAmin(ScatterExtreme):
    """The smallest of input and the elements of `src` at `index` along `dim`."""

    combine = smaller
    ufunc = np.minimum
    identity = staticmethod(lambda kind: int(np.iinfo(kind).max) if kind.kind in "iu" else float("inf"))
