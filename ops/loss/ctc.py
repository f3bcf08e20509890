"""Connectionist temporal classification: the loss of a sequence of labels without alignment, and its gradient.

A target with a blank around each label has 2 S + 1 states. Alpha is the logarithm of the probability of all ways to a
state, beta of all ways from it to the end. Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal
classification", 2006.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv
from tritorch.ops.base import Op, device_of
from tritorch.ops.layout import as_contiguous, element_strides, empty_like
from tritorch.ops.loss.ctc_kernels import alpha_kernel, ctc_gradient_kernel, share_kernel
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.runtime import transfer


def _plan(targets, input_lengths, target_lengths):
    """Lengths of inputs and targets, and where each target starts."""
    if targets.ndim == 1:
        starts = np.cumsum((0, *target_lengths))[:-1]
    else:
        starts = np.arange(len(target_lengths)) * targets.shape[1]
    return np.array((input_lengths, target_lengths, starts), np.int64)


def _labels(targets, target_lengths, blank, classes):
    """(batch, states): the labels with blanks around them; and which states there are."""
    width = 2 * max(target_lengths, default=0) + 1
    labels = np.full((len(target_lengths), width), blank, np.int64)
    for n, count in enumerate(target_lengths):
        start = sum(target_lengths[:n])
        own = targets[start : start + count] if targets.ndim == 1 else targets[n, :count]
        wrong = own[(own < 0) | (own >= classes)]
        if wrong.size:
            raise IndexError(f"Target {int(wrong[0])} is out of bounds.")
        labels[n, 1 : 2 * count : 2] = own
    return labels, np.arange(width) <= 2 * np.array(target_lengths)[:, None]


def _shifted(rows, by):
    """Each row moved `by` states on, or back where it is negative, -inf coming in."""
    moved = np.full_like(rows, -np.inf)
    if by > 0:
        moved[:, by:] = rows[:, :-by]
    else:
        moved[:, :by] = rows[:, -by:]
    return moved


def _log_sum(*terms):
    return np.logaddexp(np.logaddexp(terms[0], terms[1]), terms[2])


class _Ways:
    """What both directions need: of (batch, steps, states), which there are, and what each emits."""

    def __init__(self, log_probs, targets, input_lengths, target_lengths, blank):
        self.labels, self.inside = _labels(targets, target_lengths, blank, log_probs.shape[2])
        wide = np.broadcast_to(self.labels, (log_probs.shape[0], *self.labels.shape))
        emitted = np.take_along_axis(log_probs, wide, 2).swapaxes(0, 1)
        self.running = np.arange(log_probs.shape[0]) < np.array(input_lengths, int)[:, None]
        self.emitted = np.where(self.inside[:, None] & self.running[..., None], emitted, -np.inf)
        self.skips = np.zeros(self.labels.shape, bool)
        self.skips[:, 2:] = self.labels[:, 2:] != self.labels[:, :-2]
        last = 2 * np.array(target_lengths, int)[:, None]
        state = np.arange(self.labels.shape[1])
        self.ends = self.inside & (state >= last - 1) & (state <= last)

    def alpha(self):
        """The logarithm of the probability of all ways to each state at each step."""
        alpha = self.emitted.copy()
        alpha[:, :1, 2:] = -np.inf
        for time in range(1, alpha.shape[1]):
            now = alpha[:, time - 1]
            skip = np.where(self.skips, _shifted(now, 2), -np.inf)
            alpha[:, time] += _log_sum(now, _shifted(now, 1), skip)
        return alpha

    def onward(self):
        """The logarithm of the probability of all ways from each state on, without what it emits itself."""
        onward = np.full_like(self.emitted, -np.inf)
        may_skip = np.zeros_like(self.skips)
        may_skip[:, :-2] = (self.skips & self.inside)[:, 2:]
        start = np.where(self.ends, 0, -np.inf)
        for time in range(onward.shape[1] - 1, -1, -1):
            is_last = self.running[:, time] & ~self.running[:, time + 1 : time + 2].any(1)
            if time + 1 < onward.shape[1]:
                beta = onward[:, time + 1] + self.emitted[:, time + 1]
                skip = np.where(may_skip, _shifted(beta, -2), -np.inf)
                onward[:, time] = _log_sum(beta, _shifted(beta, -1), skip)
            onward[is_last, time] = start[is_last]
        return onward

    def total(self, alpha, input_lengths):
        """The logarithm of the probability of each target."""
        lengths = np.array(input_lengths, int)
        row = alpha[np.arange(len(alpha)), np.maximum(lengths, 1) - 1] if alpha.shape[1] else alpha[:, 0:0].sum(1)
        last = np.where(self.ends & (lengths > 0)[:, None], row, -np.inf)
        empty = (lengths == 0) & (self.inside.sum(1) == 1)
        return np.where(empty, 0, np.logaddexp.reduce(last, axis=1))


class CtcLoss(Op):
    """-log of the probability of all alignments of each target with its input; and the logarithms alpha of the ways.

    log_probs (steps, batch, classes); targets, int64, (batch, longest) or one after another. With `zero_infinity` a
    target that cannot be aligned costs nothing. Alpha (batch, steps, states) is for the gradient, which takes log_probs
    for normalised, as PyTorch's does: it is that of the loss by what a log_softmax made them of.
    """

    saves = ("log_probs", "targets", "output")
    widens = True

    @staticmethod
    def reference(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
        ways = _Ways(log_probs, targets, input_lengths, target_lengths, blank)
        alpha = ways.alpha()
        loss = -ways.total(alpha, input_lengths)
        if zero_infinity:
            loss = np.where(loss == np.inf, 0, loss)
        return loss.astype(log_probs.dtype), alpha.astype(log_probs.dtype)

    @staticmethod
    def differentiable_at(*sample):
        """The gradient is exact behind a log_softmax only, which a test has in front of it."""
        return False

    def forward(self, log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
        """One launch, a program a sequence."""
        steps, batch, classes = log_probs.shape
        width = 2 * max(target_lengths, default=0) + 1
        kind = accumulator(log_probs.dtype)
        loss, alpha = empty_like(log_probs, (batch,)), empty_like(log_probs, (batch, steps, width), kind)
        if batch:
            targets = as_contiguous(targets)
            plan = transfer.from_host(_plan(targets, input_lengths, target_lengths), device_of(log_probs))
            arrays = (log_probs, targets, plan, loss, alpha)
            config = alpha_kernel.config(arrays, states=width, ZERO_INFINITY=zero_infinity)
            alpha_kernel[(batch,)](
                *arrays, steps, batch, classes, width, blank, element_strides(log_probs),
                ZERO_INFINITY=zero_infinity, COMPUTE=triton_dtype(kind), **config,
            )  # fmt: skip
        return loss, alpha

    def backward(self, grad, grad_alpha=None):
        """Fused; nothing is differentiated by alpha."""
        log_probs, targets, *rest = self.inputs
        alpha = self.outputs[1].detach()
        return (CtcGradient.apply(grad, log_probs, targets, alpha, *rest),)

    @staticmethod
    def terms(log_probs, *settings):
        return log_probs.shape[0]

    @staticmethod
    def samples(draw):
        def log_probs(*shape):
            x = draw(*shape)
            return (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(x.dtype)

        labels = draw.integers(1, 5, 3, 4)
        yield log_probs(7, 3, 5), labels, (7, 5, 6), (3, 1, 2), 0, False
        yield log_probs(7, 3, 5), np.array([1, 1, 2, 2, 3]), (7, 6, 4), (3, 0, 2), 0, False
        yield log_probs(3, 3, 9).T[:5], draw.integers(0, 2, 3, 2)[::-1], (5,) * 3, (2,) * 3, 2, True
        yield log_probs(4, 2, 3), np.array([[1, 1, 1], [2, 1, 2]]), (4, 0), (3, 2), 0, True
        yield log_probs(12, 1, 3), draw.integers(1, 3, 1, 9), (12,), (9,), 0, True

    @staticmethod
    def sized(draw, T=256, N=32, C=64, S=64):
        x = draw(T, N, C)
        log_probs = (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(x.dtype)
        return log_probs, draw.integers(1, C, N, S), (T,) * N, (S,) * N, 0, True


class CtcGradient(Op):
    """(exp log_probs - the probability of each class at each step given the target) grad, 0 behind the inputs' ends."""

    widens = True

    @staticmethod
    def reference(
        grad, log_probs, targets, alpha, input_lengths, target_lengths, blank, zero_infinity
    ):  # fmt: skip
        ways = _Ways(log_probs, targets, input_lengths, target_lengths, blank)
        reached, total = alpha + ways.onward(), ways.total(alpha, input_lengths)[:, None, None]
        shares = np.where(reached == -np.inf, 0, np.exp(reached - np.where(total == -np.inf, 0, total)))
        by_class = np.zeros(log_probs.shape, log_probs.dtype)
        step, row = np.arange(log_probs.shape[0])[:, None, None], np.arange(log_probs.shape[1])[:, None]
        np.add.at(by_class, (step, row, ways.labels), shares.swapaxes(0, 1))
        lost = (total[:, 0] == -np.inf) & (np.array(input_lengths, int) > 0)[:, None]
        slope = np.where(lost, 0 if zero_infinity else np.nan, np.exp(log_probs) - by_class)
        return np.where(ways.running.T[..., None], slope * grad[:, None], 0).astype(log_probs.dtype)

    def forward(self, grad, log_probs, targets, alpha, input_lengths, target_lengths, blank, zero_infinity):
        """Back through time, a program a sequence; then a launch that gathers states by class."""
        steps, batch, classes = log_probs.shape
        out, width = empty_like(log_probs), alpha.shape[2]
        if out.size == 0:
            return out
        kind = accumulator(log_probs.dtype)
        shares, beta = empty_like(alpha, dtype=kind), empty_like(alpha, (batch, 2, width), kind)
        targets, alpha = as_contiguous(targets), as_contiguous(alpha)
        plan = transfer.from_host(_plan(targets, input_lengths, target_lengths), device_of(log_probs))
        constants = {"ZERO_INFINITY": zero_infinity, "COMPUTE": triton_dtype(kind)}
        sizes = (steps, batch, classes, width, blank, element_strides(log_probs))
        arrays = (log_probs, targets, plan, alpha, beta, shares)
        config = share_kernel.config(arrays, states=width, ZERO_INFINITY=zero_infinity)
        share_kernel[(batch,)](*arrays, *sizes, **constants, **config)
        arrays = (as_contiguous(grad), log_probs, targets, plan, shares, alpha, out)
        config = ctc_gradient_kernel.config(
            arrays, steps=steps, states=width, classes=classes, ZERO_INFINITY=zero_infinity
        )
        ctc_gradient_kernel[(batch, cdiv(steps, config["STEPS"]))](*arrays, *sizes, **constants, **config)
        return out

    @staticmethod
    def terms(grad, log_probs, *settings):
        return log_probs.shape[0]

    @staticmethod
    def fitted(grad, log_probs, targets, alpha, *rest):
        """The logarithms that the loss gives."""
        return grad, log_probs, targets, CtcLoss.host(log_probs, targets, *rest)[1], *rest

    @staticmethod
    def samples(draw):
        for sample in CtcLoss.samples(draw):
            alpha = CtcLoss.host(*sample)[1]
            yield (draw(sample[0].shape[1]), *sample[:2], alpha, *sample[2:])

    @staticmethod
    def sized(draw, T=256, N=32, C=64, S=64):
        sample = CtcLoss.sized(draw, T, N, C, S)
        return draw(N), *sample[:2], CtcLoss.host(*sample)[1], *sample[2:]
