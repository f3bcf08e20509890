"""Windows of one, two or three dimensions that slide over images: what PyTorch takes, and how it refuses.

Everything that describes a window is a tuple of one integer a dimension; kernels see three dimensions always, of which
the first are one element wide where there are fewer.
"""

from __future__ import annotations

import functools
import itertools
from operator import index as as_int

import numpy as np

from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes

_NUMBERS = {2: "two", 3: "three"}
_AXES = ("T", "H", "W")
_TAKES = {
    "stride": "must either be omitted, a single int, or a tuple of {} ints",
    "dilation": "must be either a single int, or a tuple of {} ints",
}


def windows_of(op, ndim, **given):
    """One integer a dimension for everything given, such as kernel_size=2, stride=None: the stride may be left out."""
    if "stride" in given and given["stride"] in (None, (), []):
        given["stride"] = given["kernel_size"]
    return tuple([_each(op, ndim, name, value) for name, value in given.items()])


def _each(op, ndim, name, value):
    values = value if isinstance(value, (tuple, list)) else (value,)
    try:
        values = tuple([as_int(each) for each in values])
    except TypeError:
        kind = type(next(each for each in values if not hasattr(each, "__index__"))).__name__
        place = ("input", "kernel_size", "stride", "padding", "dilation").index(name) + 1
        raise TypeError(f"{op}(): argument '{name}' (position {place}) must be tuple of ints, not {kind}") from None
    if len(values) not in (1, ndim):
        takes = _TAKES.get(name, "must either be a single int, or a tuple of {} ints")
        raise RuntimeError(
            f"{op}: {name} {takes.format(_NUMBERS[ndim])}" if ndim > 1
            else f"{op}() {name} must be an int, list of ints or tuple of ints of size 1 but got size {len(values)}"
        )  # fmt: skip
    return values * ndim if len(values) < ndim else values


def volume(values, fill=1):
    """The three dimensions of kernels: `fill` for those that are not there."""
    return (fill,) * (3 - len(values)) + tuple(values)


def places_of(image, kernel, stride, padding, dilation, ceil_mode):
    """How many places a window takes along each dimension; `ceil_mode` counts those that end outside as well."""
    sizes = []
    for size, taps, by, pad, step in zip(image, kernel, stride, padding, dilation, strict=True):
        room = size + 2 * pad - step * (taps - 1) - 1
        places = (room + by - 1 if ceil_mode else room) // by + 1
        if ceil_mode and (places - 1) * by >= size + pad:  # would begin in the padding at the end
            places -= 1
        sizes.append(places)
    return tuple(sizes)


def taps_of(image, out, kernel, stride, padding, dilation):
    """For each tap of a window: the part of the image it reads, and which of the places read there, both as slices."""
    for _, read, part in numbered_taps_of(image, out, kernel, stride, padding, dilation):
        yield read, part


def numbered_taps_of(image, out, kernel, stride, padding, dilation):
    """The same, each with its number in the window: taps that read nothing are left out."""
    for number, taps in enumerate(itertools.product(*map(range, kernel))):
        reach = [
            _reach(at * step - pad, by, size, places)
            for at, step, pad, by, size, places in zip(taps, dilation, padding, stride, image, out, strict=True)
        ]
        if all(part.stop > part.start for _, part in reach):
            yield number, tuple([read for read, _ in reach]), tuple([part for _, part in reach])


def _reach(first, by, size, places):
    """The elements first, first + by, ... of `places` that lie in range(size), and which of the places those are."""
    begin = max(0, -(first // by)) if first < 0 else 0
    end = min(places, (size - 1 - first) // by + 1) if size > first else begin
    start = first + begin * by
    return slice(start, start + max(end - begin - 1, 0) * by + 1, by), slice(begin, max(end, begin))


def evenly(size, places):
    """Where `places` windows that cover `size` elements as evenly as they can begin and end: (places, 2)."""
    number = np.arange(places)
    return np.stack([number * size // max(places, 1), -(-(number + 1) * size // max(places, 1))], -1)


def flat(numbers, image):
    """The number of an element in its plane, from its number along each dimension (or an open mesh of them)."""
    return functools.reduce(lambda total, pair: total * pair[1] + pair[0], zip(numbers, image, strict=True), 0)


def check_pool(op, x, kernel, stride, padding, dilation, ceil_mode):
    """Refuse arguments of a pooling that do not fit; `x` is (channels, ...) or (images, channels, ...)."""
    ndim = len(kernel)
    _check_image(op, x, ndim)
    if 0 in stride:
        raise RuntimeError("stride should not be zero")
    axes = _AXES[-max(ndim, 2) :]  # PyTorch's one-dimensional windows have a height of one
    named = ("kernel size", "k", kernel), ("stride", "d", stride), ("dilation", "dilation", dilation)
    for name, letter, values in named:
        if min(values) <= 0:
            each = zip(axes, volume(values)[-len(axes) :], strict=True)
            got = " ".join(f"{letter}{axis}: {value}" for axis, value in each)
            raise RuntimeError(f"{name} should be greater than zero, but got {got}")
    for pad, taps, step in zip(padding, kernel, dilation, strict=True):
        if pad < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {pad}")
        if pad > ((taps - 1) * step + 1) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, "
                f"but got pad={pad}, kernel_size={taps} and dilation={step}"
            )
    out = places_of(x.shape[-ndim:], kernel, stride, padding, dilation, ceil_mode)
    if min(out) < 1:
        planes = (x.shape[-ndim - 1], 1) if ndim == 1 else (x.shape[-ndim - 1],)
        before, after = ("x".join(map(str, (*planes, *sizes))) for sizes in (x.shape[-ndim:], out))
        raise RuntimeError(f"Given input size: ({before}). Calculated output size: ({after}). Output size is too small")


def check_line(x, kernel, stride, padding, dilation, ceil_mode):
    """Refuse arguments of max_pool1d that do not fit, for which PyTorch has words of its own."""
    _check_image("max_pool1d", x, 1)
    for name, (value,) in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if value <= 0:
            raise RuntimeError(f"max_pool1d() {name} must be greater than zero, but got {value}")
    if padding[0] < 0:
        raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {padding[0]}")
    if padding[0] > kernel[0] // 2:
        raise RuntimeError(
            "max_pool1d() padding should be at most half of kernel size, but got "
            f"padding={padding[0]} and kernel_size={kernel[0]}"
        )
    (places,) = places_of(x.shape[-1:], kernel, stride, padding, dilation, ceil_mode)
    if places < 1:
        raise RuntimeError(f"max_pool1d() Invalid computed output size: {places}")


def _check_image(op, x, ndim):
    ranks = ndim + 1, ndim + 2
    if x.ndim not in ranks and ndim > 1:
        raise RuntimeError(f"non-empty {ranks[0]}D or {ranks[1]}D (batch mode) tensor expected for input")
    if x.ndim not in ranks or 0 in x.shape[x.ndim - ndim - 1 :]:
        name = f"{op}: " if ndim == 1 else ""
        raise RuntimeError(
            f"{name}Expected {ranks[0]}D or {ranks[1]}D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got:{list(x.shape)}"
        )


def refuse_types(op, x, kinds):
    """Refuse dtypes of the given NumPy kinds ("b", "biu"), as PyTorch does that has no such kernel."""
    if x.dtype.kind in kinds:
        raise NotImplementedError(f"\"{op}\" not implemented for '{KIND_NAMES[dtypes.of(x.dtype).name]}'")
