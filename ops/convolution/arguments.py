"""What a convolution takes over one, two or three spatial dimensions, and how it refuses, in PyTorch's words.

Everything that describes a window is a tuple of one integer a dimension; `padding` is a pair (before, after) for each.
"""

from __future__ import annotations

from tritorch.ops.promotion import C_TYPES, KIND_NAMES
from tritorch.runtime import dtypes


def per_dimension(op, name, value, ndim):
    """One integer for all spatial dimensions, or one each."""
    if isinstance(value, int):
        return (value,) * ndim
    if isinstance(value, str):
        raise TypeError(f"{op}(): argument '{name}' must be tuple of ints, not str")
    value = tuple(value)
    if len(value) == 1:
        value *= ndim
    if len(value) != ndim:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {ndim} values to match the convolution "
            f"dimensions, but got {name}={list(value)}"
        )
    for each in value:
        if not hasattr(each, "__index__"):
            raise TypeError(f"{op}(): argument '{name}' must be tuple of ints, not {type(each).__name__}")
    return value


def padding_of(op, padding, kernel, stride, dilation):
    """A pair for each dimension, of an integer, integers, "valid" or "same"."""
    if not isinstance(padding, str):
        return tuple([(each, each) for each in per_dimension(op, "padding", padding, len(kernel))])
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if max(stride) > 1:
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    whole = [step * (taps - 1) for step, taps in zip(dilation, kernel, strict=True)]
    return tuple([(size // 2, size - size // 2) for size in whole])


def out_size(image, kernel, stride, padding, dilation):
    """How many places a window takes along each dimension."""
    return tuple([
        (size + sum(ends) - step * (taps - 1) - 1) // by + 1
        for size, taps, by, ends, step in zip(image, kernel, stride, padding, dilation, strict=True)
    ])  # fmt: skip


def transposed_size(places, kernel, stride, padding, dilation, more):
    """The size of what a transposed convolution makes of `places` windows; `more` is its output_padding."""
    return tuple([
        (count - 1) * by - sum(ends) + step * (taps - 1) + extra + 1
        for count, taps, by, ends, step, extra in zip(places, kernel, stride, padding, dilation, more, strict=True)
    ])  # fmt: skip


def check_ranks(op, x, weight, ndim):
    """Refuse images without (N, C) or (C) before `ndim` spatial dimensions, and a weight without two."""
    if x.ndim not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {op}, "
            f"but got input of size: {list(x.shape)}"
        )
    if weight.ndim < 3:
        raise RuntimeError("weight should have at least three dimensions")
    if weight.ndim != ndim + 2:
        raise RuntimeError(
            f"Expected {ndim + 2}-dimensional weight for {op}, but got weight of size: {list(weight.shape)}"
        )


def check_windows(kernel, stride, padding, dilation, groups):
    """Refuse what describes no window."""
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(map(min, padding)) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if min(kernel) <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(kernel)}")


def check_convolution(x, weight, bias, padding, dilation, groups):
    """Refuse images (batched or not), filters and a bias that do not fit each other."""
    (features, channels, *kernel), given = weight.shape, x.shape[-weight.ndim + 1]
    _check_groups(weight, groups)
    if given != channels * groups:
        batched = list(x.shape) if x.ndim == weight.ndim else [1, *x.shape]
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{batched} to have "
            f"{channels * groups} channels, but got {given} channels instead"
        )
    _check_bias("", weight, bias, features)
    _check_types(x, weight, bias)
    padded = [size + sum(ends) for size, ends in zip(x.shape[-len(kernel) :], padding, strict=True)]
    kernel = [step * (taps - 1) + 1 for step, taps in zip(dilation, kernel, strict=True)]
    if any(window > size for window, size in zip(kernel, padded, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: "
            f"({_times(kernel)}). Kernel size can't be greater than actual input size"
        )
    _check_not_empty(x, len(kernel))


def check_transposed(x, weight, bias, stride, dilation, more, groups, size):
    """Refuse arguments of a transposed convolution to images of `size` that do not fit each other."""
    (channels, columns, *kernel), given = weight.shape, x.shape[-weight.ndim + 1]
    if min(more) < 0:
        raise RuntimeError("negative output_padding is not supported")
    _check_groups(weight, groups)
    if given != channels:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{channels} channels, but got {given} channels instead"
        )
    _check_bias("transposed=1, ", weight, bias, columns * groups)
    _check_types(x, weight, bias)
    if columns == 0:
        raise RuntimeError(f"non-empty weight tensor expected, but got: {list(weight.shape)}")
    if any(extra >= max(by, step) for extra, by, step in zip(more, stride, dilation, strict=True)):
        given = {"output_padding": more, "stride": stride, "dilation": dilation}
        axes = ("depth", "height", "width")[-len(kernel) :]
        shown = [f"{name}_{axis}: {each}" for name, value in given.items()
                 for axis, each in zip(axes, value, strict=True)]  # fmt: skip
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {' '.join(shown)}")
    _check_not_empty(x, len(kernel))
    if min(size) < 1:
        raise RuntimeError(
            f"Given input size per channel: ({_times(x.shape[-len(kernel) :])}). "
            f"Calculated output size per channel: ({_times(size)}). Output size is too small"
        )


