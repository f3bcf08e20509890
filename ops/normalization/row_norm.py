"""layer_norm, rms_norm and group_norm: what is normalised together is a row, and one launch does it."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import Op
from tritorch.ops.normalization import batched
from tritorch.ops.normalization.gradients_kernel import launch_norm_gradients
from tritorch.ops.normalization.group_kernel import fits_tiles, launch_group_gradients, launch_group_slope
from tritorch.ops.normalization.group_places import group_norm_by_place, group_slope_by_place
from tritorch.ops.normalization.host import norm_backward_on_host, norm_gradients_on_host, norm_on_host
from tritorch.ops.normalization.layout import over_groups, over_last, written_order
from tritorch.ops.normalization.norm import ChannelSums, Norm, as_wanted, mean_of, normalised, wide
from tritorch.ops.normalization.rows_kernel import launch_norm, launch_norm_backward


class RowNorm(Norm, abstract=True):
    """A normalisation of rows."""

    batch = batched.rows
    gradients: type[Op]  # the op of all gradients at once

    @classmethod
    def fast(cls, input, weight, bias, layout, eps):
        """A few passes over rows that stay in the cache."""
        if written_order(input, layout) is not None:
            return group_norm_by_place(input, weight, bias, layout, eps)
        return norm_on_host(input, weight, bias, layout, eps, cls.centred)

    def forward(self, input, weight, bias, layout, eps):
        """One launch."""
        out, mean, variance = launch_norm(input, weight, bias, layout, eps, self.centred)
        return (out, mean, variance) if self.centred else (out, variance)

    def _gradients(self, grad):
        """All at once where that of the input is wanted and another one."""
        if self.recording or self.edges[0] is None or self.edges[1:3] == [None, None]:
            return super()._gradients(grad)
        input, weight, _, layout, eps = self.inputs
        mean, variance = (None, *(each.detach() for each in self.outputs))[-2:]
        slope, *sums = self._together(grad, input, weight, mean, variance, layout, eps)
        return slope, *as_wanted(self.edges[1:3], (*sums, None)[:2])

    def _together(self, grad, *rest):
        """The gradients of the input, the weight and, if wanted, the bias."""
        return self.gradients.apply(grad, None, *rest, self.edges[2] is not None)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return _last(draw, M, N)


class RowNormBackward(Op, abstract=True):
    """The gradient of a normalisation of rows by its input; weight and mean may be None."""

    batch = batched.rows_backward

    @staticmethod
    def reference(grad, input, weight, mean, variance, layout, eps):
        g, x = grad.reshape(layout.shape), input.reshape(layout.shape)
        scale = 1 / np.sqrt(variance.reshape(layout.statistics) + np.asarray(eps, variance.dtype))
        hat = (x if mean is None else x - mean.reshape(layout.statistics)) * scale
        g = g if weight is None else g * weight.reshape(layout.channels)
        level = g if mean is None else g - mean_of(g, layout.axes)
        return (scale * (level - hat * mean_of(g * hat, layout.axes))).reshape(input.shape)

    @classmethod
    def host(cls, grad, input, weight, mean, variance, layout, eps):
        """In float32 at least, narrowed once."""
        compute = norm_backward_on_host if written_order(input, layout) is None else group_slope_by_place
        found = compute(*wide(grad, input, weight), mean, variance, layout, eps)
        return found.astype(input.dtype, copy=False)

    @classmethod
    def samples(cls, draw):
        for input, weight, bias, layout, eps in cls.of.samples(draw):
            _, *statistics = cls.of.host(input, weight, bias, layout, eps)
            yield draw(*input.shape), input, weight, *(None, *statistics)[-2:], layout, eps

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        input, weight, bias, layout, eps = cls.of.sized(draw, M, N)
        _, *statistics = cls.of.host(input, weight, bias, layout, eps)
        return draw(M, N), input, weight, *(None, *statistics)[-2:], layout, eps

    def forward(self, grad, input, weight, mean, variance, layout, eps):
        """One launch."""
        return launch_norm_backward(grad, input, weight, mean, variance, layout, eps)


class RowNormGradients(Op, abstract=True):
    """The gradients of a normalisation over the last dimensions by its input, weight and, if `biased`, bias.

    `more`, a gradient that comes to the input from elsewhere, is added; it, weight and mean may be None.
    """

    @classmethod
    def host(cls, grad, more, input, weight, mean, variance, layout, eps, biased):
        """In float32 at least, narrowed once."""
        slope, *sums = norm_gradients_on_host(*wide(grad, input, weight), mean, variance, layout, eps)
        if more is not None:
            slope = np.add(slope, more, slope, casting="unsafe")
        kind = (input if weight is None else weight).dtype
        return slope.astype(input.dtype, copy=False), *(each.astype(kind, copy=False) for each in sums[: 1 + biased])

    def forward(self, grad, more, input, weight, mean, variance, layout, eps, biased):
        """Two launches."""
        slope, *sums = launch_norm_gradients(grad, more, input, weight, mean, variance, layout, eps, biased)
        return slope, *sums[: 1 + biased]

    @classmethod
    def samples(cls, draw):
        for number, (input, weight, bias, layout, eps) in enumerate(cls.of.samples(draw)):
            _, *statistics = cls.of.host(input, weight, bias, layout, eps)
            more = draw(*input.shape) if number % 2 else None
            yield draw(*input.shape), more, input, weight, *(None, *statistics)[-2:], layout, eps, number % 3 < 2

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        input, weight, bias, layout, eps = cls.of.sized(draw, M, N)
        _, *statistics = cls.of.host(input, weight, bias, layout, eps)
        return draw(M, N), None, input, weight, *(None, *statistics)[-2:], layout, eps, cls.of.centred


def _gradients_of(slope):
    """The reference of a RowNormGradients, from the op of the gradient by the input."""

    def reference(grad, more, input, weight, mean, variance, layout, eps, biased):
        found = slope.reference(grad, input, weight, mean, variance, layout, eps)
        sums = ChannelSums.reference(grad, input, mean, variance, layout, eps)
        return found if more is None else found + more, *sums[: 1 + biased]

    return staticmethod(reference)


def _last(draw, *shape, dims=1, affine=True):
    own = shape[len(shape) - dims :]
    weight, bias = (draw.uniform(0.5, 1.5, *own), draw(*own)) if affine else (None, None)
    return draw(*shape), weight, bias, over_last(shape, dims), 1e-5


class LayerNorm(RowNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions of x; and mean and variance.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016.
    """

    autocast = FLOAT32_ON_GPUS
    shown_as = "NativeLayerNorm"

    @staticmethod
    def samples(draw):
        yield _last(draw, 5, 7)
        yield _last(draw, 3, 4, 5, dims=2)
        yield _last(draw, 3, 4, 5, dims=3, affine=False)
        yield _last(draw, 1025, 3)
        yield _last(draw, 2, 9001)
        yield _last(draw, 0, 3)
        yield _last(draw, 7, 1, affine=False)
        yield draw(6, 4).T, *_last(draw, 4, 6)[1:]
        yield draw(9, 5)[::-2], None, draw(5), over_last((5, 5), 1), 1e-5
        yield np.broadcast_to(draw(3, 1, 4), (3, 2, 4)), draw(2, 4), None, over_last((3, 2, 4), 2), 0.1
        yield draw(3, 5, 4).transpose(0, 2, 1) * 3 + 100, draw(4, 5), draw(4, 5), over_last((3, 4, 5), 2), 1e-3


