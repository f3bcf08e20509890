"""The scale of a loss in mixed precision: gradients divided by it and looked through, and the scale itself.

All of it stays on the device: no step waits to learn whether a gradient overflowed. Source: Micikevicius et al., "Mixed
Precision Training", 2018.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.base import Op
from tritorch.ops.optimizer.family import STEP_SPACE, step_default
from tritorch.ops.optimizer.tables import Lists, load, pointer, span, store
from tritorch.runtime import dtypes, tl


@kernel(space=STEP_SPACE, default=step_default, key=("ALIGNED",))
def _unscale(
    addresses,  # of the gradients: (tensors,)
    spans,  # see tables.py: (2 * tensors + programs,)
    scale,  # what they are divided by: ()
    found,  # (1,); becomes 1 where an element of a gradient is infinite or NaN
    tensors,
    TYPE: tl.constexpr,  # of the elements
    ALIGNED: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, start, count = span(spans, tensors, tl.program_id(0), BLOCK)
    index = start + tl.arange(0, BLOCK)
    places, inside = pointer(addresses, 0, which, tensors, TYPE, ALIGNED) + index, index < count
    inverse = (1 / tl.load(scale).to(tl.float64)).to(tl.float32).to(COMPUTE)
    if start + BLOCK <= count:
        value = load(places, inside, False).to(COMPUTE)
        store(places, value * inverse, inside, False)
    else:
        value = load(places, inside, True).to(COMPUTE)
        store(places, value * inverse, inside, True)
    bad = tl.max((value - value != 0).to(tl.int32), 0)  # inf - inf and NaN - NaN are NaN, which is not 0
    tl.store(found, 1.0, mask=bad > 0)  # programs that write, write the same


class Unscale(Op):
    """g / scale for each gradient, in place, and `found`, (1,), set to 1 where an element is not finite.

    An element is looked at before the product with 1 / scale, which is rounded to float32.
    """

    in_place = True

    @staticmethod
    def reference(scale, found, *gradients):
        finite = all(np.isfinite(each).all() for each in gradients)
        inverse = np.float32(1 / np.float64(scale))
        return found if finite else np.ones_like(found), *[each * np.asarray(inverse, each.dtype) for each in gradients]

    @classmethod
    def host(cls, scale, found, *gradients):
        """The same, written over what is given."""
        inverse = np.float32(1 / np.float64(scale))
        for each in gradients:
            if not np.isfinite(each).all():
                found[...] = 1
            wide = each.astype(dtypes.COMPUTE[each.dtype], copy=False)
            each[...] = (wide * wide.dtype.type(inverse)).astype(each.dtype, copy=False)
        return found, *gradients

    def forward(self, scale, found, *gradients):
        """One launch for all gradients."""
        walk = Lists([gradients])
        if walk:
            start, spans = self._launch_of(walk, found)
            start(walk.tables(spans), scale, found)
            walk.put_back()
        return found, *gradients

    @classmethod
    def replay(cls, scale, found, *gradients):
        """A function that does the same for gradients that lie as these do."""
        walk = Lists([gradients])
        if not walk:
            return None
        start, spans = cls._launch_of(walk, found)
        kept = walk.kept(spans)

        def again(scale, found, *gradients):
            start(kept(gradients), scale, found)
            return found, *gradients

        return kept and again

    @staticmethod
    def _launch_of(walk, found):
        aligned, wide = walk.aligned, walk.first[0].dtype == np.float64
        config = _unscale.config((*walk.first, found), count=max(walk.counts), ALIGNED=aligned)
        spans, programs = walk.spans(config["BLOCK"])
        constants = {"TYPE": walk.element_types[0], "COMPUTE": tl.float64 if wide else tl.float32, **config}
        tensors = len(walk.counts)

        def start(tables, scale, found):
            addresses, (spans,) = tables
            _unscale[(programs,)](addresses, spans, scale, found, tensors, ALIGNED=aligned, **constants)

        return start, spans

    @staticmethod
    def samples(draw):
        bad = draw(3, 5)
        bad[1, 2] = np.inf
        none = np.zeros(1, np.float32)
        half, large = np.asarray(2.0, np.float32), np.asarray(2.0**16, np.float32)
        yield half, none.copy(), draw(5, 7), draw(1025), draw(), draw(0, 3)
        yield np.asarray(8.0, np.float32), none.copy(), draw(4), bad
        yield np.asarray(1.0, np.float32), none.copy(), np.full((), np.nan, bad.dtype), draw(7, 4).T
        yield large, none.copy(), *[draw(3) for _ in range(65)]
        yield np.asarray(3.0, np.float32), np.ones(1, np.float32), draw(2)

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return np.asarray(2.0, np.float32), np.zeros(1, np.float32), *[draw(N) for _ in range(tensors)]


@kernel
def _adjust(
    scale,  # ()
    good,  # how many steps in a row had finite gradients: ()
    found,  # for each optimizer and device (1,), not 0 where a gradient was not finite
    growth: tl.float64,
    backoff: tl.float64,
    interval,
    N: tl.constexpr,
):
    bad = tl.load(found[0]) != 0
    for i in tl.static_range(1, N):
        bad = bad | (tl.load(found[i]) != 0)
    before, steps = tl.load(scale), tl.load(good) + 1
    full = steps == interval
    grown = (before * growth).to(tl.float32)
    grown = tl.where(full & (grown - grown == 0), grown, before)  # a scale that is not finite is not taken
    tl.store(scale, tl.where(bad, (before * backoff).to(tl.float32), grown))
    tl.store(good, tl.where(bad | full, 0, steps))


class AdjustScale(Op):
    """The scale of the next step and the count of good ones, in place: after a bad one it shrinks, after many it grows.

    With `found` not 0 the scale is multiplied by `backoff` and the count begins anew; where the count comes to
    `interval`, the scale is multiplied by `growth`, if that is finite, and the count begins anew.
    """

    in_place = True

    @staticmethod
    def reference(growth, backoff, interval, scale, good, *found):
        if any(each != 0 for each in found):
            return np.asarray(scale * np.asarray(backoff, scale.dtype)), np.zeros_like(good)
        if good + 1 != interval:
            return scale, np.asarray(good + 1, good.dtype)
        with np.errstate(over="ignore"):
            grown = np.asarray(np.float32(np.float64(scale) * growth), scale.dtype)
        return grown if np.isfinite(grown) else scale, np.zeros_like(good)

    @classmethod
    def host(cls, growth, backoff, interval, scale, good, *found):
        """The same, written over what is given."""
        scale[...], good[...] = cls.reference(growth, backoff, interval, scale, good, *found)
        return scale, good

    def forward(self, growth, backoff, interval, scale, good, *found):
        """One program."""
        _adjust[(1,)](scale, good, found, float(growth), float(backoff), interval, N=len(found))
        return scale, good

    @staticmethod
    def samples(draw):
        for value, steps, flags in (
            (8.0, 1, [0]),
            (8.0, 2, [0]),
            (2.0**127, 2, [0, 0]),
            (8.0, 1, [0, 1]),
            (3.0, 2, [1]),
        ):
            found = [np.asarray([each], np.float32) for each in flags]
            yield 2.0, 0.5, 3, np.asarray(value, np.float32), np.asarray(steps, np.int32), *found
