"""Two-dimensional convolution and its two gradients: three ops whose gradients are each other.

A convolution y = x * w is linear in x and in w, so its gradient by x takes (grad, w), its gradient by w takes
(grad, x), and the gradients of those are again one of the three. `padding` is (top, bottom, left, right) everywhere.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.convolution import host as on_host
from tritorch.ops.convolution.kernels import launch_forward, launch_input_gradient, launch_weight_gradient
from tritorch.ops.convolution.shape import check_convolution, check_filters, out_size, padding_of, pair
from tritorch.ops.guard import need_tensors


def _taps(padded, kernel, out, stride, dilation):
    """For each tap of the kernel: its row, its column, and the view of padded images it reads, of the output's size."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            first, at = i * dilation[0], j * dilation[1]
            rows = slice(first, first + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(at, at + (out[1] - 1) * stride[1] + 1, stride[1])
            yield i, j, padded[:, :, rows, columns]


def _padded(x, padding):
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _grouped(x, groups):
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


class Conv2d(Op):
    """Each output is the sum of a window of the input times a filter, plus a bias: a cross-correlation.

    y[n, o, h, w] = bias[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c, h*stride + i*dilation - padding, ...].
    """

    exports = ("conv2d", "nn.functional.conv2d")
    saves = ("input", "weight")
    widens = True

    @classmethod
    def call(cls, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        need_tensors("conv2d", input=input, weight=weight)
        ndim = input.array.ndim
        if ndim not in (3, 4):
            raise RuntimeError(
                "Expected 3D (unbatched) or 4D (batched) input to conv2d, "
                f"but got input of size: {list(input.array.shape)}"
            )
        stride, dilation = pair("stride", stride), pair("dilation", dilation)
        check_filters(weight.array)
        padding = padding_of(padding, weight.array.shape[2:], stride, dilation)
        shown = input.array.shape
        batched = input if ndim == 4 else input.unsqueeze(0)
        arrays = batched.array, weight.array, None if bias is None else bias.array
        check_convolution(*arrays, stride, padding, dilation, groups, shown)
        out = cls.apply(batched, weight, bias, stride, padding, dilation, groups)
        return out if ndim == 4 else out.squeeze(0)

    @staticmethod
    def reference(input, weight, bias, stride, padding, dilation, groups):
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        features = weight.shape[0]
        filters = weight.reshape(groups, features // groups, *weight.shape[1:])
        out = np.zeros((input.shape[0], groups, features // groups, *size), input.dtype)
        for i, j, patch in _taps(_padded(input, padding), weight.shape[2:], size, stride, dilation):
            out += np.einsum("ngchw,goc->ngohw", _grouped(patch, groups), filters[..., i, j])
        out = out.reshape(input.shape[0], features, *size)
        return out if bias is None else out + bias[:, None, None]

    @staticmethod
    def fast(input, weight, bias, stride, padding, dilation, groups):
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        return on_host.forward(input, weight, bias, size, stride, padding, dilation, groups)

    def forward(self, input, weight, bias, stride, padding, dilation, groups):
        """One launch: an implicit matrix product over (channels x taps), the bias added before the store."""
        size = out_size(input.shape[2:], weight.shape[2:], stride, padding, dilation)
        return launch_forward(input, weight, bias, size, stride, padding, dilation, groups)

    def backward(self, grad):
        """Its two gradient ops; the bias gets the sum over images and places."""
        input, weight, _, *rest = self.inputs
        first = second = third = None
        if self.edges[0] is not None:
            first = Conv2dInputGradient.apply(grad, weight, self.edges[0][2][2:], *rest)
        if self.edges[1] is not None:
            second = Conv2dWeightGradient.apply(grad, input, self.edges[1][2][2:], *rest)
        if self.edges[2] is not None:
            third = grad.sum((0, 2, 3))
        return first, second, third

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*shape), draw(*weight), None, *rest
        yield draw(2, 3, 5, 6), draw(4, 3, 3, 3), draw(4), (1, 1), (0, 0, 0, 0), (1, 1), 1
        yield draw(6, 2, 3, 5).transpose(3, 1, 0, 2), draw(3, 3, 2, 4).T, draw(8)[::2], (1, 1), (1, 1, 1, 1), (1, 1), 1
        expanded = np.broadcast_to(draw(1, 1, 5, 1), (2, 3, 5, 6))
        yield expanded, draw(4, 3, 3, 3), draw(4), (1, 2), (1, 0, 0, 1), (1, 1), 1

    @staticmethod
    def errors(draw):
        x, w = draw(1, 3, 8, 8), draw(16, 3, 3, 3)
        yield (
            (draw(32, 3), w),
            {},
            RuntimeError,
            "3D (unbatched) or 4D (batched) input to conv2d, but got input of size",
        )
        yield (draw(1, 4, 8, 8), w), {}, RuntimeError, "input[1, 4, 8, 8] to have 3 channels, but got 4"
        yield (draw(1, 3, 2, 2), w), {}, RuntimeError, "size per channel: (2 x 2). Kernel size: (3 x 3). Kernel size"
        yield (x, w, draw(4)), {}, RuntimeError, "1-dimensional with 16 elements, but got bias of size [4]"
        yield (x, w), {"stride": 0}, RuntimeError, "non-positive stride is not supported"
        yield (x, w), {"padding": -1}, RuntimeError, "negative padding is not supported"
        yield (x, w), {"padding": "same", "stride": 2}, RuntimeError, "padding='same' is not supported for strided"
        yield (x, w), {"groups": 2}, RuntimeError, "expected input[1, 3, 8, 8] to have 6 channels, but got 3 channels"


def convolutions():
    """Shapes of (input, weight) with (stride, padding, dilation, groups) for the samples of all three ops."""
    none, one = (0, 0, 0, 0), (1, 1, 1, 1)
    yield (2, 3, 7, 9), (4, 3, 3, 3), ((1, 1), one, (1, 1), 1)
    yield (1, 1, 1, 1), (1, 1, 1, 1), ((1, 1), none, (1, 1), 1)
    yield (3, 4, 8, 7), (6, 2, 3, 2), ((2, 3), (1, 0, 2, 1), (1, 2), 2)
    yield (2, 4, 6, 6), (4, 1, 3, 3), ((1, 1), one, (1, 1), 4)  # each channel by itself
    yield (2, 3, 9, 5), (2, 3, 2, 2), ((3, 3), none, (1, 1), 1)  # rows and columns that no tap reads
    yield (2, 2, 11, 9), (3, 2, 3, 3), ((2, 2), (2, 2, 2, 2), (3, 2), 1)
    yield (2, 17, 5, 5), (33, 17, 1, 1), ((1, 1), none, (1, 1), 1)  # past blocks of 16 and 32
    yield (0, 3, 5, 5), (4, 3, 3, 3), ((1, 1), one, (1, 1), 1)


def _out_of(shape, weight, rest):
    stride, padding, dilation, _ = rest
    return (shape[0], weight[0], *out_size(shape[2:], weight[2:], stride, padding, dilation))


class Conv2dInputGradient(Op):
    """The gradient of conv2d by its input, of spatial size `size`: the transposed convolution."""

    saves = ("grad", "weight")
    widens = True

    @staticmethod
    def reference(grad, weight, size, stride, padding, dilation, groups):
        top, bottom, left, right = padding
        features, channels = weight.shape[0], weight.shape[1] * groups
        filters = weight.reshape(groups, features // groups, *weight.shape[1:])
        padded = np.zeros((grad.shape[0], channels, size[0] + top + bottom, size[1] + left + right), grad.dtype)
        for i, j, patch in _taps(padded, weight.shape[2:], grad.shape[2:], stride, dilation):
            part = np.einsum("ngohw,goc->ngchw", _grouped(grad, groups), filters[..., i, j])
            patch += part.reshape(patch.shape)
        return padded[:, :, top : top + size[0], left : left + size[1]]

    @staticmethod
    def fast(grad, weight, size, stride, padding, dilation, groups):
        return on_host.input_gradient(grad, weight, tuple(size), stride, padding, dilation, groups)

    def forward(self, grad, weight, size, stride, padding, dilation, groups):
        """One implicit matrix product for each phase of the stride: each is a convolution of stride 1."""
        return launch_input_gradient(grad, weight, size, stride, padding, dilation, groups)

    def backward(self, grad):
        """A convolution of the new gradient, and the weight gradient with it in the input's place."""
        before, weight, _, *rest = self.inputs
        first = second = None
        if self.edges[0] is not None:
            first = Conv2d.apply(grad, weight, None, *rest)
            high, wide = self.edges[0][2][2:]
            if first.array.shape[2:] != (high, wide):  # `size` has room for windows beyond the last one read
                first = first[:, :, :high, :wide]
        if self.edges[1] is not None:
            second = Conv2dWeightGradient.apply(before, grad, self.edges[1][2][2:], *rest)
        return first, second

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*_out_of(shape, weight, rest)), draw(*weight), shape[2:], *rest
        yield np.broadcast_to(draw(1, 4, 1, 1), (2, 4, 5, 6)), draw(4, 3, 3, 3), (7, 8), (1, 1), (0, 0, 0, 0), (1, 1), 1


class Conv2dWeightGradient(Op):
    """The gradient of conv2d by its weight, of kernel size `size`."""

    saves = ("grad", "input")
    widens = True

    @staticmethod
    def reference(grad, input, size, stride, padding, dilation, groups):
        features, channels = grad.shape[1], input.shape[1] // groups
        out = np.zeros((groups, features // groups, channels, *size), grad.dtype)
        for i, j, patch in _taps(_padded(input, padding), size, grad.shape[2:], stride, dilation):
            out[..., i, j] = np.einsum("ngohw,ngchw->goc", _grouped(grad, groups), _grouped(patch, groups))
        return out.reshape(features, channels, *size)

    @staticmethod
    def fast(grad, input, size, stride, padding, dilation, groups):
        return on_host.weight_gradient(grad, input, tuple(size), stride, padding, dilation, groups)

    def forward(self, grad, input, size, stride, padding, dilation, groups):
        """An implicit matrix product over (images x places), in parts that a second launch adds up in order."""
        return launch_weight_gradient(grad, input, size, stride, padding, dilation, groups)

    def backward(self, grad):
        """A convolution by the new gradient in the weight's place, and the input gradient with it."""
        before, input, _, *rest = self.inputs
        first = second = None
        if self.edges[0] is not None:
            first = Conv2d.apply(input, grad, None, *rest)
        if self.edges[1] is not None:
            second = Conv2dInputGradient.apply(before, grad, self.edges[1][2][2:], *rest)
        return first, second

    @staticmethod
    def samples(draw):
        for shape, weight, rest in convolutions():
            yield draw(*_out_of(shape, weight, rest)), draw(*shape), weight[2:], *rest
        yield draw(9, 2, 16, 17), draw(9, 3, 16, 17), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1  # several parts
