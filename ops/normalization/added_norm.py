"""layer_norm and rms_norm of a sum, as between the blocks of a transformer: the sum is never read again."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.normalization import batched
from tritorch.ops.normalization.norm import as_wanted, composed_gradients, through_statistics, wide
from tritorch.ops.normalization.row_norm import LayerNorm, RmsNorm
from tritorch.ops.normalization.rows_kernel import launch_added_norm
from tritorch.ops.pointwise.arithmetic import Add


class AddedNorm(Op, abstract=True):
    """A normalisation over the last dimensions of input + residual; that sum, the mean, if `centred`, and the variance.

    Both have one shape and may differ in dtype; the results have the wider one. weight and bias may be None.
    """

    saves = ("weight", "output")
    batch = batched.added_rows
    of: type  # the normalisation

    @classmethod
    def host(cls, input, residual, weight, bias, layout, eps):
        """The sum, and its norm, which is taken before the sum is narrowed."""
        kind = Add.promoted((input, residual))[1]
        total = np.ascontiguousarray(Add.host(*wide(input, residual)))
        out, *statistics = cls.of.host(total, *wide(weight, bias), layout, eps)
        return *(each.astype(kind, copy=False) for each in (out, total)), *statistics

    def forward(self, input, residual, weight, bias, layout, eps):
        """One launch."""
        out, total, mean, variance = launch_added_norm(
            input, residual, weight, bias, layout, eps, self.of.centred, Add.promoted((input, residual))[1]
        )
        return (out, total, mean, variance) if self.of.centred else (out, total, variance)

    def backward(self, grad, grad_total=None, *statistics):
        """The gradient of the normalisation and that of the sum, for both of its terms, in one launch."""
        _, _, weight, _, layout, eps = self.inputs
        total, slope, sums = self.outputs[0], grad_total, (None, None)
        if grad is not None and self.recording:
            slope, *sums = composed_gradients(grad, total, weight, layout, eps, self.of.centred)
            slope = slope if grad_total is None else slope + grad_total
        elif grad is not None:
            mean, variance = (None, *(each.detach() for each in self.outputs[1:]))[-2:]
            biased = self.edges[3] is not None
            slope, *sums = self.of.gradients.apply(
                grad, grad_total, total.detach(), weight, mean, variance, layout, eps, biased
            )  # fmt: skip
            sums = (*sums, None)[:2]
        for share in through_statistics(*(None, None, *statistics)[-2:], total, layout, self.of.centred):
            slope = share if slope is None else slope + share
        return slope, slope, *as_wanted(self.edges[2:4], sums)

    @classmethod
    def samples(cls, draw):
        for input, *rest in cls.of.samples(draw):
            yield input, draw(*input.shape), *rest
        input, *rest = next(cls.of.samples(draw))
        yield np.repeat(input, 2, 0)[::2], draw(*input.shape[::-1]).T, *rest

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        input, *rest = cls.of.sized(draw, M, N)
        return input, draw(M, N), *rest


class AddLayerNorm(AddedNorm):
    """layer_norm of input + residual over the last dimensions; that sum, and the mean and variance."""

    of, saved_results = LayerNorm, (1, 2, 3)

    @staticmethod
    def reference(input, residual, weight, bias, layout, eps):
        total = input + residual
        out, *statistics = LayerNorm.reference(total, weight, bias, layout, eps)
        return out, total, *statistics


class AddRmsNorm(AddedNorm):
    """rms_norm of input + residual over the last dimensions; that sum, and the mean square."""

    of, saved_results = RmsNorm, (1, 2)

    @staticmethod
    def reference(input, residual, weight, bias, layout, eps):
        total = input + residual
        out, *statistics = RmsNorm.reference(total, weight, bias, layout, eps)
        return out, total, *statistics
