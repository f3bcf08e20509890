"""Convolutions that are the two-dimensional one in other clothes: over one dimension, and transposed."""

from __future__ import annotations

from tritorch.ops.base import TABLE, export
from tritorch.ops.convolution.shape import check_types, pair
from tritorch.ops.guard import need_tensors


@export("conv1d", "nn.functional.conv1d")
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """conv2d over images of one row: (N, C, L) or (C, L)."""
    need_tensors("conv1d", input=input, weight=weight)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2D (unbatched) or 3D (batched) input to conv1d, but got input of size: {list(input.shape)}"
        )
    stride, dilation = (1, _single("stride", stride)), (1, _single("dilation", dilation))
    if not isinstance(padding, str):
        padding = (0, _single("padding", padding))
    image = input.unsqueeze(-2)
    return TABLE["conv2d"].call(image, weight.unsqueeze(-2), bias, stride, padding, dilation, groups).squeeze(-2)


def _single(name, value):
    if isinstance(value, int):
        return value
    if len(value) != 1:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of 1 values to match the convolution dimensions, "
            f"but got {name}={list(value)}"
        )
    return value[0]


@export("conv_transpose2d", "nn.functional.conv_transpose2d")
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The gradient of a convolution as an op of its own: (N, C, H, W) or (C, H, W) to larger images."""
    need_tensors("conv_transpose2d", input=input, weight=weight)
    if input.ndim not in (3, 4):
        raise RuntimeError(
            "Expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, "
            f"but got input of size: {list(input.shape)}"
        )
    stride, padding, dilation, more = (
        pair(name, value)
        for name, value in (
            ("stride", stride), ("padding", padding), ("dilation", dilation), ("output_padding", output_padding)
        )
    )  # fmt: skip
    _check_transposed(input, weight, groups, stride, dilation, more)
    check_types(input.array, weight.array, None if bias is None else bias.array)
    size = tuple(
        (places - 1) * by - 2 * pad + step * (taps - 1) + extra + 1
        for places, by, pad, step, taps, extra in zip(
            input.shape[-2:], stride, padding, dilation, weight.shape[2:], more, strict=True
        )
    )
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    ends = (padding[0], padding[0], padding[1], padding[1])
    out = TABLE["conv2d_input_gradient"].apply(batched, weight, size, stride, ends, dilation, groups)
    out = out if bias is None else out + bias.reshape(-1, 1, 1)
    return out if input.ndim == 4 else out.squeeze(0)


def _check_transposed(input, weight, groups, stride, dilation, more):
    if input.shape[-3] != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{weight.shape[0]} channels, but got {input.shape[-3]} channels instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{list(weight.shape)}] instead"
        )
    if any(extra >= max(by, step) for extra, by, step in zip(more, stride, dilation, strict=True)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding_height: {more[0]} output_padding_width: {more[1]} stride_height: {stride[0]} "
            f"stride_width: {stride[1]} dilation_height: {dilation[0]} dilation_width: {dilation[1]}"
        )
