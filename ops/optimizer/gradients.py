"""What is done to all gradients at once: their norm, and scaling them down to one; two launches for a whole group.

The tensors are taken as the steps of optimizers take them, by tables (tables.py). The first launch gives a part of the
norm for each of its programs, of which there are at most `MOST_PARTS`; every program of the second one puts the parts
together, in the same order, so that nobody waits for a number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.base import Op
from tritorch.ops.layout import as_they_lie, empty_like
from tritorch.ops.optimizer.family import STEP_SPACE, step_default
from tritorch.ops.optimizer.tables import Lists, load, pointer, span, store
from tritorch.ops.reduction.kernel import fold_by
from tritorch.ops.reduction.norm import DIRECT
from tritorch.runtime import dtypes, tl, transfer

MOST_PARTS = 2048  # programs of a launch that walks over all blocks: more than run at once
MOST = tl.constexpr(MOST_PARTS)


def alike(tensors):
    """Tensors in lists of one device and dtype, which one launch can take."""
    found: dict = {}
    for each in tensors:
        found.setdefault((each.device, each.array.dtype), []).append(each)
    return found


# ------------------------------------------------------------------------------------------------- kernels


@kernel(space=STEP_SPACE, default=step_default, key=("PREPARE", "FOLD", "ALIGNED"))
def _part_norms(
    addresses,  # of the tensors: (tensors,)
    spans,  # see tables.py: (2 * tensors + blocks,)
    parts,  # what each program gives: (programs,)
    tensors,
    blocks,
    TYPE: tl.constexpr,  # of the elements
    ALIGNED: tl.constexpr,
    COMPUTE: tl.constexpr,
    PREPARE: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    IDENTITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    total = tl.full((BLOCK,), IDENTITY, COMPUTE)
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        which, start, count = span(spans, tensors, block, BLOCK)
        index = start + tl.arange(0, BLOCK)
        places, inside = pointer(addresses, 0, which, tensors, TYPE, ALIGNED) + index, index < count
        if start + BLOCK <= count:  # noqa: SIM108, each has loads of its own
            value = load(places, inside, False)
        else:
            value = load(places, inside, True)
        total = COMBINE(total, tl.where(inside, PREPARE(value, COMPUTE), IDENTITY))
    tl.store(parts + tl.program_id(0) + tl.arange(0, 1), FOLD(total[None, :]))


@kernel
def _norm_of(parts, count, COMPUTE: tl.constexpr, FOLD: tl.constexpr, IDENTITY: tl.constexpr, ROOT: tl.constexpr):
    """The norm (1,) that parts make."""
    index = tl.arange(0, MOST)
    result = FOLD(tl.load(parts + index, mask=index < count, other=IDENTITY).to(COMPUTE)[None, :])
    return tl.sqrt(result) if ROOT else result


@kernel
def _whole_norm(
    parts,  # what each program gave: (count,)
    norm,  # ()
    count,
    COMPUTE: tl.constexpr,
    FOLD: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROOT: tl.constexpr,
):
    result = _norm_of(parts, count, COMPUTE, FOLD, IDENTITY, ROOT)
    tl.store(norm + tl.arange(0, 1), result.to(norm.dtype.element_ty))


@kernel(space=STEP_SPACE, default=step_default, key=("FOLD", "ROOT", "ALIGNED"))
def _clip(
    addresses,  # of the tensors: (tensors,)
    spans,  # see tables.py: (2 * tensors + blocks,)
    parts,  # of the norm: (count,)
    norm,  # (), or None where it is `parts`
    max_norm: tl.float64,
    count,
    tensors,
    blocks,
    TYPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    COMPUTE: tl.constexpr,
    FOLD: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROOT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    whole = _norm_of(parts, count, COMPUTE, FOLD, IDENTITY, ROOT)
    if norm is not None:
        tl.store(norm + tl.arange(0, 1), whole.to(norm.dtype.element_ty), mask=tl.program_id(0) + tl.arange(0, 1) == 0)
    factor = max_norm.to(COMPUTE) / (whole + 1e-6)
    factor = tl.where(factor > 1, 1, factor)  # NaN stays
    if tl.sum((factor != 1).to(tl.int32), 0) != 0:
        for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
            which, start, size = span(spans, tensors, block, BLOCK)
            index = start + tl.arange(0, BLOCK)
            places, inside = pointer(addresses, 0, which, tensors, TYPE, ALIGNED) + index, index < size
            if start + BLOCK <= size:
                store(places, load(places, inside, False).to(COMPUTE) * factor, inside, False)
            else:
                store(places, load(places, inside, True).to(COMPUTE) * factor, inside, True)


# ------------------------------------------------------------------------------------------------- launches


class Norm(NamedTuple):
    """How a norm is put together: constants of the kernels."""

    COMPUTE: object
    FOLD: object
    IDENTITY: float
    ROOT: bool

    @classmethod
    def of(cls, order, array):
        """That of an order, for elements of an array's dtype."""
        _, combine, identity = DIRECT[order]
        return cls(tl.float64 if array.dtype == np.float64 else tl.float32, fold_by(combine), identity, order == 2)


