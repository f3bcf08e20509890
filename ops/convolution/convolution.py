"""Convolution over one, two or three dimensions and its two gradients: three ops whose gradients are each other.

A convolution y = x * w is linear in x and in w, so its gradient by x takes (grad, w), its gradient by w takes
(grad, x), and the gradients of those are again one of the three. The spatial dimensions are those after (N, C);
`stride` and `dilation` are tuples of one integer a dimension, `padding` of pairs (before, after).
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.autocast import LOWER
from tritorch.ops.base import Op
from tritorch.ops.convolution import batched
from tritorch.ops.convolution import host as on_host
from tritorch.ops.convolution.arguments import out_size
from tritorch.ops.convolution.launch import (
    launch_forward,
    launch_input_gradient,
    launch_weight_gradient,
    result_order,
)
from tritorch.ops.convolution.windows import padded, taps_of
from tritorch.ops.layout import lying_by


def _grouped(x, groups):
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


class Convolution(Op):
    """Each output is the sum of a window of the input times a filter, plus a bias: a cross-correlation.

    y[n, o, p] = bias[o] + sum over c and taps t of weight[o, c, t] * x[n, c, p * stride + t * dilation - padding].
    """

    batch = batched.convolved
    called_by = ("conv2d",)
    autocast = LOWER
    saves = ("input", "weight")
    widens = True

    @staticmethod
    def reference(input, weight, bias, stride, padding, dilation, groups):
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        features = weight.shape[0]
        filters = weight.reshape(groups, features // groups, *weight.shape[1:])
        out = np.zeros((input.shape[0], groups, features // groups, *size), input.dtype)
        for tap, patch in taps_of(padded(input, padding), weight.shape[2:], size, stride, dilation):
            out += np.einsum("ngc...,goc->ngo...", _grouped(patch, groups), filters[(..., *tap)])
        out = out.reshape(input.shape[0], features, *size)
        return out if bias is None else out + bias.reshape(-1, *[1] * len(size))

    @staticmethod
    def fast(input, weight, bias, stride, padding, dilation, groups):
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        found = on_host.forward(input, weight, bias, size, stride, padding, dilation, groups)
        return lying_by(found, result_order(input, weight))

    def forward(self, input, weight, bias, stride, padding, dilation, groups):
        """One launch: an implicit matrix product over (channels x taps), the bias added before the store."""
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        return launch_forward(input, weight, bias, size, stride, padding, dilation, groups)

    def backward(self, grad):
        """Its two gradient ops; the bias gets the sum over images and places."""
        input, weight, _, *rest = self.inputs
        first = second = third = None
        if self.edges[0] is not None:
            first = ConvolutionInputGradient.apply(grad, weight, self.edges[0][2][2:], *rest)
        if self.edges[1] is not None:
            second = ConvolutionWeightGradient.apply(grad, input, self.edges[1][2][2:], *rest)
        if self.edges[2] is not None:
            third = grad.sum((0, *range(2, grad.array.ndim)))
        return first, second, third

    @staticmethod
    def multiplications(output, input, weight, *settings):
        return math.prod(output.shape) * math.prod(weight.shape[1:])

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*shape), draw(*weight), None, *rest
        for shape, weight, rest in convolutions_innermost():
            filters = draw(*weight)  # which may lie as they like
            yield with_channels_innermost(draw(*shape)), filters, draw(weight[0]), *rest
        one, same = (1, 1), ((1, 1), (1, 1))
        yield draw(2, 3, 5, 6), draw(4, 3, 3, 3), draw(4), one, ((0, 0), (0, 0)), one, 1
        yield draw(6, 2, 3, 5).transpose(3, 1, 0, 2), draw(3, 3, 2, 4).T, draw(8)[::2], one, same, one, 1
        expanded = np.broadcast_to(draw(1, 1, 5, 1), (2, 3, 5, 6))
        yield expanded, draw(4, 3, 3, 3), draw(4), (1, 2), ((1, 0), (0, 1)), one, 1
        channels_last = draw(2, 3, 4, 5, 3).transpose(0, 4, 1, 2, 3)
        yield (
            channels_last,
            draw(2, 2, 2, 2, 3).transpose(0, 4, 1, 2, 3),
            draw(2),
            (1, 1, 1),
            ((0, 0),) * 3,
            (1,) * 3,
            1,
        )

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, K=64, R=3, S=3, stride=1, padding=1):
        shape, weight, rest = sized_shapes(N, C, H, W, K, R, S, stride, padding)
        return draw(*shape), draw(*weight), None, *rest


def sized_shapes(N, C, H, W, K, R, S, stride, padding):
    """Shapes of input and weight and the settings of a two-dimensional convolution, by the usual letters."""
    return (N, C, H, W), (K, C, R, S), ((stride,) * 2, ((padding, padding),) * 2, (1, 1), 1)


def convolutions():
    """Shapes of (input, weight) with (stride, padding, dilation, groups) for the samples of all three ops."""
    none, one = ((0, 0), (0, 0)), ((1, 1), (1, 1))
    yield (2, 3, 7, 9), (4, 3, 3, 3), ((1, 1), one, (1, 1), 1)
    yield (1, 1, 1, 1), (1, 1, 1, 1), ((1, 1), none, (1, 1), 1)
    yield (3, 4, 8, 7), (6, 2, 3, 2), ((2, 3), ((1, 0), (2, 1)), (1, 2), 2)
    yield (2, 4, 6, 6), (4, 1, 3, 3), ((1, 1), one, (1, 1), 4)  # each channel by itself
    yield (2, 3, 9, 5), (2, 3, 2, 2), ((3, 3), none, (1, 1), 1)  # rows and columns that no tap reads
    yield (2, 2, 11, 9), (3, 2, 3, 3), ((2, 2), ((2, 2), (2, 2)), (3, 2), 1)
    yield (2, 17, 5, 5), (33, 17, 1, 1), ((1, 1), none, (1, 1), 1)  # past blocks of 16 and 32
    yield (0, 3, 5, 5), (4, 3, 3, 3), ((1, 1), one, (1, 1), 1)
    yield (2, 2, 4, 3), (2, 2, 2, 2), ((1, 1), ((3, 4), (2, 2)), (1, 1), 1)  # windows that see nothing but padding
    yield (2, 4, 11), (6, 2, 3), ((2,), ((1, 2),), (2,), 2)
    yield (3, 3, 40), (2, 3, 5), ((1,), ((2, 2),), (1,), 1)
    yield (2, 2, 5, 4, 6), (3, 2, 2, 3, 2), ((2, 1, 2), ((1, 0), (1, 1), (0, 1)), (1, 1, 2), 1)
    yield (1, 2, 3, 4, 4), (2, 1, 3, 2, 1), ((1, 1, 1), ((1, 1), (0, 0), (0, 0)), (1, 2, 1), 2)
    yield (2, 3, 5, 6), (6, 1, 2, 3), ((2, 1), one, (1, 1), 3)  # two features a channel
    yield (45, 16, 2, 3), (16, 16, 2, 2), ((1, 1), none, (1, 1), 1)  # worth a copy with channels innermost
    yield (1, 3, 18, 17), (5, 3, 3, 3), ((1, 1), one, (1, 1), 1)  # enough places for a product an image on the host


def with_channels_innermost(array):
    """A copy that lies so."""
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)


def convolutions_innermost():
    """The same with channels that lie innermost, for each kernel that reads them so."""
    one = ((1, 1), (1, 1))
    yield (45, 16, 2, 3), (8, 16, 2, 2), ((1, 1), one, (1, 1), 1)  # images enough for a tile
    yield (4, 16, 4, 4), (64, 16, 3, 3), ((1, 1), one, (1, 1), 1)  # places and images enough for a box
    yield (2, 32, 5, 6), (16, 16, 3, 2), ((2, 1), ((1, 0), (2, 1)), (1, 2), 2)
    yield (2, 9, 5, 4), (9, 1, 3, 3), ((2, 1), one, (1, 1), 9)
    yield (3, 20, 4, 4), (8, 20, 1, 1), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    yield (1, 8, 7, 7), (8, 8, 6, 6), ((1, 1), one, (1, 1), 1)  # more taps than 32
    yield (2, 3, 6, 5), (16, 3, 3, 4), ((2, 2), one, (1, 1), 1)  # few channels


def _convolved(input, weight, places, rest):
    """The convolution at its first `places`: an image may have room for windows beyond the last one that was read."""
    out = Convolution.apply(input, weight, None, *rest)
    return out if out.array.shape[2:] == places else out[(..., *map(slice, places))]


def _out_of(shape, weight, rest):
    stride, padding, dilation, _ = rest
    return (shape[0], weight[0], *out_size(shape[2:], weight[2:], stride, padding, dilation))


class ConvolutionInputGradient(Op):
    """The gradient of a convolution by its input, of spatial size `size`: the transposed convolution."""

    batch = batched.input_gradient
    saves = ("grad", "weight")
    widens = True

    @staticmethod
    def reference(grad, weight, size, stride, padding, dilation, groups):
        features, channels = weight.shape[0], weight.shape[1] * groups
        filters = weight.reshape(groups, features // groups, *weight.shape[1:])
        room = [length + sum(ends) for length, ends in zip(size, padding, strict=True)]
        wide = np.zeros((grad.shape[0], channels, *room), grad.dtype)
        for tap, patch in taps_of(wide, weight.shape[2:], grad.shape[2:], stride, dilation):
            part = np.einsum("ngo...,goc->ngc...", _grouped(grad, groups), filters[(..., *tap)])
            patch += part.reshape(patch.shape)
        inside = [slice(before, before + length) for (before, _), length in zip(padding, size, strict=True)]
        return wide[(slice(None), slice(None), *inside)]

    @staticmethod
    def fast(grad, weight, size, stride, padding, dilation, groups):
        found = on_host.input_gradient(grad, weight, tuple(size), stride, padding, dilation, groups)
        return lying_by(found, result_order(grad, weight))

    def forward(self, grad, weight, size, stride, padding, dilation, groups):
        """One implicit matrix product for each phase of the stride: each is a convolution of stride 1."""
        return launch_input_gradient(grad, weight, tuple(size), stride, padding, dilation, groups)

    def backward(self, grad):
        """A convolution of the new gradient, and the weight gradient with it in the input's place."""
        before, weight, _, *rest = self.inputs
        first = second = None
        if self.edges[0] is not None:
            first = _convolved(grad, weight, self.edges[0][2][2:], rest)
        if self.edges[1] is not None:
            second = ConvolutionWeightGradient.apply(before, grad, self.edges[1][2][2:], *rest)
        return first, second

    @staticmethod
    def multiplications(output, grad, weight, *settings):
        return math.prod(grad.shape) * math.prod(weight.shape[1:])

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*_out_of(shape, weight, rest)), draw(*weight), shape[2:], *rest
        for shape, weight, rest in convolutions_innermost():
            grad, filters = draw(*_out_of(shape, weight, rest)), draw(*weight)
            yield with_channels_innermost(grad), with_channels_innermost(filters), shape[2:], *rest
        grad, none = np.broadcast_to(draw(1, 4, 1, 1), (2, 4, 5, 6)), ((0, 0), (0, 0))
        yield grad, draw(4, 3, 3, 3), (7, 8), (1, 1), none, (1, 1), 1

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, K=64, R=3, S=3, stride=1, padding=1):
        shape, weight, rest = sized_shapes(N, C, H, W, K, R, S, stride, padding)
        return draw(*_out_of(shape, weight, rest)), draw(*weight), shape[2:], *rest


