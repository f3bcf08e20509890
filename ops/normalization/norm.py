"""What all normalisations share: the formula, its gradient by compositions, and the gradients of weight and bias."""

from __future__ import annotations

import itertools

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.normalization.channels_kernel import launch_channel_sums
from tritorch.ops.normalization.host import channel_sums_on_host
from tritorch.ops.normalization.layout import over_batch
from tritorch.ops.reduction.family import PLAIN
from tritorch.runtime import dtypes


def mean_of(x, axes):
    """The mean over `axes`, which stay; NaN where there is nothing, without NumPy's warning."""
    total = np.sum(x, axis=axes, keepdims=True)
    return total / np.asarray(x.size // max(total.size, 1), x.dtype)


def normalised(input, mean, variance, weight, bias, layout, eps):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean, weight and bias may be None."""
    x = input.reshape(layout.shape)
    hat = (x if mean is None else x - mean) / np.sqrt(variance + np.asarray(eps, x.dtype))
    hat = hat if weight is None else hat * weight.reshape(layout.channels)
    return (hat if bias is None else hat + bias.reshape(layout.channels)).reshape(input.shape)


def wide(*arrays):
    """Half types as float32, the others as they are."""
    return [a if a is None or a.dtype in PLAIN else a.astype(dtypes.COMPUTE[a.dtype]) for a in arrays]


class Norm(Op, abstract=True):
    """An op that normalises a tensor as a Layout says; the results are that, the mean (if `centred`) and the variance.

    weight and bias may be None. The mean and the variance are float32 at least.
    """

    saves = ("input", "weight", "output")
    saved_results: tuple[int, ...] | None = (1, 2)
    centred = True
    slope: type[Op]  # the op of the gradient by the input
    slope_needs_sums = False

    @classmethod
    def register(cls):
        """Keep a list of members."""
        super().register()
        NORMS.append(cls)

    @staticmethod
    def reference(input, weight, bias, layout, eps):
        x = input.reshape(layout.shape)
        mean = mean_of(x, layout.axes)
        variance = mean_of((x - mean) ** 2, layout.axes)
        out = normalised(input, mean, variance, weight, bias, layout, eps)
        return out, mean.reshape(-1), variance.reshape(-1)

    @classmethod
    def host(cls, input, weight, bias, layout, eps):
        """In float32 at least; only the normalised tensor is narrowed."""
        out, *statistics = cls.fast(*wide(input, weight, bias), layout, eps)
        return (out.astype(input.dtype, copy=False), *statistics)

    def backward(self, grad, *statistics):
        """scale (g - mean g - x mean(g x)) for the normalised x, where g = grad weight and scale = 1 / sqrt(...)."""
        slope, products, sums = (None, None, None) if grad is None else self._gradients(grad)
        if self.edges[0] is not None:
            input, layout = self.inputs[0], self.inputs[3]
            for share in through_statistics(*(None, None, *statistics)[-2:], input, layout, self.centred):
                slope = share if slope is None else slope + share
        return slope, products, sums

    def _gradients(self, grad):
        """The gradients of input, weight and bias by ops that are each one kernel, unless they are recorded."""
        input, weight, _, layout, eps = self.inputs
        if self.recording:
            slope, *sums = composed_gradients(grad, input, weight, layout, eps, self.centred)
            return slope, *as_wanted(self.edges[1:3], sums)
        mean, variance = (None, *(each.detach() for each in self.outputs))[-2:]
        wanted, sums, slope = self.edges[1:3], (None, None), None
        if self.slope_needs_sums or wanted != [None, None]:
            sums = ChannelSums.apply(grad, input, mean, variance, layout, eps)
        if self.edges[0] is not None:
            more = sums if self.slope_needs_sums else ()
            slope = self.slope.apply(grad, input, weight, mean, variance, *more, layout, eps)
        return slope, *as_wanted(wanted, sums)


def as_wanted(edges, sums):
    """The gradients of weight and bias in their shapes, where they are wanted; None where there is none."""
    for edge, each in zip(edges, sums, strict=True):
        if edge is None or each is None:
            yield None
        else:
            yield each if each.array.shape == edge[2] else each.reshape(edge[2])


def _apart(input, layout, centred):
    """The input by its layout, in float32 at least, less its mean."""
    x = input.reshape(layout.shape).to(dtypes.of(dtypes.COMPUTE[input.array.dtype]))
    return x - x.mean(layout.axes, True) if centred else x


def composed_gradients(grad, input, weight, layout, eps, centred):
    """The gradients of input, weight and bias as compositions of ops, which have gradients."""
    axes, apart = layout.axes, _apart(input, layout, centred)
    scale = ((apart * apart).mean(axes, True) + eps).rsqrt()
    hat, g = apart * scale, grad.reshape(layout.shape).to(apart.dtype)
    products, sums = (each.sum_to_size(layout.channels) for each in (g * hat, g))
    g = g if weight is None else g * weight.reshape(layout.channels)
    level = g - g.mean(axes, True) if centred else g
    return (scale * (level - hat * (g * hat).mean(axes, True))).reshape(grad.shape), products, sums


def through_statistics(mean, variance, input, layout, centred):
    """What comes to the input through the mean and the variance, from their gradients, which may be None."""
    shape = input.array.shape
    if mean is not None:
        yield (mean / layout.count).reshape(layout.statistics).expand(layout.shape).reshape(shape)
    if variance is not None:
        factor = (variance * (2 / layout.count)).reshape(layout.statistics)
        yield (factor * _apart(input, layout, centred)).reshape(shape)


class ChannelSums(Op):
    """For each channel of a Layout the sums of grad x and of grad, where x is the normalised input.

    They are the gradients of a normalisation by its weight and bias. `mean` may be None.
    """

    @staticmethod
    def reference(grad, input, mean, variance, layout, eps):
        g, x = grad.reshape(layout.shape), input.reshape(layout.shape)
        x = x if mean is None else x - mean.reshape(layout.statistics)
        hat = x / np.sqrt(variance.reshape(layout.statistics) + np.asarray(eps, variance.dtype))
        return tuple(np.sum(each, axis=layout.summed).reshape(-1) for each in (g * hat, g))

    @classmethod
    def host(cls, grad, input, mean, variance, layout, eps):
        """In float32 at least."""
        return channel_sums_on_host(*wide(grad, input), mean, variance, layout, eps)

    def forward(self, grad, input, mean, variance, layout, eps):
        """One launch, and one for each sum where channels are few."""
        return launch_channel_sums(grad, input, mean, variance, layout, eps)

    @staticmethod
    def samples(draw):
        for op in NORMS:
            for input, _, _, layout, eps in itertools.islice(op.samples(draw), 6):
                _, *statistics = op.host(input, None, None, layout, eps)
                yield draw(*input.shape), input, *(None, *statistics)[-2:], layout, eps

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28):
        shape = (N, C, H, W)
        return draw(*shape), draw(*shape), *wide(draw(C), draw.uniform(0.5, 1.5, C)), over_batch(shape), 1e-5


NORMS: list[type[Norm]] = []  # all of them, for samples
