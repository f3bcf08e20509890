"""Cross entropy of class indices in one op: a row of the input is read once, and no logarithm of it is kept.

What is saved for the gradient is the logarithm of each row's sum of exponentials, from which softmax is one pass away.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, broadcast_strides, element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.loss.batched import by_class, spread_gradient
from tritorch.ops.loss.cross_entropy import NllLoss, NllLossBackward, all_within, nll_finish
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.family import PLAIN
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.rowwise.host import log_sum_exp
from tritorch.ops.rowwise.kernel import ROWS_SPACE, load_tile, rows_default, store_tile
from tritorch.ops.rowwise.softmax import Softmax
from tritorch.runtime import dtypes, tl


@kernel(space=ROWS_SPACE, default=rows_default, key=("RANK", "SUM", "WIDE"))
def cross_entropy_kernel(
    x,  # the input: rows by `strides[:RANK]`, classes by `step`
    target,  # class indices: rows by `strides[RANK:]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    losses,  # of the rows, (rows,); or their sums by program, (programs,)
    weights,  # the sums of weights by program, (programs,); unwritten if there is no sum
    lse,  # the logarithm of each row's sum of exponentials: (rows,)
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
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    line = offsets_of(row, shape, strides, 0, RANK)
    highest = tl.full([ROWS], float("-inf"), COMPUTE)
    total = tl.zeros([ROWS], COMPUTE)
    for start in range(0, classes, COLUMNS):
        value = load_tile(x, line, start + column, step, valid, classes, float("-inf"), COMPUTE)
        higher = tl.maximum(highest, tl.max(value, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher).to(COMPUTE)
        total = total * tl.exp(highest - base) + tl.sum(tl.exp(value - base[:, None]), 1)
        highest = higher
    found = highest + tl.log(total)
    tl.store(lse + row, found.to(lse.dtype.element_ty), mask=valid)
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=valid, other=0).to(tl.int64)
    counted = valid & (place != ignored)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=counted)
    picked = tl.load(x + line + place * step, mask=counted & known, other=0).to(COMPUTE)
    factor = tl.full([ROWS], 1, COMPUTE)
    if weight is not None:
        factor = tl.load(weight + place * weight_step, mask=counted & known, other=0).to(COMPUTE)
    # A class that does not exist cannot raise on a device: it makes the loss NaN.
    loss = tl.where(counted, tl.where(known, (found - picked) * factor, float("nan")), 0).to(COMPUTE)
    if SUM:
        tl.store(losses + tl.program_id(0), tl.sum(loss, 0).to(losses.dtype.element_ty))
        factor = tl.where(counted, factor, 0).to(COMPUTE)
        tl.store(weights + tl.program_id(0), tl.sum(factor, 0).to(weights.dtype.element_ty))
    else:
        tl.store(losses + row, loss.to(losses.dtype.element_ty), mask=valid)


@kernel(space=ROWS_SPACE, default=rows_default, key=("RANK", "WIDE"))
def cross_entropy_backward_kernel(
    grad,  # the gradient of the loss: rows by `strides[2 * RANK : 3 * RANK]`, all zero for a mean or sum
    x,  # the input: rows by `strides[:RANK]`, classes by `step`
    target,  # class indices: rows by `strides[RANK : 2 * RANK]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    total,  # the sum of weights: (), or None where nothing is divided by it
    lse,  # the logarithm of each row's sum of exponentials: (rows,)
    out,  # the gradient of the input: rows by `strides[3 * RANK :]`, classes by `out_step`
    rows,
    classes,
    ignored,
    shape,
    strides,
    step,
    out_step,
    weight_step,
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    line = offsets_of(row, shape, strides, 0, RANK)
    result = offsets_of(row, shape, strides, 3 * RANK, RANK)
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=valid, other=0).to(tl.int64)
    counted = valid & (place != ignored)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=counted)
    factor = tl.load(grad + offsets_of(row, shape, strides, 2 * RANK, RANK), mask=counted, other=0).to(COMPUTE)
    if weight is not None:
        factor = factor * tl.load(weight + place * weight_step, mask=counted & known, other=0).to(COMPUTE)
    if total is not None:
        factor = factor / tl.load(total).to(COMPUTE)
    level = tl.load(lse + row, mask=valid, other=0).to(COMPUTE)
    for start in range(0, classes, COLUMNS):
        at = start + column
        value = load_tile(x, line, at, step, valid, classes, float("-inf"), COMPUTE)
        chance = tl.exp(value - level[:, None]) - (at[None, :] == place[:, None]).to(COMPUTE)
        # What is ignored has no gradient, whatever it holds.
        slope = tl.where(counted[:, None], chance * factor[:, None], 0).to(COMPUTE)
        store_tile(out, result, at, out_step, valid, classes, slope)


def _axis(ndim):
    return 1 if ndim > 1 else 0


def _apart(strides, axis):
    return strides[:axis] + strides[axis + 1 :], strides[axis]


def log_sum_exp_on_host(input, axis):
    """log sum exp of the input along an axis, without it."""
    if input.ndim == 2 and axis == 1 and input.size and input.flags.c_contiguous:
        found = np.empty(len(input), input.dtype)

        def fill(piece):
            found[piece] = log_sum_exp(input[piece], scratch(input[piece]))

        for_each(fill, pieces_of(*input.shape))
        return found
    highest = np.max(input, axis=axis, keepdims=True, initial=-np.inf)
    return (np.log(np.sum(np.exp(input - highest), axis=axis, keepdims=True)) + highest).squeeze(axis)


class CrossEntropy(Op):
    """nll_loss of log_softmax(input) for class indices; the sum of weights, and log sum exp of each row."""

    batch = by_class
    autocast = FLOAT32
    saves = ("input", "target", "weight", "output")
    saved_results = (1, 2)

    @staticmethod
    def reference(input, target, weight, ignore_index, reduction):
        axis = _axis(input.ndim)
        highest = np.max(input, axis=axis, keepdims=True, initial=-np.inf)
        lse = np.log(np.sum(np.exp(input - highest), axis=axis, keepdims=True)) + highest
        loss, total = NllLoss.reference(input - lse, target, weight, ignore_index, reduction)
        return loss, total, lse.squeeze(axis)

    @classmethod
    def host(cls, input, target, weight, ignore_index, reduction):
        """The plain case picks from the input itself; half types in float32, the loss narrowed once."""
        if input.dtype not in PLAIN:
            compute = dtypes.COMPUTE[input.dtype]
            weight = None if weight is None else weight.astype(compute)
            loss, *rest = cls.host(input.astype(compute), target, weight, ignore_index, reduction)
            return np.asarray(loss).astype(input.dtype), *rest
        axis = _axis(input.ndim)
        lse = np.asarray(log_sum_exp_on_host(input, axis))
        if not is_plain(input, target, weight, ignore_index):
            logs = input - np.expand_dims(lse, axis)
            return *NllLoss.reference(logs, target, weight, ignore_index, reduction), lse
        kind, count = input.dtype.type, target.size
        losses = lse - input[np.arange(count), target]
        if reduction == "none":
            return losses, kind(0), lse
        loss = np.add.reduce(losses)
        return (loss / kind(count) if reduction == "mean" else loss), kind(count), lse

    def forward(self, input, target, weight, ignore_index, reduction):
        """One launch, and one that adds the sums of its programs."""
        compute, summed = computed_in(input.dtype), reduction != "none"
        kept, step = _apart(element_strides(input), _axis(input.ndim))
        shape, strides = merge(target.shape, [kept, element_strides(target)])
        rows, classes = math.prod(target.shape), input.shape[_axis(input.ndim)]
        shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
        wide = needs_64_bits(input.shape, [element_strides(input)]) or needs_64_bits(shape, strides)
        facts = {"RANK": len(shape), "SUM": summed, "WIDE": wide}
        config = cross_entropy_kernel.config(
            (input, target, weight), rows=rows, columns=classes, along=abs(step) <= shortest,
            itemsize=compute.itemsize, **facts,
        )  # fmt: skip
        programs = cdiv(rows, config["ROWS"])
        losses = empty_like(input, (programs,) if summed else target.shape, compute if summed else input.dtype)
        weights, lse = empty_like(input, (programs,), compute), empty_like(input, target.shape, compute)
        if rows:
            cross_entropy_kernel[(programs,)](
                input, target, weight, losses, weights, lse, rows, classes, ignore_index, shape, sum(strides, ()),
                step, element_strides(weight)[0] if weight is not None else 0, COMPUTE=triton_dtype(compute),
                **facts, **config,
            )  # fmt: skip
        loss, total = empty_like(input, ()), empty_like(input, (), compute)
        nll_finish[(1,)](
            losses, weights, loss, total, programs if summed else 0, MEAN=reduction == "mean",
            COMPUTE=triton_dtype(compute), BLOCK=min(max(next_power_of_2(programs), 128), 4096), num_warps=4,
        )  # fmt: skip
        return loss if summed else losses, total, lse

    def backward(self, grad, _=None, grad_lse=None):
        """(softmax(input) - 1 at the target) weight[target] grad; and softmax(input) for log sum exp."""
        if self.edges[0] is None:  # class weights have no gradient
            return (None,)
        input, target, weight, ignore_index, reduction = self.inputs
        axis, slope = _axis(input.ndim), None
        total, lse = (each.detach() for each in self.outputs)
        total = total if reduction == "mean" else None
        if grad is not None and self.recording:
            hard = NllLossBackward.apply(grad, target, weight, total, self.edges[0][2], ignore_index, reduction)
            slope = hard - Softmax.apply(input, axis, None) * hard.sum(axis, True)
        elif grad is not None:
            slope = CrossEntropyBackward.apply(grad, input, target, weight, total, lse, ignore_index, reduction)
        if grad_lse is not None:
            more = Softmax.apply(input, axis, None) * grad_lse.unsqueeze(axis)
            slope = more if slope is None else slope + more
        return (slope,)

    @staticmethod
    def samples(draw):
        for reduction in ("mean", "sum", "none"):
            yield draw(5, 7), draw.integers(0, 7, 5), None, -100, reduction
        yield draw(3, 4, 5), draw.integers(0, 4, 3, 5), draw.uniform(0.5, 1.5, 4), 2, "mean"
        yield draw(7), np.asarray(draw.integers(0, 7)), None, -100, "none"
        yield draw(1025, 3), draw.integers(0, 3, 1025), None, -100, "mean"
        yield draw(7, 600).T, draw.integers(0, 7, 600)[::-1], None, 3, "sum"
        yield draw(6, 7) * 30 + 100, draw.integers(0, 7, 6), None, -100, "mean"
        yield draw(3, 5000), draw.integers(0, 5000, 3), None, -100, "sum"

    @staticmethod
    def sized(draw, M=4096, N=32768):
        return draw(M, N), draw.integers(0, N, M), None, -100, "mean"


def is_plain(input, target, weight, ignore_index):
    """Whether each row of a matrix has a class that exists and counts once."""
    return input.ndim == 2 and weight is None and ignore_index < 0 and all_within(target, input.shape[1])


class CrossEntropyBackward(Op):
    """(softmax(input) - 1 at the target) weight[target] grad (/ total): the gradient of cross_entropy by its input."""

    @staticmethod
    def reference(grad, input, target, weight, total, lse, ignore_index, reduction):
        axis = _axis(input.ndim)
        hard = NllLossBackward.reference(grad, target, weight, total, input.shape, ignore_index, reduction)
        return hard - np.exp(input - np.expand_dims(lse, axis)) * np.sum(hard, axis=axis, keepdims=True)

    @classmethod
    def host(cls, grad, input, target, weight, total, lse, ignore_index, reduction):
        """The plain case row by row in the cache."""
        if input.dtype not in PLAIN:
            grad, wide = grad.astype(lse.dtype), input.astype(lse.dtype)
            weight = None if weight is None else weight.astype(lse.dtype)
            return cls.host(grad, wide, target, weight, total, lse, ignore_index, reduction).astype(input.dtype)
        if not is_plain(input, target, weight, ignore_index):
            return cls.reference(grad, input, target, weight, total, lse, ignore_index, reduction)
        scale = np.broadcast_to(grad if total is None else grad / total, target.shape)
        out = np.empty(input.shape, input.dtype)

        def fill(piece):
            np.subtract(input[piece], lse[piece, None], out[piece])
            np.exp(out[piece], out[piece])
            out[piece] *= scale[piece, None]

        for_each(fill, pieces_of(*input.shape))
        out[np.arange(len(out)), target] -= scale
        return out

    def forward(self, grad, input, target, weight, total, lse, ignore_index, reduction):
        """One launch."""
        out, axis = empty_like(input), _axis(input.ndim)
        if not out.size:
            return out
        (kept, step), (own, out_step) = (_apart(element_strides(each), axis) for each in (input, out))
        steps = [kept, element_strides(target), broadcast_strides(grad, target.shape), own]
        shape, strides = merge(target.shape, steps)
        rows, classes = math.prod(target.shape), input.shape[axis]
        shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
        wide = needs_64_bits(input.shape, [element_strides(input)]) or needs_64_bits(shape, strides)
        arrays = (grad, input, target, weight, total, as_contiguous(lse), out)
        config = cross_entropy_backward_kernel.config(
            arrays, rows=rows, columns=classes, along=abs(step) <= shortest, itemsize=lse.dtype.itemsize,
            RANK=len(shape), WIDE=wide,
        )  # fmt: skip
        cross_entropy_backward_kernel[(cdiv(rows, config["ROWS"]),)](
            *arrays, rows, classes, ignore_index, shape, sum(strides, ()), step, out_step,
            element_strides(weight)[0] if weight is not None else 0,
            COMPUTE=triton_dtype(computed_in(input.dtype)), RANK=len(shape), WIDE=wide, **config,
        )  # fmt: skip
        return out

    @classmethod
    def batch(cls, call):
        """Row by row, each with its share of the gradient."""
        _, _, _, weight, _, _, ignored, _ = call.args
        if call.batched[3]:
            return None
        grad, shape = spread_gradient(call, 2, 4), (call.size, *call.shape(1))
        rows = [call.front(at) for at in (1, 2, 5)]
        if len(shape) > 2:
            grad, *rows = (each.flatten(0, 1) for each in (grad, *rows))
        return cls.apply(grad, *rows[:2], weight, None, rows[2], ignored, "none").reshape(shape)

    @staticmethod
    def samples(draw):
        for input, target, weight, ignore_index, reduction in CrossEntropy.samples(draw):
            loss, total, lse = map(np.asarray, CrossEntropy.host(input, target, weight, ignore_index, reduction))
            grad, total = np.asarray(draw(*loss.shape)), total if reduction == "mean" else None
            yield grad, input, target, weight, total, lse, ignore_index, reduction

    @staticmethod
    def sized(draw, M=4096, N=32768):
        sample = CrossEntropy.sized(draw, M, N)
        _, total, lse = map(np.asarray, CrossEntropy.host(*sample))
        return np.asarray(draw()), *sample[:3], total, lse, *sample[3:]