def maker_of(like):
    """What makes arrays on the device of an array, without holding it."""
    if isinstance(like, np.ndarray):
        return lambda shape, dtype: empty_like(like, shape, dtype)
    return lambda shape, dtype, device=like.device: transfer.empty(shape, dtype, device)


def parts_launch(walk, order):
    """What launches with the tables of `Lists` and gives the parts of the norm, and the spans it takes."""
    prepare, combine, identity = DIRECT[order]
    norm, like = Norm.of(order, walk.first[0]), walk.first[0]
    facts = {"PREPARE": prepare, "FOLD": norm.FOLD, "ALIGNED": walk.aligned}
    config = _part_norms.config(walk.first, count=max(walk.counts), **facts)
    spans, blocks = walk.spans(config["BLOCK"])
    facts |= {"TYPE": walk.element_types[0], "COMPUTE": norm.COMPUTE, "COMBINE": combine, "IDENTITY": identity}
    programs, tensors, make = min(blocks, MOST_PARTS), len(walk.counts), maker_of(like)
    wide = np.dtype(np.float64 if like.dtype == np.float64 else np.float32)

    def start(addresses, spans):
        parts = make((programs,), wide)
        _part_norms[(programs,)](addresses, spans, parts, tensors, blocks, **facts, **config)
        return parts

    return start, spans


def clip_launch(walk, norm, whole):
    """What launches with the tables of `Lists`, parts of the norm, where that goes and its largest; and the spans.

    `whole` is an array like that of the norm, None where it goes nowhere.
    """
    facts = {"FOLD": norm.FOLD, "ROOT": norm.ROOT, "ALIGNED": walk.aligned}
    config = _clip.config((*walk.first, whole), count=max(walk.counts), **facts)
    spans, blocks = walk.spans(config["BLOCK"])
    facts = norm._asdict() | {"ALIGNED": walk.aligned, "TYPE": walk.element_types[0]}
    programs, tensors = min(blocks, MOST_PARTS), len(walk.counts)

    def start(addresses, spans, parts, whole, max_norm):
        _clip[(programs,)](
            addresses, spans, parts, whole, float(max_norm), parts.size, tensors, blocks, **facts, **config
        )

    return start, spans


# ------------------------------------------------------------------------------------------------- ops


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
        """One launch for all tensors, and one that combines what its programs gave."""
        walk, norm, like = Lists([tensors]), Norm.of(order, tensors[0]), tensors[0]
        if not walk:
            return _whole(empty_like(like, (1,)), 0, norm, maker_of(like), like.dtype)
        start, spans = parts_launch(walk, order)
        addresses, (spans,) = walk.tables(spans)
        parts = start(addresses, spans)
        return _whole(parts, parts.size, norm, maker_of(like), like.dtype)

    @classmethod
    def replay(cls, order, *tensors):
        """A function that does the same for tensors that lie as these do."""
        walk = Lists([tensors])
        if not walk:
            return None
        start, spans = parts_launch(walk, order)
        kept, norm, make, dtype = walk.kept(spans), Norm.of(order, tensors[0]), maker_of(tensors[0]), tensors[0].dtype

        def again(_order, *tensors):
            addresses, (spans,) = kept(tensors)
            parts = start(addresses, spans)
            return _whole(parts, parts.size, norm, make, dtype)

        return kept and again

    @staticmethod
    def samples(draw):
        bad = draw(3, 5)
        bad[1, 2] = np.nan
        for order in TotalNorm.ORDERS:
            yield order, draw(5, 7), draw(1025), draw(), draw(0, 3)
            yield order, draw(4), bad, draw(7, 4).T
        yield 2.0, *[draw(3) for _ in range(65)]
        yield 2.0, draw(0)

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return 2.0, *[draw(N) for _ in range(tensors)]


def _whole(parts, count, norm, make, dtype):
    """The norm that parts make, by one program."""
    whole = make((), dtype)
    _whole_norm[(1,)](parts, whole, count, **norm._asdict())
    return whole


