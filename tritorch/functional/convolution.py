"""Convolutions over one, two and three dimensions, and their transposed forms: one family, checked and batched here."""

from __future__ import annotations

from tritorch.ops.autocast import LOWER
from tritorch.ops.base import TABLE, export
from tritorch.ops.convolution.arguments import (
    check_convolution,
    check_ranks,
    check_tbc,
    check_transposed,
    check_windows,
    padding_of,
    per_dimension,
    transposed_size,
)
from tritorch.ops.guard import need_tensors


@export("conv1d", "nn.functional.conv1d", autocast=LOWER)
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The sums of windows of (N, C, L) or (C, L) times filters (O, C / groups, K), plus a bias."""
    return convolve(TABLE["convolution"], "conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@export("conv2d", "nn.functional.conv2d", autocast=LOWER)
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The sums of windows of (N, C, H, W) or (C, H, W) times filters (O, C / groups, KH, KW), plus a bias."""
    return convolve(TABLE["convolution"], "conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@export("conv3d", "nn.functional.conv3d", autocast=LOWER)
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The sums of windows of (N, C, D, H, W) or (C, D, H, W) times filters (O, C / groups, KD, KH, KW), plus a bias."""
    return convolve(TABLE["convolution"], "conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def convolve(op, name, ndim, input, weight, bias, stride, padding, dilation, groups):
    """A call of `op`, a convolution or one with what follows it, by the arguments of the function of this name."""
    need_tensors(name, input=input, weight=weight)
    check_ranks(name, input.array, weight.array, ndim)
    stride, dilation = per_dimension(name, "stride", stride, ndim), per_dimension(name, "dilation", dilation, ndim)
    kernel = weight.array.shape[2:]
    padding = padding_of(name, padding, kernel, stride, dilation)
    check_windows(kernel, stride, padding, dilation, groups)
    check_convolution(input.array, weight.array, _array(bias), padding, dilation, groups)
    batched = input if input.array.ndim == ndim + 2 else input.unsqueeze(0)
    out = op.apply(batched, weight, bias, stride, padding, dilation, groups)
    return out if batched is input else out.squeeze(0)


@export("conv_transpose1d", "nn.functional.conv_transpose1d", autocast=LOWER)
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The gradient of conv1d by its input: (N, C, L) or (C, L) and (C, O / groups, K)."""
    rest = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose1d", 1, input, weight, bias, *rest)


@export("conv_transpose2d", "nn.functional.conv_transpose2d", autocast=LOWER)
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The gradient of conv2d by its input: (N, C, H, W) or (C, H, W) and (C, O / groups, KH, KW)."""
    rest = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose2d", 2, input, weight, bias, *rest)


@export("conv_transpose3d", "nn.functional.conv_transpose3d", autocast=LOWER)
def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The gradient of conv3d by its input: (N, C, D, H, W) or (C, D, H, W) and (C, O / groups, KD, KH, KW)."""
    rest = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose3d", 3, input, weight, bias, *rest)


def _transposed(op, ndim, input, weight, bias, stride, padding, output_padding, groups, dilation):
    need_tensors(op, input=input, weight=weight)
    check_ranks(op, input.array, weight.array, ndim)
    given = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    stride, padding, more, dilation = (per_dimension(op, name, value, ndim) for name, value in given.items())
    kernel = weight.array.shape[2:]
    ends = tuple([(each, each) for each in padding])
    check_windows(kernel, stride, ends, dilation, groups)
    size = transposed_size(input.array.shape[-ndim:], kernel, stride, ends, dilation, more)
    check_transposed(input.array, weight.array, _array(bias), stride, dilation, more, groups, size)
    batched = input if input.array.ndim == ndim + 2 else input.unsqueeze(0)
    out = TABLE["convolution_input_gradient"].apply(batched, weight, size, stride, ends, dilation, groups)
    out = out if bias is None else out + bias.reshape(-1, *[1] * ndim)
    return out if batched is input else out.squeeze(0)


def _array(tensor):
    return None if tensor is None else tensor.array


@export("conv_tbc", autocast=LOWER)
def conv_tbc(input, weight, bias, pad=0):
    """conv1d of (time, batch, channels) by filters (K, channels, features), padded by `pad` at both ends."""
    need_tensors("conv_tbc", input=input, weight=weight, bias=bias)
    check_tbc(input.array, weight.array, bias.array)
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
