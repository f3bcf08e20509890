"""Cross entropy of class indices in one op: a row of the input is read once, and no logarithm of it is kept.

What is saved for the gradient is the logarithm of each row's sum of exponentials, from which softmax is one pass away.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, next_power_of_2
from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, broadcast_strides, element_strides, empty_like, needs_64_bits
from tritorch.ops.loss.batched import by_class, spread_gradient
from tritorch.ops.loss.cross_entropy import NllLoss, NllLossBackward, all_within, nll_finish
from tritorch.ops.loss.cross_entropy_kernels import cross_entropy_backward_kernel, cross_entropy_kernel
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.family import PLAIN, add
from tritorch.ops.reduction.kernel import computed_in, launch_reduce
from tritorch.ops.rowwise.host import log_sum_exp
from tritorch.ops.rowwise.kernel import rows_of
from tritorch.ops.rowwise.softmax import Softmax
from tritorch.runtime import dtypes


def _axis(ndim):
    return 1 if ndim > 1 else 0


def _apart(strides, axis):
    return strides[:axis] + strides[axis + 1 :], strides[axis]


def _sum_of(weight, smoothing, compute):
    """The sum of class weights, where it is needed: None without them."""
    if weight is None or not smoothing:
        return None
    return launch_reduce(weight, None, compute, compute, add, 0)


def _over_classes(weight, ndim):
    """Class weights as they broadcast to an input, one without them."""
    return 1 if weight is None else weight.reshape([-1 if axis == _axis(ndim) else 1 for axis in range(ndim)])


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


def _smoothed(logs, target, weight, ignore_index, reduction, smoothing):
    """nll_loss of logarithms with smoothed labels, and the sum of weights."""
    loss, total = NllLoss.reference(logs, target, weight, ignore_index, reduction)
    if not smoothing:
        return loss, total
    spread = -np.sum(logs * _over_classes(weight, logs.ndim), axis=_axis(logs.ndim))
    spread = np.where(target == ignore_index, 0, spread)
    if reduction != "none":
        spread = np.sum(spread)
    if reduction == "mean":
        spread = spread / total
    kind = logs.dtype.type
    loss = loss * kind(1 - smoothing) + spread * kind(smoothing / logs.shape[_axis(logs.ndim)])
    return np.asarray(loss, logs.dtype), total


class CrossEntropy(Op):
    """nll_loss of log_softmax(input) for class indices; the sum of weights, and log sum exp of each row.

    With `label_smoothing` s, (1 - s) of that and s / classes of the sum over all classes.
    """

    batch = by_class
    autocast = FLOAT32
    saves = ("input", "target", "weight", "output")
    saved_results = (1, 2)

    @staticmethod
    def reference(input, target, weight, ignore_index, reduction, label_smoothing=0.0):
        axis = _axis(input.ndim)
        highest = np.max(input, axis=axis, keepdims=True, initial=-np.inf)
        lse = np.log(np.sum(np.exp(input - highest), axis=axis, keepdims=True)) + highest
        found = _smoothed(input - lse, target, weight, ignore_index, reduction, label_smoothing)
        return *found, lse.squeeze(axis)

    @classmethod
    def host(cls, input, target, weight, ignore_index, reduction, label_smoothing=0.0):
        """The plain case picks from the input itself; half types in float32, the loss narrowed once."""
        if input.dtype not in PLAIN:
            compute = dtypes.COMPUTE[input.dtype]
            weight = None if weight is None else weight.astype(compute)
            loss, *rest = cls.host(input.astype(compute), target, weight, ignore_index, reduction, label_smoothing)
            return np.asarray(loss).astype(input.dtype), *rest
        axis = _axis(input.ndim)
        lse = np.asarray(log_sum_exp_on_host(input, axis))
        if not is_plain(input, target, weight, ignore_index):
            logs = input - np.expand_dims(lse, axis)
            return *_smoothed(logs, target, weight, ignore_index, reduction, label_smoothing), lse
        kind, count = input.dtype.type, target.size
        losses = lse - input[np.arange(count), target]
        if label_smoothing:
            losses *= kind(1 - label_smoothing)
            losses += kind(label_smoothing) * (lse - np.add.reduce(input, 1) / kind(input.shape[1]))
        if reduction == "none":
            return losses, kind(0), lse
        loss = np.add.reduce(losses)
        return (loss / kind(count) if reduction == "mean" else loss), kind(count), lse

    def forward(self, input, target, weight, ignore_index, reduction, label_smoothing=0.0):
        """One launch, and one that adds the sums of its programs."""
        compute, summed = computed_in(input.dtype), reduction != "none"
        kept, step = _apart(element_strides(input), _axis(input.ndim))
        shape, strides = rows_of(target.shape, [kept, element_strides(target)])
        rows, classes = math.prod(target.shape), input.shape[_axis(input.ndim)]
        shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
        wide = needs_64_bits(input.shape, [element_strides(input)]) or needs_64_bits(shape, strides)
        facts = {"RANK": len(shape), "SUM": summed, "SMOOTH": bool(label_smoothing), "WIDE": wide}
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
                step, element_strides(weight)[0] if weight is not None else 0, float(label_smoothing),
                _sum_of(weight, label_smoothing, compute), COMPUTE=triton_dtype(compute), **facts, **config,
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
        input, target, weight, ignore_index, reduction, smoothing = self.inputs
        axis, slope = _axis(input.ndim), None
        total, lse = (each.detach() for each in self.outputs)
        total = total if reduction == "mean" else None
        if grad is not None and self.recording:
            hard = NllLossBackward.apply(grad, target, weight, total, self.edges[0][2], ignore_index, reduction)
            hard = hard if not smoothing else hard * (1 - smoothing) - self._spread(grad, total)
            slope = hard - Softmax.apply(input, axis, None) * hard.sum(axis, True)
        elif grad is not None:
            slope = CrossEntropyBackward.apply(
                grad, input, target, weight, total, lse, ignore_index, reduction, smoothing
            )  # fmt: skip
        if grad_lse is not None:
            more = Softmax.apply(input, axis, None) * grad_lse.unsqueeze(axis)
            slope = more if slope is None else slope + more
        return (slope,)

    def _spread(self, grad, total):
        """What smoothing takes from the gradient of each logarithm."""
        input, target, weight, ignore_index, _, smoothing = self.inputs
        axis = _axis(input.ndim)
        rows = grad * (target != ignore_index).to(grad.dtype)
        rows = (rows if total is None else rows / total) * (smoothing / input.array.shape[axis])
        return rows.unsqueeze(axis) * _over_classes(weight, input.ndim)

    @staticmethod
    def samples(draw):
        for reduction in ("mean", "sum", "none"):
            yield draw(5, 7), draw.integers(0, 7, 5), None, -100, reduction, 0.0
            yield draw(5, 7), draw.integers(0, 7, 5), None, -100, reduction, 0.25
            yield draw(3, 4, 5), draw.integers(0, 4, 3, 5), draw.uniform(0.5, 1.5, 4), 2, reduction, 0.1
        yield draw(3, 4, 5), draw.integers(0, 4, 3, 5), draw.uniform(0.5, 1.5, 4), 2, "mean", 0.0
        yield draw(3, 5000), draw.integers(0, 5000, 3), None, 3, "mean", 0.2
        yield draw(7), np.asarray(draw.integers(0, 7)), None, -100, "none", 0.0
        yield draw(1025, 3), draw.integers(0, 3, 1025), None, -100, "mean", 0.0
        yield draw(7, 600).T, draw.integers(0, 7, 600)[::-1], None, 3, "sum", 0.0
        yield draw(6, 7) * 30 + 100, draw.integers(0, 7, 6), None, -100, "mean", 0.0
        yield draw(3, 5000), draw.integers(0, 5000, 3), None, -100, "sum", 0.0

    @staticmethod
    def sized(draw, M=4096, N=32768):
        return draw(M, N), draw.integers(0, N, M), None, -100, "mean", 0.0


def is_plain(input, target, weight, ignore_index):
    """Whether each row of a matrix has a class that exists and counts once."""
    return input.ndim == 2 and weight is None and ignore_index < 0 and all_within(target, input.shape[1])


class CrossEntropyBackward(Op):
    """(softmax(input) - 1 at the target) weight[target] grad (/ total): the gradient of cross_entropy by its input."""

    @staticmethod
    def reference(grad, input, target, weight, total, lse, ignore_index, reduction, label_smoothing=0.0):
        axis = _axis(input.ndim)
        hard = NllLossBackward.reference(grad, target, weight, total, input.shape, ignore_index, reduction)
        if label_smoothing:
            rows = np.where(target == ignore_index, 0, grad if total is None else grad / total).astype(input.dtype)
            spread = np.expand_dims(rows, axis) * _over_classes(weight, input.ndim)
            hard = hard * (1 - label_smoothing) - spread * (label_smoothing / input.shape[axis])
        return hard - np.exp(input - np.expand_dims(lse, axis)) * np.sum(hard, axis=axis, keepdims=True)

    @classmethod
    def host(cls, grad, input, target, weight, total, lse, ignore_index, reduction, label_smoothing=0.0):
        """The plain case row by row in the cache."""
        if input.dtype not in PLAIN:
            grad, wide = grad.astype(lse.dtype), input.astype(lse.dtype)
            weight = None if weight is None else weight.astype(lse.dtype)
            found = cls.host(grad, wide, target, weight, total, lse, ignore_index, reduction, label_smoothing)
            return found.astype(input.dtype)
        if not is_plain(input, target, weight, ignore_index):
            return cls.reference(
                grad, input, target, weight, total, lse, ignore_index, reduction, label_smoothing
            )  # fmt: skip
        kind, spread = input.dtype.type, label_smoothing / input.shape[1]
        scale = np.broadcast_to(grad if total is None else grad / total, target.shape)
        out = np.empty(input.shape, input.dtype)

        def fill(piece):
            np.subtract(input[piece], lse[piece, None], out[piece])
            np.exp(out[piece], out[piece])
            if label_smoothing:
                out[piece] -= kind(spread)
            out[piece] *= scale[piece, None]

        for_each(fill, pieces_of(*input.shape))
        out[np.arange(len(out)), target] -= scale * kind(1 - label_smoothing) if label_smoothing else scale
        return out

    def forward(self, grad, input, target, weight, total, lse, ignore_index, reduction, label_smoothing=0.0):
        """One launch."""
        out, axis = empty_like(input), _axis(input.ndim)
        if not out.size:
            return out
        (kept, step), (own, out_step) = (_apart(element_strides(each), axis) for each in (input, out))
        steps = [kept, element_strides(target), broadcast_strides(grad, target.shape), own]
        shape, strides = rows_of(target.shape, steps)
        rows, classes = math.prod(target.shape), input.shape[axis]
        shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
        wide = needs_64_bits(input.shape, [element_strides(input)]) or needs_64_bits(shape, strides)
        arrays = (grad, input, target, weight, total, as_contiguous(lse), out)
        config = cross_entropy_backward_kernel.config(
            arrays, rows=rows, columns=classes, along=abs(step) <= shortest, itemsize=lse.dtype.itemsize,
            RANK=len(shape), SMOOTH=bool(label_smoothing), WIDE=wide,
        )  # fmt: skip
        cross_entropy_backward_kernel[(cdiv(rows, config["ROWS"]),)](
            *arrays, rows, classes, ignore_index, shape, sum(strides, ()), step, out_step,
            element_strides(weight)[0] if weight is not None else 0, float(label_smoothing),
            _sum_of(weight, label_smoothing, lse.dtype), COMPUTE=triton_dtype(computed_in(input.dtype)),
            RANK=len(shape), SMOOTH=bool(label_smoothing), WIDE=wide, **config,
        )  # fmt: skip
        return out

    @classmethod
    def batch(cls, call):
        """Row by row, each with its share of the gradient."""
        _, _, _, weight, _, _, ignored, _, smoothing = call.args
        if call.batched[3]:
            return None
        grad, shape = spread_gradient(call, 2, 4), (call.size, *call.shape(1))
        rows = [call.front(at) for at in (1, 2, 5)]
        if len(shape) > 2:
            grad, *rows = (each.flatten(0, 1) for each in (grad, *rows))
        return cls.apply(grad, *rows[:2], weight, None, rows[2], ignored, "none", smoothing).reshape(shape)

    @staticmethod
    def samples(draw):
        for input, target, weight, ignore_index, reduction, *smoothing in CrossEntropy.samples(draw):
            loss, total, lse = map(np.asarray, CrossEntropy.host(input, target, weight, ignore_index, reduction))
            grad, total = np.asarray(draw(*loss.shape)), total if reduction == "mean" else None
            yield grad, input, target, weight, total, lse, ignore_index, reduction, *(smoothing or (0.0,))

    @staticmethod
    def sized(draw, M=4096, N=32768):
        sample = CrossEntropy.sized(draw, M, N)
        _, total, lse = map(np.asarray, CrossEntropy.host(*sample))
        return np.asarray(draw()), *sample[:3], total, lse, *sample[3:]
