"""Cross entropy of class indices in one op: a row of the input is read once, and no logarithm of it is kept.

What is saved for the gradient is the logarithm of each row's sum of exponentials, from which softmax is one pass away.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import Op
from tritorch.ops.layout import empty_like
from tritorch.ops.loss.batched import by_class, spread_gradient
from tritorch.ops.loss.cross_entropy import NllLoss, NllLossBackward, all_within
from tritorch.ops.loss.cross_entropy_kernels import class_axis, launch_finish, launch_losses, launch_slope
from tritorch.ops.parallel import for_each, pieces_of, scratch
from tritorch.ops.reduction.family import PLAIN
from tritorch.ops.rowwise.host import log_sum_exp
from tritorch.ops.rowwise.softmax import Softmax
from tritorch.runtime import dtypes


def _over_classes(weight, ndim):
    """Class weights as they broadcast to an input, one without them."""
    return 1 if weight is None else weight.reshape([-1 if axis == class_axis(ndim) else 1 for axis in range(ndim)])


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
    spread = -np.sum(logs * _over_classes(weight, logs.ndim), axis=class_axis(logs.ndim))
    spread = np.where(target == ignore_index, 0, spread)
    if reduction != "none":
        spread = np.sum(spread)
    if reduction == "mean":
        spread = spread / total
    kind = logs.dtype.type
    loss = loss * kind(1 - smoothing) + spread * kind(smoothing / logs.shape[class_axis(logs.ndim)])
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
        axis = class_axis(input.ndim)
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
        axis = class_axis(input.ndim)
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
        losses, weights, lse, programs = launch_losses(input, target, weight, ignore_index, reduction, label_smoothing)
        loss, total = empty_like(input, ()), empty_like(input, (), weights.dtype)
        summed = reduction != "none"
        launch_finish(losses, weights, loss, total, programs if summed else 0, reduction == "mean")
        return loss if summed else losses, total, lse

    def backward(self, grad, _=None, grad_lse=None):
        """(softmax(input) - 1 at the target) weight[target] grad; and softmax(input) for log sum exp."""
        if self.edges[0] is None:  # class weights have no gradient
            return (None,)
        input, target, weight, ignore_index, reduction, smoothing = self.inputs
        axis, slope = class_axis(input.ndim), None
        total, lse = (each.detach() for each in self.outputs)
        total = total if reduction == "mean" else None
        if grad is not None and self.recording:
            slope = composed_slope(grad, input, target, weight, total, ignore_index, reduction, smoothing)
        elif grad is not None:
            slope = CrossEntropyBackward.apply(
                grad, input, target, weight, total, lse, ignore_index, reduction, smoothing
            )  # fmt: skip
        if grad_lse is not None:
            more = Softmax.apply(input, axis, None) * grad_lse.unsqueeze(axis)
            slope = more if slope is None else slope + more
        return (slope,)

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


def composed_slope(grad, input, target, weight, total, ignore_index, reduction, smoothing):
    """The gradient of cross_entropy by its input as a composition of ops, which have gradients."""
    axis, shape = class_axis(input.ndim), tuple(input.array.shape)
    hard = NllLossBackward.apply(grad, target, weight, total, shape, ignore_index, reduction)
    if smoothing:
        rows = grad * (target != ignore_index).to(grad.dtype)
        rows = (rows if total is None else rows / total) * (smoothing / shape[axis])
        hard = hard * (1 - smoothing) - rows.unsqueeze(axis) * _over_classes(weight, input.ndim)
    return hard - Softmax.apply(input, axis, None) * hard.sum(axis, True)


def is_plain(input, target, weight, ignore_index):
    """Whether each row of a matrix has a class that exists and counts once."""
    return input.ndim == 2 and weight is None and ignore_index < 0 and all_within(target, input.shape[1])


class CrossEntropyBackward(Op):
    """(softmax(input) - 1 at the target) weight[target] grad (/ total): the gradient of cross_entropy by its input."""

    @staticmethod
    def reference(grad, input, target, weight, total, lse, ignore_index, reduction, label_smoothing=0.0):
        axis = class_axis(input.ndim)
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
        out = empty_like(input)
        if out.size:
            launch_slope(grad, input, target, weight, total, lse, out, ignore_index, label_smoothing)
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