class LayerNormBackward(RowNormBackward):
    """The gradient of layer_norm by its input."""

    of = LayerNorm


class LayerNormGradients(RowNormGradients):
    """The gradients of layer_norm by its input, weight and bias."""

    of = LayerNorm
    reference = _gradients_of(LayerNormBackward)


LayerNorm.slope, LayerNorm.gradients = LayerNormBackward, LayerNormGradients


class RmsNorm(RowNorm):
    """x / sqrt(mean x^2 + eps) * weight + bias over the last dimensions of x; and the mean square.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    autocast = FLOAT32_ON_GPUS
    saved_results = (1,)
    centred = False

    @staticmethod
    def reference(input, weight, bias, layout, eps):
        square = mean_of(input.reshape(layout.shape) ** 2, layout.axes)
        return normalised(input, None, square, weight, bias, layout, eps), square.reshape(-1)

    @staticmethod
    def samples(draw):
        yield _last(draw, 5, 7)
        yield _last(draw, 3, 4, 5, dims=2, affine=False)
        yield _last(draw, 1025, 3)
        yield _last(draw, 2, 9001)
        yield _last(draw, 0, 3)
        yield draw(6, 4).T, draw(6), None, over_last((4, 6), 1), 1e-5


class RmsNormBackward(RowNormBackward):
    """The gradient of rms_norm by its input."""

    of = RmsNorm


class RmsNormGradients(RowNormGradients):
    """The gradients of rms_norm by its input, weight and bias."""

    of = RmsNorm
    reference = _gradients_of(RmsNormBackward)


RmsNorm.slope, RmsNorm.gradients = RmsNormBackward, RmsNormGradients


def _grouped(draw, *shape, groups, affine=True):
    weight, bias = (draw.uniform(0.5, 1.5, shape[1]), draw(shape[1])) if affine else (None, None)
    return draw(*shape), weight, bias, over_groups(shape, groups), 1e-5


class GroupNorm(RowNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias over groups of channels of (N, C, *); and mean and variance.

    Source: Wu and He, "Group normalization", 2018.
    """

    batch = batched.groups
    autocast = FLOAT32_ON_GPUS

    @staticmethod
    def samples(draw):
        yield _grouped(draw, 2, 6, 5, groups=3)
        yield _grouped(draw, 3, 4, 3, 2, groups=1)
        yield _grouped(draw, 3, 4, groups=2)
        yield _grouped(draw, 3, 4, groups=1)  # a weight for each element of a row
        yield _grouped(draw, 3, 4, 5, groups=4, affine=False)
        yield _grouped(draw, 2, 4, 4100, groups=2)
        yield _grouped(draw, 0, 4, 5, groups=2)
        x, *rest = _grouped(draw, 2, 6, 5, groups=2)
        yield np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1), *rest
        for channels, groups in ((6, 3), (40, 2)):  # channels innermost
            x, *rest = _grouped(draw, 2, channels, 4, 5, groups=groups)
            yield np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), *rest

    def _gradients(self, grad):
        """One by one where a group has more channels than a tile takes."""
        return super()._gradients(grad) if fits_tiles(self.inputs[3]) else Norm._gradients(self, grad)

    def _together(self, *arguments):
        return self.gradients.apply(*arguments)

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28, groups=32):
        return _grouped(draw, N, C, H, W, groups=groups)


