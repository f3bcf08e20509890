"""Dropout: the mask is not kept but drawn again in the backward pass, from the same seed and offset."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.batching import leading
from tritorch.ops.layout import as_contiguous, empty_like, in_order, out_of_order
from tritorch.ops.random.draws import DRAW, draw_default
from tritorch.ops.random.philox import philox_words, words
from tritorch.runtime import tl


@kernel(space=DRAW, default=draw_default, do_not_specialize=("seed", "offset", "threshold"))
def _dropout(
    x,  # values: (count,)
    out,  # values kept and scaled: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    threshold: tl.uint64,  # a value is kept if its word is not below this
    scale: tl.float64,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block = (tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint64) + offset
    index = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
    kept = philox_words(seed, block).to(tl.uint64) >= threshold
    value = tl.load(x + index, mask=index < count, other=0).to(COMPUTE)
    # A product and no choice, so that NaN stays NaN as in PyTorch.
    value = value * tl.where(kept, scale.to(COMPUTE), 0)
    tl.store(out + index, value.to(out.dtype.element_ty), mask=index < count)


def threshold_and_scale(p):
    """Words below the threshold are dropped; the scale keeps the mean. At p = 1 everything is zero."""
    return round(p * 2**32), 1 / (1 - p) if p < 1 else 0.0


class Dropout(Op):
    """x keep / (1 - p), where keep is 0 with probability p and else 1, by the Philox words of (seed, offset).

    Elements have their words in the order of their indices, or with the dimensions in `order`, outermost first: that in
    which they lie in memory, where the result does too.
    """

    batch = leading
    widens = True
    passed = ("seed", "offset")

    @staticmethod
    def reference(input, p, seed, offset, order=None):
        if order is not None:
            return out_of_order(Dropout.reference(in_order(input, order), p, seed, offset), order)
        threshold, scale = threshold_and_scale(p)
        factor = (words(seed, offset, input.size) >= threshold).astype(input.dtype)
        factor *= input.dtype.type(scale)
        factor = factor.reshape(input.shape)
        factor *= input
        return factor

    def forward(self, input, p, seed, offset, order=None):
        """One launch over the elements in order."""
        if order is not None:
            return out_of_order(self.forward(in_order(input, order), p, seed, offset), order)
        input, out = as_contiguous(input), empty_like(input)
        if out.size:
            threshold, scale = threshold_and_scale(p)
            config = _dropout.config((input, out), count=out.size)
            compute = tl.float64 if out.dtype == np.float64 else tl.float32
            grid = (cdiv(cdiv(out.size, 4), config["BLOCK"]),)
            _dropout[grid](input, out, out.size, seed, offset, threshold, scale, COMPUTE=compute, **config)
        return out

    def backward(self, grad):
        """The same op on the gradient: the mask is drawn again."""
        return (Dropout.apply(grad, *self.inputs[1:]),)

    @staticmethod
    def samples(draw):
        for shape in ((), (0, 3), (5, 7), (1025,)):
            yield draw(*shape), 0.5, 3, 17
        yield draw(6, 4).T, 0.1, 1, 2**32 - 2
        yield draw(6, 4).T, 0.3, 5, 0, (1, 0)
        yield draw(2, 3, 4), 0.3, 5, 0, (0, 2, 1)
        yield draw(9)[::-2], 1.0, 1, 0
        yield draw(9), 0.0, 1, 0

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 0.5, 3, 17
