"""Sizes, strides and paddings of pooling windows: what PyTorch takes, and how it refuses."""

from __future__ import annotations


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


def pool_arguments(op, kernel_size, stride, padding, dilation):
    """Pairs of everything that describes a pooling window; the stride is the window where it is not given."""
    stride = kernel_size if stride is None or stride == () else stride
    given = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    for name, value in given.items():
        if not isinstance(value, int) and len(value) not in (1, 2):
            raise RuntimeError(f"{op}: {name} must either be a single int, or a tuple of two ints")
    return tuple(pair(name, value) for name, value in given.items())


def pool_size(image, kernel, stride, padding, dilation, ceil_mode):
    """The places a pooling window takes; with `ceil_mode` also those that begin inside and end outside."""
    sizes = []
    for size, taps, by, pad, step in zip(image, kernel, stride, padding, dilation, strict=True):
        room = size + 2 * pad - step * (taps - 1) - 1
        places = (room + by - 1 if ceil_mode else room) // by + 1
        if ceil_mode and (places - 1) * by >= size + pad:  # would begin in the padding at the end
            places -= 1
        sizes.append(places)
    return tuple(sizes)


def check_pool(op, x, kernel, stride, padding, dilation, ceil_mode):
    """Refuse arguments of a pooling that do not fit."""
    if x.ndim not in (3, 4):
        raise RuntimeError("non-empty 3D or 4D (batch mode) tensor expected for input")
    if 0 in x.shape[1:] or (x.ndim == 3 and x.shape[0] == 0):
        raise RuntimeError(
            f"Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(x.shape)}"
        )
    if x.dtype.kind == "b":
        raise NotImplementedError(f"\"{op}\" not implemented for 'Bool'")
    if min(kernel) <= 0:
        raise RuntimeError(
            f"kernel size should be greater than zero, but got kernelH: {kernel[0]} kernelW: {kernel[1]}"
        )
    if 0 in stride:
        raise RuntimeError("stride should not be zero")
    if min(dilation) <= 0:
        raise RuntimeError(
            f"dilation should be greater than zero, but got dilationH: {dilation[0]} dilationW: {dilation[1]}"
        )
    for pad, taps, step in zip(padding, kernel, dilation, strict=True):
        if pad < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {pad}")
        if pad > ((taps - 1) * step + 1) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, "
                f"but got pad={pad}, kernel_size={taps} and dilation={step}"
            )
    out, planes = pool_size(x.shape[-2:], kernel, stride, padding, dilation, ceil_mode), x.shape[-3]
    if min(out) < 1:
        raise RuntimeError(
            f"Given input size: ({planes}x{x.shape[-2]}x{x.shape[-1]}). "
            f"Calculated output size: ({planes}x{out[0]}x{out[1]}). Output size is too small"
        )


def taps_of(image, out, kernel, stride, padding, dilation):
    """For each tap of a window: the rows and columns of the image it reads, and which of the places read there."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            (rows, down), (columns, across) = (
                _reach(at * step - pad, by, size, places)
                for at, step, pad, by, size, places in zip((i, j), dilation, padding, stride, image, out, strict=True)
            )
            if down.stop > down.start and across.stop > across.start:
                yield rows, columns, (down, across)


def _reach(first, by, size, places):
    """The elements first, first + by, ... of `places` that lie in range(size), and which of the places those are."""
    begin = max(0, -(first // by)) if first < 0 else 0
    end = min(places, (size - 1 - first) // by + 1) if size > first else begin
    start = first + begin * by
    return slice(start, start + max(end - begin - 1, 0) * by + 1, by), slice(begin, max(end, begin))
