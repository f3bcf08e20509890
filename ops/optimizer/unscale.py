"""Dividing gradients by the scale of the loss, and noticing those that are not finite: one launch for a whole group.

The tensors are taken as the steps of optimizers take them: a tuple of pointers, one long virtual index.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, choices, kernel, powers
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous
from tritorch.ops.optimizer.family import AT_ONCE, _chosen, _place, step_default
from tritorch.runtime import dtypes, tl, transfer


@kernel(space=Space(BLOCK=powers(512, 4096), num_warps=choices(4, 8)), default=step_default)
def _unscale(
    gradients,  # N gradients, each contiguous: (counts[i],)
    found,  # (1,); becomes 1 where an element of a gradient is infinite or NaN
    firsts,  # the first block of each gradient
    counts,
    inverse: tl.float64,
    N: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    place = _chosen(gradients, which, N, 0) + index
    value = tl.load(place, mask=inside, other=0).to(COMPUTE)
    bad = tl.max((value - value != 0).to(tl.int32), 0)  # inf - inf and NaN - NaN are NaN, which is not 0
    tl.store(found, 1.0, mask=bad > 0)  # programs that write, write the same
    tl.store(place, (value * inverse.to(COMPUTE)).to(place.dtype.element_ty), mask=inside)


class Unscale(Op):
    """g * inverse for each gradient, in place, and `found`, (1,), set to 1 where an element is not finite.

    An element is looked at before the product. Source: Micikevicius et al., "Mixed Precision Training", 2018.
    """

    in_place = True

    @staticmethod
    def reference(inverse, found, *gradients):
        finite = all(np.isfinite(each).all() for each in gradients)
        return found if finite else np.ones_like(found), *[each * np.asarray(inverse, each.dtype) for each in gradients]

    @classmethod
    def host(cls, inverse, found, *gradients):
        """The same, written over what is given."""
        for each in gradients:
            if not np.isfinite(each).all():
                found[...] = 1
            each[...] = (each.astype(dtypes.COMPUTE[each.dtype], copy=False) * inverse).astype(each.dtype, copy=False)
        return found, *gradients

    def forward(self, inverse, found, *gradients):
        """One launch for each `AT_ONCE` gradients."""
        given = [each for each in gradients if each.size]
        for start in range(0, len(given), AT_ONCE):
            self._launch(inverse, found, given[start : start + AT_ONCE])
        return found, *gradients

    def _launch(self, inverse, found, gradients):
        config = _unscale.config(gradients[0], count=max(each.size for each in gradients))
        flat = [as_contiguous(each) for each in gradients]
        counts = tuple(each.size for each in flat)
        blocks = [cdiv(count, config["BLOCK"]) for count in counts]
        firsts = tuple(sum(blocks[:at]) for at in range(len(blocks)))
        compute = tl.float64 if flat[0].dtype == np.float64 else tl.float32
        _unscale[(sum(blocks),)](
            tuple(flat), found, firsts, counts, float(inverse), N=len(flat), COMPUTE=compute, **config
        )
        for own, used in zip(gradients, flat, strict=True):
            if own is not used and not transfer.is_contiguous(own):
                if isinstance(own, np.ndarray):
                    own[...] = used
                else:
                    own.copy_from(used)

    @staticmethod
    def samples(draw):
        bad = draw(3, 5)
        bad[1, 2] = np.inf
        none = np.zeros(1, np.float32)
        yield 0.5, none.copy(), draw(5, 7), draw(1025), draw(), draw(0, 3)
        yield 0.125, none.copy(), draw(4), bad
        yield 1.0, none.copy(), np.full((), np.nan, bad.dtype), draw(7, 4).T
        yield 2.0**-16, none.copy(), *[draw(3) for _ in range(AT_ONCE + 1)]
        yield 3.0, np.ones(1, np.float32), draw(2)