class ClipByNorm(Op):
    """The norm of all tensors together, as TotalNorm; each, in place, times min(1, max_norm / (norm + 1e-6)).

    Nothing is written where the norm is small enough. Source: Pascanu, Mikolov, Bengio, "On the difficulty of training
    recurrent neural networks", 2013.
    """

    in_place = True
    passed = ("max_norm",)

    @staticmethod
    def reference(max_norm, order, *tensors):
        norm = TotalNorm.reference(order, *tensors)
        factor = np.asarray(_factor(max_norm, norm), norm.dtype)
        return norm, *[each * factor for each in tensors]

    @classmethod
    def host(cls, max_norm, order, *tensors):
        """The same, written over what is given."""
        norm = TotalNorm.host(order, *tensors)
        return norm, *_scaled(tensors, _factor(max_norm, float(norm)))

    def forward(self, max_norm, order, *tensors):
        """One launch for the parts of the norm, and one that puts them together and scales."""
        walk = Lists([tensors])
        if not walk:
            return TotalNorm().forward(order, *tensors), *tensors
        norm = empty_like(tensors[0], ())
        parts_of, first = parts_launch(walk, order)
        clip, second = clip_launch(walk, Norm.of(order, norm), norm)
        addresses, (first, second) = walk.tables(first, second)
        clip(addresses, second, parts_of(addresses, first), norm, max_norm)
        walk.put_back()
        return norm, *tensors

    @classmethod
    def replay(cls, max_norm, order, *tensors):
        """A function that does the same for tensors that lie as these do."""
        walk = Lists([tensors])
        if not walk:
            return None
        (parts_of, first), (clip, second) = (
            parts_launch(walk, order),
            clip_launch(walk, Norm.of(order, tensors[0]), tensors[0]),
        )
        kept, make, dtype = walk.kept(first, second), maker_of(tensors[0]), tensors[0].dtype

        def again(max_norm, _order, *tensors):
            addresses, (first, second) = kept(tensors)
            norm = make((), dtype)
            clip(addresses, second, parts_of(addresses, first), norm, max_norm)
            return norm, *tensors

        return kept and again

    @staticmethod
    def samples(draw):
        bad = draw(3, 5)
        bad[1, 2] = np.nan
        for order in TotalNorm.ORDERS[:3]:
            yield 0.5, order, draw(5, 7), draw(1025), draw(), draw(0, 3)
        yield 1e6, 2.0, draw(5, 7), draw(9)
        yield 1.0, 2.0, draw(4), bad, draw(7, 4).T
        yield 1.0, 2.0, *[draw(3) for _ in range(65)]
        yield 1.0, 2.0, draw(0)

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return 1.0, 2.0, *[draw(N) for _ in range(tensors)]


class ClipToNorm(Op):
    """Each tensor times min(1, max_norm / (norm + 1e-6)), in place, with a norm, (), that was computed before."""

    in_place = True
    passed = ("max_norm",)

    @staticmethod
    def reference(max_norm, norm, *tensors):
        return tuple(each * np.asarray(_factor(max_norm, norm), each.dtype) for each in tensors)

    @classmethod
    def host(cls, max_norm, norm, *tensors):
        """The same, written over what is given."""
        return _scaled(tensors, _factor(max_norm, float(norm)))

    def forward(self, max_norm, norm, *tensors):
        """One launch for all tensors; the norm is on their device, and nobody waits for it."""
        walk = Lists([tensors])
        if walk:
            clip, spans = clip_launch(walk, Norm.of(math.inf, tensors[0]), None)
            addresses, (spans,) = walk.tables(spans)
            clip(addresses, spans, norm, None, max_norm)
            walk.put_back()
        return tensors

    @classmethod
    def replay(cls, max_norm, norm, *tensors):
        """A function that does the same for tensors that lie as these do."""
        walk = Lists([tensors])
        if not walk:
            return None
        clip, spans = clip_launch(walk, Norm.of(math.inf, tensors[0]), None)
        kept = walk.kept(spans)

        def again(max_norm, norm, *tensors):
            addresses, (spans,) = kept(tensors)
            clip(addresses, spans, norm, None, max_norm)
            return tensors

        return kept and again

    @staticmethod
    def samples(draw):
        yield 0.5, np.asarray(3.0, np.float32), draw(5, 7), draw(1025), draw(), draw(0, 3)
        yield 0.3, np.asarray(0.1, np.float32), draw(7, 4).T
        yield 2.0, np.asarray(np.nan, np.float32), *[draw(3) for _ in range(65)]

    @staticmethod
    def sized(draw, N=1 << 20, tensors=8):
        return 0.5, np.asarray(1.0, np.float32), *[draw(N) for _ in range(tensors)]


def _factor(max_norm, norm):
    """What scales tensors with this norm down to `max_norm`: 1 where it is smaller, NaN where it is NaN."""
    found = max_norm / (norm + 1e-6)
    return 1.0 if found > 1 else found


def _scaled(tensors, factor):
    """Host tensors, multiplied where they lie."""
    for each in tensors if factor != 1 else ():
        wide = each.astype(dtypes.COMPUTE[each.dtype], copy=False)
        each[...] = (wide * wide.dtype.type(factor)).astype(each.dtype, copy=False)
    return tensors
