"""Cross entropy of a linear layer's scores, some rows at a time: all scores together are never there.

The gradients by the layer's input, weight and bias are made with the loss, while the scores of the rows are there, in
whose place their gradient is written: one product for the scores and two for the gradients, none of them made twice.
They lack the gradient of the loss, which is one number and comes later (Hsu et al., "Liger Kernel", 2024).
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv
from tritorch.ops.base import Op
from tritorch.ops.formula import formula
from tritorch.ops.layout import empty_like
from tritorch.ops.loss.cross_entropy_kernels import launch_finish, launch_losses, launch_slope
from tritorch.ops.loss.fused_cross_entropy import CrossEntropy, CrossEntropyBackward, composed_slope
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.pointwise.arithmetic import Add
from tritorch.ops.pointwise.kernel import launch_pointwise
from tritorch.ops.reduction.family import add
from tritorch.ops.reduction.kernel import computed_in, launch_reduce
from tritorch.runtime import dtypes

BYTES = 256 << 20  # of the scores that are there at once
LEAST = (
    1024  # rows, below which the sums of the weight's gradient, added to for each part, cost more than their product
)


def rows_at_once(classes, itemsize):
    """How many rows' scores are there at once: a power of two."""
    rows = max(BYTES // max(classes * itemsize, 1), LEAST)
    return 1 << (rows.bit_length() - 1)


def _scores(input, weight, bias):
    found = input @ weight.T
    return found if bias is None else found + bias


class LinearCrossEntropy(Op):
    """cross_entropy of input @ weight^T + bias for (N, D) and (C, D), of one dtype: the loss, and the sum of weights.

    If `wanted`, also the gradients of the sum of losses by input, weight and, unless that is None, bias.
    `reduction` is "mean" or "sum".
    """

    saves = ("input", "weight", "bias", "target", "class_weight", "output")

    @staticmethod
    def reference(
        input, weight, bias, target, class_weight, ignore_index, reduction, label_smoothing=0.0, wanted=False
    ):  # fmt: skip
        settings = (target, class_weight, ignore_index)
        scores = _scores(input, weight, bias)
        loss, total, lse = CrossEntropy.reference(scores, *settings, reduction, label_smoothing)
        if not wanted:
            return loss, total
        one = np.ones((), input.dtype)
        slope = CrossEntropyBackward.reference(
            one, scores, *settings[:2], None, lse, ignore_index, "sum", label_smoothing
        )  # fmt: skip
        found = loss, total, slope @ weight, slope.T @ input
        return found if bias is None else (*found, slope.sum(0))

    @classmethod
    def host(cls, input, weight, bias, target, class_weight, *settings):
        """In float32 at least, narrowed once."""
        compute = dtypes.COMPUTE[input.dtype]
        wide = [None if each is None else each.astype(compute) for each in (input, weight, bias, class_weight)]
        loss, total, *slopes = cls.reference(*wide[:3], target, wide[3], *settings)
        return np.asarray(loss).astype(input.dtype), np.asarray(total), *(each.astype(input.dtype) for each in slopes)

    def forward(
        self, input, weight, bias, target, class_weight, ignore_index, reduction, label_smoothing=0.0, wanted=False
    ):  # fmt: skip
        """For each part of the rows one product and the losses; and if `wanted`, their gradient and two products."""
        compute, (rows, _), classes = computed_in(input.dtype), input.shape, weight.shape[0]
        step = rows_at_once(classes, input.dtype.itemsize)
        parts = max(cdiv(rows, step), 1)
        scores = empty_like(input, (min(step, rows), classes))
        losses, totals = (empty_like(input, (parts,), compute) for _ in range(2))
        kind = input.dtype if parts == 1 else compute  # what is added to is not rounded each time
        slopes = (empty_like(input), empty_like(weight, weight.shape, kind)) if wanted else ()
        sums = None
        for part in range(parts):
            own = slice(part * step, min(part * step + step, rows))
            x, labels, here = input[own], target[own], scores[: own.stop - own.start]
            launch_matmul(x, weight.transpose(1, 0), here.shape, bias, out=here)
            found, weights, lse, programs = launch_losses(
                here, labels, class_weight, ignore_index, "sum", label_smoothing
            )
            launch_finish(found, weights, losses[part : part + 1], totals[part : part + 1], programs, False)
            if wanted:
                launch_slope(None, here, labels, class_weight, None, lse, here, ignore_index, label_smoothing)
                launch_matmul(here, weight, x.shape, out=slopes[0][own])
                kept = slopes[1] if part else None
                launch_matmul(here.transpose(1, 0), x, weight.shape, residual=kept, out=slopes[1])
                sums = (
                    None if bias is None else _added(sums, launch_reduce(here, 0, here.dtype, compute, add, 0), compute)
                )
        loss, total = empty_like(input, ()), empty_like(input, (), compute)
        launch_finish(losses, totals, loss, total, parts, reduction == "mean")
        return loss, total, *slopes, *(() if sums is None else (sums,))

    def backward(self, grad, *_):
        """The gradients that are there times that of the loss; compositions of ops where they are recorded."""
        input, weight, bias, target, class_weight, ignore_index, reduction, smoothing, wanted = self.inputs
        total, *slopes = (each.detach() for each in self.outputs[1:])
        total = total if reduction == "mean" else None
        if grad is None:
            return None, None, None
        if wanted and not self.recording:
            slopes = (*slopes, None)[:3]
            return tuple([
                None if edge is None else ScaledGradient.apply(slope, grad, total, edge[3])
                for edge, slope in zip(self.edges[:3], slopes, strict=True)
            ])  # fmt: skip
        scores = input @ weight.transpose(0, 1)
        scores = scores if bias is None else scores + bias
        slope = composed_slope(grad, scores, target, class_weight, total, ignore_index, reduction, smoothing)
        return slope @ weight, slope.transpose(0, 1) @ input, None if bias is None else slope.sum(0)

    @staticmethod
    def differentiable_at(*sample):
        """The gradients among the results have none themselves."""
        return not sample[-1]

    @staticmethod
    def samples(draw):
        def sample(rows, width, classes, biased, weighted, *settings):
            bias, weights = draw(classes) if biased else None, draw.uniform(0.5, 1.5, classes) if weighted else None
            target = draw.integers(0, classes, rows)
            return draw(rows, width), draw(classes, width), bias, target, weights, *settings

        for wanted in (False, True):
            yield sample(5, 3, 7, False, False, -100, "mean", 0.0, wanted)
            yield sample(5, 3, 7, True, True, 2, "sum", 0.25, wanted)
            yield sample(9, 4, 6, True, False, 2, "mean", 0.1, wanted)
            yield sample(1, 4, 600, False, True, -100, "mean", 0.0, wanted)

    @staticmethod
    def sized(draw, M=8192, N=50304, K=768):
        return draw(M, K), draw(N, K), None, draw.integers(0, N, M), None, -100, "mean", 0.0, True

    @staticmethod
    def multiplications(output, input, weight, *rest):
        """Of one product, and of two more for the gradients."""
        return math.prod(input.shape) * weight.shape[0] * (3 if rest[-1] else 1)


def _added(sums, more, compute):
    """The sum of two flat arrays, the first of which may be None."""
    return more if sums is None else launch_pointwise("add", Add.value, (sums, more), compute, compute)


@formula
def scaled_gradient(value, grad, total):
    return value * (grad / total)


class ScaledGradient(Op):
    """value * grad / total for numbers on the device, in dtype `kind`; total is one where it is None."""

    @staticmethod
    def reference(value, grad, total, kind):
        return value * (grad / (1 if total is None else total))

    @classmethod
    def host(cls, value, grad, total, kind):
        """In float32 at least, narrowed once."""
        compute = dtypes.COMPUTE[value.dtype]
        return np.asarray(cls.reference(value.astype(compute), grad.astype(compute), total, kind)).astype(kind)

    def forward(self, value, grad, total, kind):
        """One launch."""
        arrays = (value, grad, 1.0 if total is None else total)
        return launch_pointwise(self.op_name, scaled_gradient, arrays, computed_in(value.dtype), kind)

    @staticmethod
    def samples(draw):
        for shape, total in (((5, 7), np.asarray(3.0)), ((4,), None), ((1025, 3), np.asarray(7.0))):
            total = None if total is None else total.astype(draw.dtype)
            yield draw(*shape), np.asarray(draw()), total, np.dtype(draw.dtype)