class GroupNormBackward(RowNormBackward):
    """The gradient of group_norm by its input."""

    batch = batched.groups_backward
    of = GroupNorm

    def forward(self, *arguments):
        """One launch, or two where groups are few and large."""
        return (launch_group_slope if fits_tiles(arguments[5]) else launch_norm_backward)(*arguments)

    @classmethod
    def sized(cls, draw, N=32, C=256, H=28, W=28, groups=32):
        input, weight, bias, layout, eps = GroupNorm.sized(draw, N, C, H, W, groups)
        _, mean, variance = GroupNorm.host(input, weight, bias, layout, eps)
        return draw(N, C, H, W), input, weight, mean, variance, layout, eps


class GroupNormGradients(Op):
    """The gradients of group_norm by its input, weight and bias; weight may be None."""

    @staticmethod
    def reference(grad, input, weight, mean, variance, layout, eps):
        slope = GroupNormBackward.reference(grad, input, weight, mean, variance, layout, eps)
        return slope, *ChannelSums.reference(grad, input, mean, variance, layout, eps)

    @classmethod
    def host(cls, grad, input, weight, mean, variance, layout, eps):
        """In float32 at least, narrowed once."""
        slope = GroupNormBackward.host(grad, input, weight, mean, variance, layout, eps)
        sums = ChannelSums.host(grad, input, mean, variance, layout, eps)
        return slope, *(each.astype((input if weight is None else weight).dtype, copy=False) for each in sums)

    def forward(self, grad, input, weight, mean, variance, layout, eps):
        """Two launches, or three where groups are few and large."""
        return launch_group_gradients(grad, input, weight, mean, variance, layout, eps)

    @staticmethod
    def samples(draw):
        yield from GroupNormBackward.samples(draw)

    @staticmethod
    def sized(draw, N=32, C=256, H=28, W=28, groups=32):
        return GroupNormBackward.sized(draw, N, C, H, W, groups)


GroupNorm.slope, GroupNorm.gradients = GroupNormBackward, GroupNormGradients
