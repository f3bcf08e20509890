"""How often each of a range of integers occurs: what histograms are made of."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op, device_of
from tritorch.ops.creation import Full
from tritorch.ops.layout import element_strides
from tritorch.ops.pointwise.family import block_space, pointwise_default
from tritorch.runtime import tl


@kernel(space=block_space(), default=pointwise_default, key=("bins",))
def _count(
    counts,  # zeros at first, int64: (bins,)
    x,  # integers: (count,), `step` apart
    bins,
    count,
    step,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + index * step, mask=index < count, other=0).to(tl.int64)
    counted = (index < count) & (value >= 0) & (value < bins)
    # Sums of integers do not depend on the order in which they are added.
    tl.atomic_add(counts + value, tl.full([BLOCK], 1, tl.int64), mask=counted)


class CountEach(Op):
    """How often 0, 1, ... up to `bins`, without it, occur in a vector of integers; others are not counted."""

    @staticmethod
    def reference(input, bins):
        return np.bincount(input[(input >= 0) & (input < bins)], minlength=bins)

    @classmethod
    def host(cls, input, bins):
        if input.size and (input.min() < 0 or input.max() >= bins):
            return cls.reference(input, bins)
        return np.bincount(input, minlength=bins)

    def forward(self, input, bins):
        """One launch, which adds to zeros."""
        counts = Full().forward((bins,), 0, np.dtype(np.int64), device_of(input))
        if input.size and bins:
            config = _count.config((counts, input), count=input.size, bins=bins)
            (step,) = element_strides(input)
            _count[(cdiv(input.size, config["BLOCK"]),)](counts, input, bins, input.size, step, **config)
        return counts

    @staticmethod
    def samples(draw):
        yield draw.integers(0, 9, 1030), 9
        yield draw.integers(-3, 12, 50, dtype=np.int32)[::-2], 9
        yield draw.integers(0, 250, 300, dtype=np.uint8), 1025
        yield draw.integers(0, 9, 0), 3

    @staticmethod
    def sized(draw, N=1 << 24, bins=256):
        return draw.integers(0, bins, N), bins
