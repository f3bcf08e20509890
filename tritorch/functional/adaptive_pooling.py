"""Pooling to a size that is asked for, over even or random windows, and the reverse of maximum pooling."""

from __future__ import annotations

import math
from operator import index as as_int

import numpy as np

from tritorch import creation
from tritorch.functional.drawing import draw_uniform
from tritorch.functional.pooling import AvgPool, channels_innermost, unbatched
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import format_order, with_strides
from tritorch.ops.pooling.shape import evenly, refuse_types, volume, windows_of
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.resample.maps import evenly_averaged
from tritorch.random import generator_of
from tritorch.runtime.memory_format import strides_by

WindowMax, Resample = TABLE["window_max"], TABLE["resample"]


def _wanted(op, ndim, input, output_size):
    """The size asked for, None standing for the input's, and refusals of what does not fit."""
    need_tensors(op, input=input)
    shape = input.array.shape
    if ndim == 1 and (output_size is None or (isinstance(output_size, (tuple, list)) and None in output_size)):
        raise TypeError(f"{op}(): argument 'output_size' (position 2) must be tuple of ints, not NoneType")
    if ndim == 1 and isinstance(output_size, (tuple, list)) and len(output_size) != 1:
        raise RuntimeError(f"{op}() argument 'output_size' should contain one int (got {len(output_size)})")
    if output_size is None:
        raise TypeError("object of type 'NoneType' has no len()")
    wanted = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * ndim
    if len(wanted) != ndim:
        raise RuntimeError(f"{op}: output_size must be {ndim}")
    if len(shape) <= ndim and isinstance(output_size, (tuple, list)) and ndim > 1:
        raise ValueError(f"Input dimension should be at least {ndim + 1}, got {len(shape)}")
    if len(shape) < ndim and ndim > 1:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-len(shape)}, {len(shape) - 1}])")
    if len(shape) not in (ndim + 1, ndim + 2):
        raise RuntimeError(f"{op}(): Expected {ndim + 1}D or {ndim + 2}D tensor, but got: {list(shape)}")
    sizes = tuple([at if want is None else as_int(want) for at, want in zip(shape[-ndim:], wanted, strict=True)])
    if min(sizes) < 0:
        raise RuntimeError(
            f"{op}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{', '.join(map(str, sizes))}}}"
        )
    if 0 in shape[len(shape) - ndim :]:
        raise RuntimeError(
            f"{op}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{list(shape)} with dimension {shape.index(0, len(shape) - ndim)} being empty"
        )
    refuse_types(op, input.array, "biu")
    return sizes


