"""The negative log likelihood of class indices, and its gradient: one gather each, deterministic."""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import Op
from tritorch.ops.layout import broadcast_strides, element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.loss.batched import by_class, spread_gradient
from tritorch.ops.pointwise.family import offsets_of, pointwise_default, triton_dtype
from tritorch.ops.reduction.family import PLAIN
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import dtypes, tl


def nll_default(device, *, count):
    """A block of rows a program: gathering is bound by latency, so blocks are small on a GPU."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 512), 65536), "num_warps": 4}
    return {"BLOCK": 256 if count < 65536 else 1024, "num_warps": 4}


def _no_larger(BLOCK, count):
    return max(256, next_power_of_2(count)) >= BLOCK


def _elements_a_thread(BLOCK, num_warps):
    return 2 * 32 * num_warps <= BLOCK <= 16 * 32 * num_warps


_SPACE = Space(BLOCK=powers(128, 4096, default=256), num_warps=warps(1, 8), where=(_no_larger, _elements_a_thread))


@kernel(space=_SPACE, default=nll_default, key=("RANK", "SUM", "WIDE"))
def nll_kernel(
    x,  # log probabilities: rows by `strides[:RANK]`, classes by `step`
    target,  # class indices: rows by `strides[RANK:]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    out,  # losses of the rows, (rows,); or their sum by program, (programs,), or the whole result
    weights,  # the sum of weights by program, (programs,); zero, (1,), if there is no sum
    rows,
    classes,
    ignored,
    shape,
    strides,
    step,
    weight_step,
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    SUM: tl.constexpr,
    MEAN: tl.constexpr,  # there is one program, which divides by the weights
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < rows
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=inside, other=0).to(tl.int64)
    counted = inside & (place != ignored)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=counted)
    value = tl.load(x + offsets_of(row, shape, strides, 0, RANK) + place * step, mask=counted & known, other=0).to(
        COMPUTE
    )
    if weight is None:
        factor = tl.full([BLOCK], 1, COMPUTE)
    else:
        factor = tl.load(weight + place * weight_step, mask=counted & known, other=0).to(COMPUTE)
    # A class that does not exist cannot raise on a device: it makes the loss NaN.
    loss = tl.where(counted, tl.where(known, -value * factor, float("nan")), 0).to(COMPUTE)
    if SUM:
        total = tl.sum(tl.where(counted, factor, 0), 0)
        result = tl.sum(loss, 0)
        if MEAN:
            result = result / total
        tl.store(out + tl.program_id(0), result.to(out.dtype.element_ty))
        tl.store(weights + tl.program_id(0), total.to(weights.dtype.element_ty))
    else:
        tl.store(out + row, loss.to(out.dtype.element_ty), mask=inside)
        tl.store(weights + row, tl.zeros([BLOCK], weights.dtype.element_ty), mask=row == 0)


@kernel
def nll_finish(
    losses,  # sums by program: (count,)
    weights,  # sums of weights by program: (count,)
    out,  # the loss: ()
    total,  # the sum of weights: ()
    count,
    MEAN: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    loss, weight = tl.zeros([BLOCK], COMPUTE), tl.zeros([BLOCK], COMPUTE)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        loss += tl.load(losses + index, mask=index < count, other=0).to(COMPUTE)
        weight += tl.load(weights + index, mask=index < count, other=0).to(COMPUTE)
    result, divisor = tl.sum(loss, 0), tl.sum(weight, 0)
    if MEAN:
        result = result / divisor
    tl.store(out, result.to(out.dtype.element_ty))
    tl.store(total, divisor.to(total.dtype.element_ty))


@kernel(space=_SPACE, default=pointwise_default, key=("RANK", "WIDE"))
def nll_backward_kernel(
    grad,  # the gradient of the loss: rows by `strides[:RANK]`, all zero for a mean or sum
    target,  # class indices: rows by `strides[RANK:]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    total,  # the sum of weights, (), or None where nothing is divided by it
    out,  # the gradient of the input, contiguous: (outer, classes, inner)
    count,
    classes,
    inner,
    ignored,
    shape,
    strides,
    weight_step,
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    row = (index // (classes * inner)) * inner + index % inner
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=inside, other=0).to(tl.int64)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=inside & (place != ignored))
    here = inside & (place == (index // inner) % classes) & (place != ignored)
    value = -tl.load(grad + offsets_of(row, shape, strides, 0, RANK), mask=here, other=0).to(COMPUTE)
    if weight is not None:
        value = value * tl.load(weight + place * weight_step, mask=here, other=0).to(COMPUTE)
    if total is not None:
        value = value / tl.load(total).to(COMPUTE)
    tl.store(out + index, tl.where(here, value, 0).to(out.dtype.element_ty), mask=inside)


@functools.lru_cache(maxsize=32)
def _numbers(count):
    return np.arange(count)


def _picked(target, ignore_index, classes):
    """The class of each row, 0 where it is ignored, and which rows count."""
    counted = target != ignore_index
    place = np.where(counted, target, 0)
    bad = (place < 0) | (place >= classes)
    if bad.any():
        raise IndexError(f"Target {int(place[bad].reshape(-1)[0])} is out of bounds.")
    return place, counted


def all_within(target, classes):
    """Whether every class exists: one pass, in which negative numbers are large ones."""
    return target.dtype == np.int64 and target.size > 0 and np.maximum.reduce(target.view(np.uint64), None) < classes


def _axis(input):
    return 1 if input.ndim > 1 else 0


class NllLoss(Op):
    """-weight[target] input[target], summed and divided by the sum of weights for a mean; and that sum.

    Classes lie along dimension 1, or 0 of a one-dimensional input. Rows whose target is `ignore_index` do not count.
    """

    batch = by_class
    autocast = FLOAT32
    saves = ("target", "weight", "output")
    saved_results = (1,)  # the loss may be written over

    @staticmethod
    def reference(input, target, weight, ignore_index, reduction):
        axis = _axis(input)
        place, counted = _picked(target, ignore_index, input.shape[axis])
        picked = np.take_along_axis(input, np.expand_dims(place, axis), axis).squeeze(axis)
        factor = np.ones_like(picked) if weight is None else weight[place].astype(input.dtype)
        factor = np.where(counted, factor, 0).astype(input.dtype)
        loss = np.where(counted, -picked * factor, 0).astype(input.dtype)
        total = np.sum(factor)
        if reduction == "none":
            return loss, np.zeros((), input.dtype)
        loss = np.sum(loss)
        return np.asarray(loss / total if reduction == "mean" else loss), np.asarray(total)

    @classmethod
    def host(cls, input, target, weight, ignore_index, reduction):
        """The plain case, a row of a matrix a target and none ignored, without masks."""
        if input.dtype not in PLAIN:
            wide = dtypes.COMPUTE[input.dtype]
            found = cls.reference(input.astype(wide), target, weight, ignore_index, reduction)
            return tuple(each.astype(input.dtype) for each in found)
        if input.ndim != 2 or weight is not None or ignore_index >= 0 or not all_within(target, input.shape[1]):
            return cls.reference(input, target, weight, ignore_index, reduction)
        kind, count = input.dtype.type, target.size
        picked = input[_numbers(count), target]
        if reduction == "none":
            return -picked, kind(0)
        loss = -np.add.reduce(picked)
        return (loss / kind(count) if reduction == "mean" else loss), kind(count)

    def forward(self, input, target, weight, ignore_index, reduction):
        """One launch for losses by row or few rows; else sums by program and a second launch that adds them."""
        axis, compute = _axis(input), computed_in(input.dtype)
        steps, own = element_strides(input), element_strides(target)
        shape, strides = merge(target.shape, [steps[:axis] + steps[axis + 1 :], own])
        rows, classes = math.prod(target.shape), input.shape[axis]
        wide = needs_64_bits(input.shape, [steps]) or needs_64_bits(shape, strides)
        facts = {"RANK": len(shape), "SUM": reduction != "none", "WIDE": wide}
        config = nll_kernel.config((input, target, weight), count=rows, **facts)
        programs = max(1, cdiv(rows, config["BLOCK"]))
        whole, summed = programs == 1, reduction != "none"
        kind = input.dtype if whole or not summed else compute
        out = empty_like(input, target.shape if not summed else (programs,), kind)
        weights = empty_like(input, (programs if summed else 1,), kind)
        nll_kernel[(programs,)](
            input, target, weight, out, weights, rows, classes, ignore_index, shape, (*strides[0], *strides[1]),
            steps[axis], element_strides(weight)[0] if weight is not None else 0,
            COMPUTE=triton_dtype(compute), MEAN=whole and reduction == "mean", **facts, **config,
        )  # fmt: skip
        if not summed:
            return out, weights.reshape(())
        if whole:
            return out.reshape(()), weights.reshape(())
        result, total = empty_like(input, ()), empty_like(input, ())
        nll_finish[(1,)](
            out, weights, result, total, programs, MEAN=reduction == "mean", COMPUTE=triton_dtype(compute),
            BLOCK=min(max(next_power_of_2(programs), 128), 4096), num_warps=4,
        )  # fmt: skip
        return result, total

    def backward(self, grad, _=None):
        """-weight[target] grad at the target, zero elsewhere."""
        if self.edges[0] is None:  # class weights have no gradient
            return (None,)
        _, target, weight, ignore_index, reduction = self.inputs
        total = self.outputs[0].detach() if reduction == "mean" else None
        return (NllLossBackward.apply(grad, target, weight, total, self.edges[0][2], ignore_index, reduction),)

    @staticmethod
    def samples(draw):
        for reduction in ("mean", "sum", "none"):
            yield draw(5, 7), draw.integers(0, 7, 5), None, -100, reduction
            yield draw(3, 4, 5), draw.integers(0, 4, 3, 5), draw.uniform(0.5, 1.5, 4), 2, reduction
            yield draw(7), np.asarray(draw.integers(0, 7)), None, -100, reduction
        yield draw(1025, 3), draw.integers(0, 3, 1025), None, -100, "mean"
        yield draw(7, 600).T, draw.integers(0, 7, 600)[::-1], None, 3, "sum"
        yield draw(5, 7), draw.integers(-1, 7, 5, dtype=np.int64), draw.uniform(0.5, 1.5, 7), -1, "mean"

    @staticmethod
    def sized(draw, M=4096, N=32768):
        return draw(M, N), draw.integers(0, N, M), None, -100, "mean"


class NllLossBackward(Op):
    """The gradient of nll_loss by its input: -weight[target] grad (/ total) at the target, zero elsewhere."""

    saves = ("target", "weight")

    @staticmethod
    def reference(grad, target, weight, total, shape, ignore_index, reduction):
        axis = 1 if len(shape) > 1 else 0
        place, counted = _picked(target, ignore_index, shape[axis])
        value = np.broadcast_to(-grad, target.shape)
        if weight is not None:
            value = value * weight[place].astype(grad.dtype)
        if total is not None:
            value = value / total
        out = np.zeros(shape, grad.dtype)
        value = np.where(counted, value, 0).astype(grad.dtype)
        np.put_along_axis(out, np.expand_dims(place, axis), np.expand_dims(value, axis), axis)
        return out

    @classmethod
    def host(cls, grad, target, weight, total, shape, ignore_index, reduction):
        """The plain case writes the few elements that are not zero."""
        if grad.dtype not in PLAIN:
            wide = dtypes.COMPUTE[grad.dtype]
            total = None if total is None else total.astype(wide)
            return cls.reference(grad.astype(wide), target, weight, total, shape, ignore_index, reduction).astype(
                grad.dtype
            )
        if len(shape) != 2 or weight is not None or ignore_index >= 0 or not all_within(target, shape[1]):
            return cls.reference(grad, target, weight, total, shape, ignore_index, reduction)
        out = np.zeros(shape, grad.dtype)
        out[_numbers(shape[0]), target] = -grad if total is None else -grad / total
        return out

    def forward(self, grad, target, weight, total, shape, ignore_index, reduction):
        """One launch that writes every element."""
        out = empty_like(grad, shape)
        if out.size == 0:
            return out
        axis = 1 if len(shape) > 1 else 0
        lie, strides = merge(target.shape, [broadcast_strides(grad, target.shape), element_strides(target)])
        arrays, wide = (grad, target, weight, total, out), out.size >= 2**31 or needs_64_bits(lie, strides)
        config = nll_backward_kernel.config(arrays, count=out.size, RANK=len(lie), WIDE=wide)
        nll_backward_kernel[(cdiv(out.size, config["BLOCK"]),)](
            *arrays, out.size, shape[axis], math.prod(shape[axis + 1 :]), ignore_index,
            lie, (*strides[0], *strides[1]), element_strides(weight)[0] if weight is not None else 0,
            COMPUTE=triton_dtype(computed_in(grad.dtype)), RANK=len(lie), WIDE=wide, **config,
        )  # fmt: skip
        return out

    def backward(self, grad):
        """nll_loss itself: both are the same linear map, one transposed."""
        _, target, weight, _, _, ignore_index, reduction = self.inputs
        return (NllLoss.apply(grad, target, weight, ignore_index, reduction)[0],)

    @classmethod
    def batch(cls, call):
        """Row by row, each with its share of the gradient."""
        _, _, weight, _, shape, ignored, _ = call.args
        if call.batched[2]:
            return None
        grad, target = spread_gradient(call, 1, 3), call.front(1)
        if len(shape) > 1:
            grad, target = grad.flatten(0, 1), target.flatten(0, 1)
        whole = (grad.array.shape[0], *shape[len(shape) > 1 :])
        return cls.apply(grad, target, weight, None, whole, ignored, "none").reshape((call.size, *shape))

    @staticmethod
    def samples(draw):
        for input, target, weight, ignore_index, reduction in NllLoss.samples(draw):
            loss, total = NllLoss.reference(input, target, weight, ignore_index, reduction)
            grad = np.asarray(draw(*loss.shape))
            total = np.asarray(total) if reduction == "mean" else None
            yield grad, target, weight, total, input.shape, ignore_index, reduction

    @staticmethod
    def sized(draw, M=4096, N=32768):
        target, total = draw.integers(0, N, M), np.asarray(M, draw.dtype)
        return np.asarray(draw()), target, None, total, (M, N), -100, "mean"
