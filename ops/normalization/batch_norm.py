"""batch_norm: each channel normalised over a batch, by its own mean and variance or by given ones."""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.formula import formula, sqrt
from tritorch.ops.layout import formatted_as
from tritorch.ops.normalization import batched
from tritorch.ops.normalization.channel_map import channel_norm_kernel, channel_slope_kernel, launch_map, rows_of
from tritorch.ops.normalization.channels_kernel import launch_moments
from tritorch.ops.normalization.host import batch_inference_on_host, batch_norm_on_host, batch_slope_on_host
from tritorch.ops.normalization.layout import over_batch
from tritorch.ops.normalization.norm import ChannelSums, Norm, normalised, wide
from tritorch.ops.pointwise.kernel import launch_pointwise
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import dtypes


@formula
def batch_normalised(x, mean, variance, weight, bias, eps):
    return (x - mean) * (weight / sqrt(variance + eps)) + bias


@formula
def batch_slope(grad, x, mean, variance, weight, products, sums, eps, count):
    scale = 1 / sqrt(variance + eps)
    return weight * scale * (grad - sums / count - (x - mean) * (scale * products / count))


def _by_channel(layout, *arrays):
    return [None if each is None else each.reshape(layout.channels) for each in arrays]


def launch_normalised(input, mean, variance, weight, bias, layout, eps):
    """Each channel normalised by a mean and a variance, in one launch."""
    lying = rows_of(input)
    if lying is not None:
        vectors = (mean, variance, weight, bias)
        return launch_map(channel_norm_kernel, (input,), vectors, eps, channels=layout.shape[1], lying=lying)
    mean, variance, weight, bias = _by_channel(layout, mean, variance, weight, bias)
    weight, bias = 1.0 if weight is None else weight, 0.0 if bias is None else bias
    return launch_pointwise(
        "batch_norm", batch_normalised, (input, mean, variance, weight, bias, eps), computed_in(input.dtype),
        input.dtype, lying=formatted_as(input),
    )  # fmt: skip


class BatchNorm(Norm):
    """(x - mean) / sqrt(variance + eps) * weight + bias for each channel of (N, C, *); and mean and variance.

    Source: Ioffe and Szegedy, "Batch normalization", 2015.
    """

    batch = batched.channels
    fast = staticmethod(batch_norm_on_host)
    slope_needs_sums = True

    def forward(self, input, weight, bias, layout, eps):
        """Two launches for mean and variance, one that normalises."""
        mean, variance = launch_moments(input, layout)
        return launch_normalised(input, mean, variance, weight, bias, layout, eps), mean, variance

    @staticmethod
    def samples(draw):
        for shape in ((4, 3), (2, 3, 5), (3, 2, 4, 5), (2, 1, 1030), (1025, 3), (2, 0, 3)):
            channels = shape[1]
            yield draw(*shape), draw.uniform(0.5, 1.5, channels), draw(channels), over_batch(shape), 1e-5
        yield draw(3, 2, 5) + 100, None, None, over_batch((3, 2, 5)), 1e-3
        yield draw(3, 5, 2).transpose(0, 2, 1), draw(2), None, over_batch((3, 2, 5)), 0.1
        yield draw(6, 3, 4)[::-2], None, draw(3), over_batch((3, 3, 4)), 1e-5
        for shape in ((2, 4, 5, 3), (2, 3, 4, 40)):  # channels innermost
            last = draw(*shape).transpose(0, 3, 1, 2)
            yield last, draw(shape[3]), draw(shape[3]), over_batch(last.shape), 1e-5

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28):
        shape = (N, C, H, W)
        return draw(*shape), draw.uniform(0.5, 1.5, C), draw(C), over_batch(shape), 1e-5