def check_tbc(x, weight, bias):
    """Refuse arguments of conv_tbc that do not fit."""
    if x.ndim != 3:
        raise RuntimeError("Input must have 3 dims: time, batch, in_channel")
    if weight.ndim != 3:
        raise RuntimeError("Weight tensor must have 3 dims: kernel_width, in_channels, out_channels.")
    if bias.ndim != 1:
        raise RuntimeError("Bias must be 1-D")
    if x.shape[2] != weight.shape[1]:
        raise RuntimeError("Input dim 2 (input channels) is not == dim 1 in the weight tensor")
    if bias.shape[0] != weight.shape[2]:
        raise RuntimeError("Bias size must equal dim 2 in the weight tensor (output channels).")


def _check_groups(weight, groups):
    if weight.shape[0] < 1:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least 1 at dimension 0, "
            f"but got weight of size {list(weight.shape)} instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{list(weight.shape)}] instead"
        )


def _check_bias(how, weight, bias, features):
    if bias is not None and bias.shape != (features,):
        raise RuntimeError(
            f"Given {how}weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {features} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )


def _check_types(x, weight, bias):
    if x.dtype.kind == "b":
        raise NotImplementedError("\"convolution\" not implemented for 'Bool'")
    for name, other in (("bias", bias), ("weight", weight)):
        if other is not None and other.dtype != x.dtype:
            kinds = [C_TYPES[dtypes.of(a.dtype).name] for a in (x, other)]
            raise RuntimeError(f"Input type ({kinds[0]}) and {name} type ({kinds[1]}) should be the same")


def _check_not_empty(x, ndim):
    if 0 in x.shape[-ndim:]:
        raise RuntimeError(
            f"Only zero batch or zero channel inputs are supported, but got input shape: {list(x.shape)}"
        )


def _times(sizes):
    return " x ".join(map(str, sizes))


def window_of(op, **given):
    """Two integers for everything given that describes a window over images, such as kernel_size=2."""
    return tuple([_two(op, name, value) for name, value in given.items()])


def _two(op, name, value):
    if isinstance(value, int):
        return value, value
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for each in values:
        if not hasattr(each, "__index__"):
            kind = type(each).__name__
            raise TypeError(f"{op}(): argument '{name}' must be tuple of ints, but found element of type {kind}")
    if len(values) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(values)}")
    return values


def check_image(x, kernel, dilation, padding, stride):
    """Refuse images and windows that `unfold` does not take."""
    _check_window("im2col", x, kernel, dilation, padding, stride)
    if x.ndim not in (3, 4) or 0 in x.shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(x.shape)}"
        )
    places = out_size(x.shape[-2:], kernel, stride, [(each, each) for each in padding], dilation)
    if min(places) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(x.shape[-2:])}, kernel_size={kernel}, dilation={dilation}, "
            f"padding={padding}, calculated shape of the array of sliding blocks as {places}, but its components must "
            "be at least one."
        )


def check_columns(x, size, kernel, dilation, padding, stride):
    """Refuse columns, windows and a size of images that `fold` does not take."""
    _check_window("col2im", x, kernel, dilation, padding, stride)
    if x.ndim not in (2, 3) or 0 in x.shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(x.shape)}"
        )
    rows, columns = x.shape[-2:]
    if rows % (kernel[0] * kernel[1]):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={kernel}."
        )
    places = out_size(size, kernel, stride, [(each, each) for each in padding], dilation)
    if columns != places[0] * places[1] or min(places) < 1:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, "
            f"stride={stride}, expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{places[0]} * {places[1]} = {places[0] * places[1]}, but got input.size(2)={columns}."
        )


def _check_window(op, x, kernel, dilation, padding, stride):
    for name, short, value, least in (
        ("kernel size", "kernel", kernel, 1),
        ("dilation", "dilation", dilation, 1),
        ("padding", "pad", padding, 0),
        ("stride", "stride", stride, 1),
    ):
        if min(value) < least:
            raise RuntimeError(
                f"{name} should be {'greater than zero' if least else 'non-negative'}, "
                f"but got {short}_height: {value[0]} {short}_width: {value[1]}"
            )
    if x.dtype.kind in "iu":
        raise NotImplementedError(f"\"{op}\" not implemented for '{KIND_NAMES[dtypes.of(x.dtype).name]}'")
