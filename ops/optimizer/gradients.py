"""What is done to all gradients at once: unscaling, their norm, and scaling; a launch or two for a whole group.

The tensors are taken as the steps of optimizers take them: a tuple of pointers, one long virtual index.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, as_they_lie, empty_like
from tritorch.ops.optimizer.family import AT_ONCE, LEAST_BLOCK, STEP_SPACE, _chosen, _copy, _place, step_default
from tritorch.ops.reduction.kernel import fold_by
from tritorch.ops.reduction.norm import DIRECT
from tritorch.runtime import dtypes, tl


def alike(tensors):
    """Tensors in lists of one device and dtype, which one launch can take."""
    found: dict = {}
    for each in tensors:
        found.setdefault((each.device, each.array.dtype), []).append(each)
    return found


def launches(kernel, arrays, *others, **facts):
    """What each launch takes: arrays as they lie, the same contiguous, first blocks, counts, how many, and the config.

    `others` are the launch's other arrays, and `facts` what the kernel's key names beside the number of arrays.
    """
    given = [each for each in arrays if each.size]
    for start in range(0, len(given), AT_ONCE):
        some = [as_they_lie(each)[0] for each in given[start : start + AT_ONCE]]
        flat = tuple(as_contiguous(each) for each in some)
        config = kernel.config((some[0], *others), count=max(each.size for each in some), N=len(some), **facts)
        counts = tuple(each.size for each in flat)
        blocks = [cdiv(count, config["BLOCK"]) for count in counts]
        firsts = tuple(sum(blocks[:at]) for at in range(len(blocks)))
        yield some, flat, firsts, counts, sum(blocks), config


def put_back(arrays, flat):
    """Write contiguous copies over the arrays that they are of."""
    for own, used in zip(arrays, flat, strict=True):
        if own is not used:
            _copy(own, used)


def computed_in(array):
    """What a kernel computes in."""
    return tl.float64 if array.dtype == np.float64 else tl.float32


def multiply(array, factor):
    """array * factor in place, on the host."""
    wide = array.astype(dtypes.COMPUTE[array.dtype], copy=False)
    array[...] = (wide * wide.dtype.type(factor)).astype(array.dtype, copy=False)


# ------------------------------------------------------------------------------------------------- unscaling


@kernel(space=STEP_SPACE, default=step_default, key=("N",))
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
            multiply(each, inverse)
        return found, *gradients

    def forward(self, inverse, found, *gradients):
        """One launch for each `AT_ONCE` gradients."""
        for own, flat, firsts, counts, blocks, config in launches(_unscale, gradients, found):
            _unscale[(blocks,)](
                flat, found, firsts, counts, float(inverse), N=len(flat), COMPUTE=computed_in(flat[0]), **config
            )
            put_back(own, flat)
        return found, *gradients

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

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return 0.5, np.zeros(1, np.float32), *[draw(N) for _ in range(tensors)]


# ------------------------------------------------------------------------------------------------- the norm


@kernel(space=STEP_SPACE, default=step_default, key=("N", "PREPARE", "FOLD"))
def _block_norms(
    tensors,  # N tensors, each contiguous: (counts[i],)
    parts,  # what each block gives, from `start` on
    start,
    firsts,  # the first block of each tensor
    counts,
    N: tl.constexpr,
    COMPUTE: tl.constexpr,
    PREPARE: tl.constexpr,
    FOLD: tl.constexpr,
    IDENTITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    value = tl.load(_chosen(tensors, which, N, 0) + index, mask=inside, other=0)
    value = tl.where(inside, PREPARE(value, COMPUTE), IDENTITY)
    tl.store(parts + start + tl.program_id(0) + tl.arange(0, 1), FOLD(value[None, :]))


@kernel
def _whole_norm(
    parts,  # what each block gave: (count,)
    norm,  # ()
    count,
    COMPUTE: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROOT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    total = tl.full((BLOCK,), IDENTITY, COMPUTE)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total = COMBINE(total, tl.load(parts + index, mask=index < count, other=IDENTITY))
    result = FOLD(total[None, :])
    if ROOT:
        result = tl.sqrt(result)
    tl.store(norm + tl.arange(0, 1), result.to(norm.dtype.element_ty))


class TotalNorm(Op):
    """(sum |x|^order)^(1/order) over all elements of all tensors; the largest or smallest |x| for inf and -inf.

    The order is 1, 2, inf or -inf. Blocks are combined in a fixed order.
    """

    ORDERS = (1.0, 2.0, math.inf, -math.inf)

    @staticmethod
    def reference(order, *tensors):
        flat = np.abs(np.concatenate([each.reshape(-1) for each in tensors]))
        if math.isinf(order):
            find, initial = (np.max, 0) if order > 0 else (np.min, math.inf)
            return np.asarray(find(flat, initial=initial), tensors[0].dtype)
        return np.asarray(np.sum(flat**order) ** (1 / order), tensors[0].dtype)

    @classmethod
    def host(cls, order, *tensors):
        """Tensor by tensor, without a copy of all."""
        dtype, parts = tensors[0].dtype, []
        for each in tensors:
            flat = as_they_lie(each)[0].reshape(-1).astype(dtypes.COMPUTE[dtype], copy=False)
            if order == 2:
                parts.append(float(flat.dot(flat)))
            elif flat.size:
                parts.append(float(cls.reference(order, flat)))
        if order == 2:
            return np.asarray(math.sqrt(sum(parts))).astype(dtype)
        return cls.reference(order, np.asarray(parts)).astype(dtype)

    def forward(self, order, *tensors):
        """One launch for each `AT_ONCE` tensors, and one that combines what their blocks gave."""
        compute = computed_in(tensors[0])
        prepare, combine, identity = DIRECT[order]
        fold = fold_by(combine)
        constants = {"COMPUTE": compute, "FOLD": fold, "IDENTITY": identity}
        most, count = sum(cdiv(each.size, LEAST_BLOCK) for each in tensors), 0
        parts = empty_like(tensors[0], (most,), np.float64 if compute is tl.float64 else np.float32)
        for _, flat, firsts, counts, blocks, config in launches(_block_norms, tensors, PREPARE=prepare, FOLD=fold):
            _block_norms[(blocks,)](
                flat, parts, count, firsts, counts, N=len(flat), PREPARE=prepare, **constants, **config
            )
            count += blocks
        norm = empty_like(tensors[0], ())
        _whole_norm[(1,)](parts, norm, count, COMBINE=combine, ROOT=order == 2, BLOCK=1024, **constants)
        return norm

    @staticmethod
    def samples(draw):
        bad = draw(3, 5)
        bad[1, 2] = np.nan
        for order in TotalNorm.ORDERS:
            yield order, draw(5, 7), draw(1025), draw(), draw(0, 3)
            yield order, draw(4), bad, draw(7, 4).T
        yield 2.0, *[draw(3) for _ in range(AT_ONCE + 1)]
        yield 2.0, draw(0)

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return 2.0, *[draw(N) for _ in range(tensors)]


# ------------------------------------------------------------------------------------------------- scaling


@kernel(space=STEP_SPACE, default=step_default, key=("N",))
def _scale(
    tensors,  # N tensors, each contiguous: (counts[i],)
    factor,  # ()
    firsts,  # the first block of each tensor
    counts,
    N: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    which, block, count = _place(firsts, counts, N)
    index = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place = _chosen(tensors, which, N, 0) + index
    value = tl.load(place, mask=index < count, other=0).to(COMPUTE) * tl.load(factor).to(COMPUTE)
    tl.store(place, value.to(place.dtype.element_ty), mask=index < count)


class ScaleTensors(Op):
    """x * factor for each tensor, in place; the factor, (), is on the tensors' device, and nobody waits for it."""

    in_place = True

    @staticmethod
    def reference(factor, *tensors):
        return tuple(each * np.asarray(factor, each.dtype) for each in tensors)

    @classmethod
    def host(cls, factor, *tensors):
        """The same, written over what is given."""
        for each in tensors:
            multiply(each, factor)
        return tensors

    def forward(self, factor, *tensors):
        """One launch for each `AT_ONCE` tensors."""
        for own, flat, firsts, counts, blocks, config in launches(_scale, tensors, factor):
            _scale[(blocks,)](flat, factor, firsts, counts, N=len(flat), COMPUTE=computed_in(flat[0]), **config)
            put_back(own, flat)
        return tensors

    @staticmethod
    def samples(draw):
        yield np.asarray(0.5, np.float32), draw(5, 7), draw(1025), draw(), draw(0, 3)
        yield np.asarray(0.3, np.float32), draw(7, 4).T
        yield np.asarray(2.0, np.float32), *[draw(3) for _ in range(AT_ONCE + 1)]

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return np.asarray(0.5, np.float32), *[draw(N) for _ in range(tensors)]