class BatchNormBackward(Op):
    """weight scale (grad - sums / n - x products / n): the gradient of batch_norm, where x is the normalised input.

    `sums` and `products` are, for each channel, the sums of grad and of grad x.
    """

    batch = batched.channels_backward

    @staticmethod
    def reference(grad, input, weight, mean, variance, products, sums, layout, eps):
        mean, variance, weight, products, sums = _by_channel(layout, mean, variance, weight, products, sums)
        count = np.asarray(layout.count, variance.dtype)
        weight, eps = 1 if weight is None else weight, np.asarray(eps, variance.dtype)
        return batch_slope.fn(grad, input, mean, variance, weight, products, sums, eps, count)

    @classmethod
    def host(cls, grad, input, weight, mean, variance, products, sums, layout, eps):
        """In float32 at least, narrowed once."""
        grad, wide_input, weight = wide(grad, input, weight)
        out = batch_slope_on_host(grad, wide_input, weight, mean, variance, products, sums, layout, eps)
        return out.astype(input.dtype, copy=False)

    def forward(self, grad, input, weight, mean, variance, products, sums, layout, eps):
        """One launch."""
        lying = rows_of(grad, input)
        if lying is not None:
            vectors, numbers = (mean, variance, weight, products, sums), (eps, float(layout.count))
            return launch_map(
                channel_slope_kernel, (grad, input), vectors, *numbers, channels=layout.shape[1], lying=lying
            )
        mean, variance, weight, products, sums = _by_channel(layout, mean, variance, weight, products, sums)
        weight = 1.0 if weight is None else weight
        return launch_pointwise(
            self.op_name, batch_slope,
            (grad, input, mean, variance, weight, products, sums, eps, float(layout.count)),
            computed_in(input.dtype), input.dtype, lying=formatted_as(input),
        )  # fmt: skip

    @staticmethod
    def samples(draw):
        for input, weight, bias, layout, eps in BatchNorm.samples(draw):
            _, mean, variance = BatchNorm.host(input, weight, bias, layout, eps)
            grad = draw(*input.shape)
            products, sums = ChannelSums.host(grad, input, mean, variance, layout, eps)
            yield grad, input, weight, mean, variance, products, sums, layout, eps

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28):
        input, weight, bias, layout, eps = BatchNorm.sized(draw, N, C, H, W)
        _, mean, variance = BatchNorm.host(input, weight, bias, layout, eps)
        grad = draw(*input.shape)
        sums = ChannelSums.host(grad, input, mean, variance, layout, eps)
        return grad, input, weight, mean, variance, *sums, layout, eps


BatchNorm.slope = BatchNormBackward


class BatchNormInference(Op):
    """(x - mean) / sqrt(variance + eps) * weight + bias for each channel of (N, C, *), by a given mean and variance.

    weight and bias may be None; mean and variance have no gradient.
    """

    batch = batched.inference
    saves = ("input", "weight", "mean", "variance")

    @staticmethod
    def reference(input, weight, bias, mean, variance, layout, eps):
        return normalised(input, *_by_channel(layout, mean, variance), weight, bias, layout, eps)

    @classmethod
    def host(cls, input, weight, bias, mean, variance, layout, eps):
        """In float32 at least, narrowed once."""
        found = batch_inference_on_host(*wide(input, weight, bias, mean, variance), layout, eps)
        return found.astype(input.dtype, copy=False)

    def forward(self, input, weight, bias, mean, variance, layout, eps):
        """One launch."""
        return launch_normalised(input, mean, variance, weight, bias, layout, eps)

    def backward(self, grad):
        """grad weight / sqrt(variance + eps); for the weight the sums of grad x, for the bias those of grad."""
        input, weight, _, mean, variance, layout, eps = self.inputs
        kind = dtypes.of(dtypes.COMPUTE[input.array.dtype])
        scale = (variance.to(kind) + eps).rsqrt().reshape(layout.channels)
        slope = products = sums = None
        if self.edges[0] is not None:
            slope = grad * (scale if weight is None else scale * weight.reshape(layout.channels))
        if self.edges[1] is not None and not self.recording:
            products, sums = ChannelSums.apply(grad, input, mean.to(kind), variance.to(kind), layout, eps)
        elif self.edges[1] is not None:
            products = (grad * (input - mean.reshape(layout.channels)) * scale).sum_to_size(layout.channels)
        if self.edges[2] is not None and sums is None:
            sums = grad.sum_to_size(layout.channels)
        products, sums = (None if edge is None else each.reshape(edge[2])
                          for edge, each in zip(self.edges[1:3], (products, sums), strict=True))  # fmt: skip
        return slope, products, sums

    @staticmethod
    def samples(draw):
        for input, weight, bias, layout, eps in BatchNorm.samples(draw):
            channels = layout.shape[1]
            yield input, weight, bias, draw(channels), draw.uniform(0.5, 1.5, channels), layout, eps

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28):
        input, weight, bias, layout, eps = BatchNorm.sized(draw, N, C, H, W)
        return input, weight, bias, draw(C), draw.uniform(0.5, 1.5, C), layout, eps
