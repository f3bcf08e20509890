"""Average pooling: a convolution of each plane with a window of ones, or a product with matrices of means."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.ops.base import TABLE, export
from tritorch.ops.convolution.shape import check_pool, pool_arguments, pool_size
from tritorch.ops.guard import need_tensors


@export("nn.functional.avg_pool2d")
def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window of (N, C, H, W) or (C, H, W)."""
    need_tensors("avg_pool2d", input=input)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    kernel, stride, padding, one = pool_arguments("avg_pool2d", kernel_size, stride, padding, 1)
    check_pool("avg_pool2d", input.array, kernel, stride, padding, one, ceil_mode)
    image, planes = input.shape[-2:], input.shape[:-2]
    out = pool_size(image, kernel, stride, padding, one, ceil_mode)
    # The last window of ceil_mode may end past the padding.
    past = [(o - 1) * s + k - size - 2 * p
            for o, s, k, size, p in zip(out, stride, kernel, image, padding, strict=True)]  # fmt: skip
    past = [max(each, 0) for each in past]
    window = creation.ones(1, 1, *kernel, dtype=input.dtype, device=input.device)
    ends = tuple((pad, pad + more) for pad, more in zip(padding, past, strict=True))
    flat = input.reshape(planes.numel(), 1, *image)
    sums = TABLE["convolution"].apply(flat, window, None, stride, ends, one, 1).reshape(*planes, *out)
    if divisor_override is not None:
        return _mean(sums, divisor_override)
    down, across = (_counts(*each, count_include_pad) for each in zip(image, out, kernel, stride, padding, strict=True))
    counts = creation.tensor(np.outer(down, across), dtype=input.dtype, device=input.device)
    return _mean(sums, counts)


def _mean(sums, counts):
    """Integers are divided towards zero."""
    return sums / counts if sums.is_floating_point() else sums.div(counts, rounding_mode="trunc")


def _counts(size, places, taps, by, pad, with_padding):
    """How many elements each window holds along one dimension: those of the image, or of it and its padding."""
    starts = np.arange(places) * by - pad
    ends = np.minimum(starts + taps, size + pad)
    return ends - starts if with_padding else np.minimum(ends, size) - np.maximum(starts, 0)


@export("nn.functional.adaptive_avg_pool2d")
def adaptive_avg_pool2d(input, output_size):
    """The mean of output_size windows that cover (N, C, H, W) or (C, H, W) as evenly as they can."""
    need_tensors("adaptive_avg_pool2d", input=input)
    if input.ndim < 3 and not isinstance(output_size, int):
        raise ValueError(f"Input dimension should be at least 3, got {input.ndim}")
    if input.ndim not in (3, 4):
        raise RuntimeError(f"adaptive_avg_pool2d(): Expected 3D or 4D tensor, but got {list(input.shape)}")
    wanted = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != 2:
        raise RuntimeError("adaptive_avg_pool2d: output_size must be 2")
    sizes = [size if want is None else want for size, want in zip(input.shape[-2:], wanted, strict=True)]
    if min(sizes) < 0:
        raise RuntimeError(
            "adaptive_avg_pool2d: elements of output_size must be greater than or equal to 0 but received "
            f"{{{sizes[0]}, {sizes[1]}}}"
        )
    if sizes == [1, 1]:
        return input.mean((-2, -1), keepdim=True)
    down, across = (
        creation.tensor(_means(size, places), dtype=input.dtype, device=input.device)
        for size, places in zip(input.shape[-2:], sizes, strict=True)
    )
    return down @ input @ across.t()


def _means(size, places):
    """The matrix that averages `size` elements to `places` windows, which may share elements: (places, size)."""
    starts = np.arange(places) * size // max(places, 1)
    ends = -(-(np.arange(places) + 1) * size // max(places, 1))
    index = np.arange(size)
    inside = (index >= starts[:, None]) & (index < ends[:, None])
    return inside / (ends - starts)[:, None]
