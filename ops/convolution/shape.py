"""Sizes, strides and paddings of windows that slide over images: what PyTorch takes, and how it refuses."""

from __future__ import annotations

from tritorch.runtime import dtypes

_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}


def pair(name, value):
    """One integer for both spatial dimensions, or one each."""
    if isinstance(value, int):
        return value, value
    value = tuple(value)
    if len(value) == 1:
        value *= 2
    if len(value) != 2:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of 2 values to match the convolution dimensions, "
            f"but got {name}={list(value)}"
        )
    for each in value:
        if not hasattr(each, "__index__"):
            raise TypeError(f"conv2d(): argument '{name}' must be tuple of ints, not {type(each).__name__}")
    return value


def padding_of(padding, kernel, stride, dilation):
    """(top, bottom, left, right) of an integer, a pair, "valid" or "same"."""
    if not isinstance(padding, str):
        high, wide = pair("padding", padding)
        return high, high, wide, wide
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if stride != (1, 1):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    high, wide = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    return high // 2, high - high // 2, wide // 2, wide - wide // 2


def out_size(image, kernel, stride, padding, dilation):
    """The places a window takes, down and across."""
    ends = (padding[0] + padding[1], padding[2] + padding[3])
    return tuple(
        (size + more - step * (taps - 1) - 1) // by + 1
        for size, more, taps, by, step in zip(image, ends, kernel, stride, dilation, strict=True)
    )


def check_filters(weight):
    """Refuse a weight that is not of (features, channels, height, width)."""
    if weight.ndim != 4:
        raise RuntimeError(f"Expected 4-dimensional weight for conv2d, but got weight of size: {list(weight.shape)}")


def check_convolution(x, weight, bias, stride, padding, dilation, groups, shown):
    """Refuse arguments of a convolution that do not fit; `shown` is the shape that the user gave."""
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    _check_channels(x, weight, bias, groups, shown)
    check_types(x, weight, bias)
    padded = (x.shape[2] + padding[0] + padding[1], x.shape[3] + padding[2] + padding[3])
    kernel = tuple(step * (taps - 1) + 1 for step, taps in zip(dilation, weight.shape[2:], strict=True))
    if kernel[0] > padded[0] or kernel[1] > padded[1]:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({padded[0]} x {padded[1]}). Kernel size: "
            f"({kernel[0]} x {kernel[1]}). Kernel size can't be greater than actual input size"
        )


def _check_channels(x, weight, bias, groups, shown):
    features, channels = weight.shape[:2]
    if features < 1:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least 1 at dimension 0, "
            f"but got weight of size {list(weight.shape)} instead"
        )
    if features % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{list(weight.shape)}] instead"
        )
    if x.shape[1] != channels * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(shown)} to have "
            f"{channels * groups} channels, but got {x.shape[1]} channels instead"
        )
    if bias is not None and bias.shape != (features,):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {features} elements, "
            f"but got bias of size {list(bias.shape)} instead"
        )


def check_types(x, weight, bias):
    """Refuse images, weight and bias of different dtypes."""
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.dtype != x.dtype:
            kinds = [_NAMES.get(dtypes.of(a.dtype).name, dtypes.of(a.dtype).name) for a in (x, other)]
            raise RuntimeError(f"Input type ({kinds[0]}) and {name} type ({kinds[1]}) should be the same")