def even_mean(input, sizes):
    """Means of even windows: of equal ones, where they divide the image, by average pooling."""
    image = input.array.shape[2:]
    if all(size == 1 for size in sizes):
        found = input.mean(tuple(range(-len(sizes), 0)), keepdim=True)
        if channels_innermost(input):
            found.array = with_strides(found.array, strides_by(format_order(input.array), tuple(found.array.shape)))
        return found
    if 0 not in sizes and not any(whole % size for whole, size in zip(image, sizes, strict=True)):
        window = tuple([whole // size for whole, size in zip(image, sizes, strict=True)])
        return AvgPool.apply(input, window, window, (0,) * len(window), False, True, None, channels_innermost(input))
    return Resample.apply(input, tuple(map(evenly_averaged, image, sizes)))


def _even_max(input, sizes):
    """The largest elements of even windows, and where they are."""
    shape = input.array.shape
    image, places = volume(shape[2:]), volume(sizes)
    bounds = [evenly(*pair) for pair in zip(image, places, strict=True)]
    longest = tuple([int((each[:, 1] - each[:, 0]).max(initial=1)) for each in bounds])
    table = creation.tensor(np.concatenate(bounds)[None], device=input.device)
    return _pooled_by(input, table, sizes, longest)


def _pooled_by(input, bounds, sizes, longest):
    missing = 3 - len(sizes)
    for _ in range(missing):  # by views that leave the strides of the others, which say how the images lie
        input = input.unsqueeze(2)
    found = WindowMax.apply(input, bounds, volume(sizes), volume(longest))
    for _ in range(missing):
        found = [each.squeeze(2) for each in found]
    return tuple(found)


def _make_adaptive(ndim):
    mean, largest = f"adaptive_avg_pool{ndim}d", f"adaptive_max_pool{ndim}d"
    policy = FLOAT32_ON_CPUS if ndim == 3 else None

    @export(f"nn.functional.{mean}", *([mean] if ndim == 1 else []), autocast=policy)
    def adaptive_avg_pool(input, output_size):
        """The means of `output_size` windows that cover the input as evenly as they can."""
        sizes = _wanted(mean, ndim, input, output_size)
        return unbatched(lambda x: even_mean(x, sizes), input, ndim)

    @export(f"nn.functional.{largest}_with_indices", *([largest] if ndim == 1 else []), autocast=policy)
    def adaptive_max_pool_with_indices(input, output_size, return_indices=False):
        """The largest elements of `output_size` windows that cover the input evenly, and their places."""
        sizes = _wanted(largest, ndim, input, output_size)
        if input.array.shape[-ndim - 1] == 0:
            raise RuntimeError(
                f"{largest}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
                f"{list(input.array.shape)} with dimension {input.array.ndim - ndim - 1} being empty"
            )
        return unbatched(lambda x: _even_max(x, sizes), input, ndim)

    @export(f"nn.functional.{largest}", autocast=policy)
    def adaptive_max_pool(input, output_size, return_indices=False):
        """The largest elements of `output_size` windows that cover the input as evenly as they can."""
        found = adaptive_max_pool_with_indices(input, output_size)
        return found if return_indices else found[0]

    return adaptive_avg_pool, adaptive_max_pool


(
    (adaptive_avg_pool1d, adaptive_max_pool1d),
    (adaptive_avg_pool2d, adaptive_max_pool2d),
    (adaptive_avg_pool3d, adaptive_max_pool3d),
) = map(_make_adaptive, (1, 2, 3))


def _check_samples(samples, input, ndim):
    images, channels = input.array.shape[:2]
    if samples.array.dtype != input.array.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    if samples.array.ndim != 3:
        raise RuntimeError(f"Expect _random_samples to have 3 dimensions, got {samples.array.ndim}")
    if samples.array.shape[0] < images:
        raise RuntimeError("Expect _random_samples.size(0) no less then input batch size.")
    if samples.array.shape[1] != channels:
        raise RuntimeError("Expect _random_samples.size(1) equals to input channel size.")
    if samples.array.shape[2] != ndim:
        raise RuntimeError(f"Expect _random_samples.size(2) equals to {ndim}; got {samples.array.shape[2]}.")


def _starts(sample, size, places, taps):
    """Where the windows of each plane begin along one dimension: (planes, places).

    They lie about alpha apart, one step more or less as chance has it, and the last one ends where the image does.
    Source: Graham, "Fractional max-pooling", 2014.
    """
    last = sample.new_full((len(sample), 1), size - taps).long()
    if places == 1:
        return last
    alpha = (sample.new_full((), size - taps)) / sample.new_full((), places - 1)
    number = creation.arange(places - 1, device=sample.device).to(sample.dtype)
    begin = sample.unsqueeze(-1)
    found = ((number + begin) * alpha).long() - (begin * alpha).long()
    return EXPORTS["cat"]([found, last], -1)


def _fractional(op, ndim, input, kernel_size, output_size, output_ratio, samples):
    need_tensors(op, input=input)
    if output_size is None and output_ratio is None:
        raise ValueError(f"{op} requires specifying either an output_size or an output_ratio")
    shape = input.array.shape
    if len(shape) not in (ndim + 1, ndim + 2):
        raise (IndexError if len(shape) <= ndim else RuntimeError)(
            f"{op}(): Expected {ndim + 1}D or {ndim + 2}D tensor, but got: {list(shape)}"
        )
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * ndim
        output_size = [int(size * ratio) for size, ratio in zip(shape[-ndim:], ratios, strict=True)]
    taps, sizes = windows_of(op, ndim, kernel_size=kernel_size, output_size=output_size)
    _check_fractional(op, input, taps, sizes)
    if samples is None:
        rows = (1 if len(shape) == ndim + 1 else shape[0], shape[-ndim - 1], ndim)
        samples = draw_uniform(rows, 0, 1, input.array.dtype, input.device, generator_of(op, None))
    return unbatched(lambda x: _pooled_at(x, samples, taps, sizes), input, ndim)


def _check_fractional(op, input, taps, sizes):
    ndim, shape = len(taps), input.array.shape
    refuse_types(op, input.array, "biu")
    if 0 in shape[len(shape) - ndim - 1 :]:
        raise RuntimeError(
            f"{op}(): Expected input to have non-zero size for non-batch dimensions, but got {list(shape)} with "
            f"dimension {shape.index(0, len(shape) - ndim - 1)} being empty."
        )
    for name, size, window, places in zip(("time", "height", "width")[-ndim:], shape[-ndim:], taps, sizes, strict=True):
        if places + window - 1 > size or window < 1 or places < 1:
            raise RuntimeError(f"{op}(): pool {name} {window} too large relative to input {name} {size}")


def _pooled_at(x, samples, taps, sizes):
    ndim, shape = len(taps), x.array.shape
    _check_samples(samples, x, ndim)
    flat = samples[: shape[0]].reshape(-1, ndim)
    order = (1, 0) if ndim == 2 else range(ndim)  # in two dimensions the first number is for the width
    each = zip(order, shape[2:], sizes, taps, strict=True)
    starts = [_starts(flat[:, at], size, places, window) for at, size, places, window in each]
    missing = [flat.new_zeros((len(flat), 1)).long()] * (3 - ndim)
    ends = [each + window for each, window in zip([*missing, *starts], volume(taps), strict=True)]
    cat = EXPORTS["cat"]
    bounds = EXPORTS["stack"]([cat([*missing, *starts], 1), cat(ends, 1)], -1)
    return _pooled_by(x, bounds, sizes, taps)


def _make_fractional(ndim):
    op = f"fractional_max_pool{ndim}d"

    @export(f"nn.functional.{op}_with_indices", autocast=FLOAT32_ON_CPUS)
    def with_indices(
        input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
    ):
        """The largest elements of windows that lie a random step apart, and where in their plane they are."""
        return _fractional(op, ndim, input, kernel_size, output_size, output_ratio, _random_samples)

    @export(f"nn.functional.{op}", autocast=FLOAT32_ON_CPUS)
    def fractional_max_pool(
        input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
    ):
        """The largest elements of windows a random step apart; `_random_samples` (N, C, dimensions) are in [0, 1)."""
        found = _fractional(op, ndim, input, kernel_size, output_size, output_ratio, _random_samples)
        return found if return_indices else found[0]

    return fractional_max_pool


fractional_max_pool2d, fractional_max_pool3d = map(_make_fractional, (2, 3))


def _unpooled_size(input, kernel, stride, padding, output_size):
    image = input.array.shape[-len(kernel) :]
    default = [(size - 1) * by + taps - 2 * pad
               for size, taps, by, pad in zip(image, kernel, stride, padding, strict=True)]  # fmt: skip
    if output_size is None:
        return tuple(default)
    wanted, ndim = tuple(output_size), len(kernel)
    if len(wanted) == ndim + 2:
        wanted = wanted[-ndim:]
    if len(wanted) != ndim:
        raise ValueError(
            f"output_size should be a sequence containing {ndim} or {ndim + 2} elements, but it has a length of "
            f"'{len(wanted)}'"
        )
    for dim, (size, plain, by) in enumerate(zip(wanted, default, stride, strict=True)):
        if not plain - by < size < plain + by:
            raise ValueError(
                f'invalid output_size "{tuple(output_size)}" (dim {dim} must be between {plain - by} and {plain + by})'
            )
    return wanted


def _check_unpool(op, input, indices, sizes):
    ndim, shape = len(sizes), input.array.shape
    if indices.array.dtype != "int64":
        raise RuntimeError(f"elements in indices should be type int64 but got: {KIND_NAMES[indices.dtype.name]}")
    if len(shape) not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"Input to {op} should be a {ndim + 1}d or {ndim + 2}d Tensor, but got a tensor with {len(shape)} "
            "dimensions."
        )
    if indices.array.shape != shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(shape)}) but got indices tensor "
            f"with shape: {list(indices.array.shape)}"
        )
    if 0 in shape[len(shape) - ndim - 1 :]:
        raise RuntimeError(
            f"{op}(): Expected input to have non-zero size for non-batch dimensions, but got {list(shape)} with "
            f"dimension {shape.index(0, len(shape) - ndim - 1)} being empty."
        )
    refuse_types(op, input.array, "biu")
    found, area = indices.array, math.prod(sizes)
    if isinstance(found, np.ndarray) and found.size and not 0 <= found.min() <= found.max() < area:
        wrong = found[(found < 0) | (found >= area)][0]
        raise RuntimeError(
            f"Found an invalid max index: {wrong} (output volumes are of size {'x'.join(map(str, sizes))})"
        )


def _make_unpool(ndim):
    op = f"max_unpool{ndim}d"

    @export(f"nn.functional.{op}", autocast=FLOAT32_ON_CPUS)
    def max_unpool(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        """Zeros, but the elements of `input` at `indices` of their plane: what max_pool gave, put back."""
        need_tensors(op, input=input, indices=indices)
        given = windows_of(op, ndim, kernel_size=kernel_size, stride=stride, padding=padding)
        sizes = _unpooled_size(input, *given, output_size)
        _check_unpool(op, input, indices, sizes)
        planes = input.array.shape[:-ndim]
        zeros = input.new_zeros((*planes, math.prod(sizes)))
        dim = len(planes)
        found = TABLE["scatter"].apply(zeros, dim, False, indices.flatten(-ndim), input.flatten(-ndim))
        return found.reshape(*planes, *sizes)

    return max_unpool


max_unpool1d, max_unpool2d, max_unpool3d = map(_make_unpool, (1, 2, 3))