class ConvolutionWeightGradient(Op):
    """The gradient of a convolution by its weight, of kernel size `size`."""

    batch = batched.weight_gradient
    saves = ("grad", "input")
    widens = True

    @staticmethod
    def reference(grad, input, size, stride, padding, dilation, groups):
        features, channels = grad.shape[1], input.shape[1] // groups
        out = np.zeros((groups, features // groups, channels, *size), grad.dtype)
        places = range(4, 4 + len(size))
        for tap, patch in taps_of(padded(input, padding), size, grad.shape[2:], stride, dilation):
            left, right = _grouped(grad, groups), _grouped(patch, groups)
            out[(..., *tap)] = np.einsum(left, [0, 1, 2, *places], right, [0, 1, 3, *places], [1, 2, 3])
        return out.reshape(features, channels, *size)

    @staticmethod
    def fast(grad, input, size, stride, padding, dilation, groups):
        found = on_host.weight_gradient(grad, input, tuple(size), stride, padding, dilation, groups)
        return lying_by(found, result_order(grad, input))

    def forward(self, grad, input, size, stride, padding, dilation, groups):
        """An implicit matrix product over (images x places), in parts that a second launch adds up in order."""
        return launch_weight_gradient(grad, input, tuple(size), stride, padding, dilation, groups)

    def backward(self, grad):
        """A convolution by the new gradient in the weight's place, and the input gradient with it."""
        before, input, _, *rest = self.inputs
        first = second = None
        if self.edges[0] is not None:
            first = _convolved(input, grad, self.edges[0][2][2:], rest)
        if self.edges[1] is not None:
            second = ConvolutionInputGradient.apply(before, grad, self.edges[1][2][2:], *rest)
        return first, second

    @staticmethod
    def multiplications(output, grad, input, *settings):
        return math.prod(grad.shape) * math.prod(output.shape[1:])

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*_out_of(shape, weight, rest)), draw(*shape), weight[2:], *rest
        for shape, weight, rest in convolutions_innermost():
            grad, images = draw(*_out_of(shape, weight, rest)), draw(*shape)
            yield with_channels_innermost(grad), with_channels_innermost(images), weight[2:], *rest
        rest = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        yield draw(9, 2, 16, 17), draw(9, 3, 16, 17), (1, 1), *rest  # several parts

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, K=64, R=3, S=3, stride=1, padding=1):
        shape, weight, rest = sized_shapes(N, C, H, W, K, R, S, stride, padding)
        return draw(*_out_of(shape, weight, rest)), draw(*shape), weight[2:], *rest
