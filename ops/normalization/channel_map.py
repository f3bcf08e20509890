"""What is done to each element of an image by what its channel has: the last pass of batch_norm and of its gradient.

Where channels lie innermost, a row is a place, and a tile reads what each of its columns has once; where images lie
plane by plane, a row is a plane. Other layouts take the pointwise kernel, which finds the channel of each element.
"""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import as_contiguous, element_strides, empty_by, format_order
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.rowwise.kernel import warps_of
from tritorch.runtime import tl

_SHORTEST = 256  # elements of a plane: of shorter ones most of a tile would be empty, or rows start anywhere


def map_default(device, *, rows, columns, INNERMOST):
    """8 KiB a tile of half precision, less where there would be fewer than eight waves; wide ones of planes."""
    if device.kind == "interpreter":
        width = min(next_power_of_2(columns), 4096)
        return {"ROWS": min(next_power_of_2(cdiv(rows, 4)), 65536 // width), "COLUMNS": width, "num_warps": 4}
    tile, width = 4096, min(next_power_of_2(columns), 256 if INNERMOST else 2048)
    while tile > 1024 and cdiv(rows * columns, tile) < 8 * device.sms:
        tile //= 2
    height = min(max(tile // width, 1), next_power_of_2(rows), 256)
    return {"ROWS": height, "COLUMNS": width, "num_warps": warps_of(height * width)}


def _no_larger(ROWS, COLUMNS, rows, columns):
    return ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)


def _elements_a_thread(ROWS, COLUMNS, num_warps):
    """Up to 16; four at least, unless a warp is one too many already."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= 16 and (num_warps == 1 or each >= 4)


def _lines_of_memory(COLUMNS, columns):
    return min(next_power_of_2(columns), 64) <= COLUMNS


_SETTINGS = {
    "space": Space(
        ROWS=powers(1, 256, default=16), COLUMNS=powers(1, 4096, default=256), num_warps=warps(1, 8, default=8),
        where=(_no_larger, _elements_a_thread, _lines_of_memory),
    ),
    "default": map_default,
    "key": ("WIDE",),
}  # fmt: skip


@kernel
def _tile(rows, columns, channels, INNERMOST: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
          COLUMNS: tl.constexpr):  # fmt: skip
    """Where the elements of a tile are, which of them there are, and the channels of its columns or rows likewise."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    valid, present = (row < rows)[:, None], (column < columns)[None, :]
    places = row[:, None] * columns + column[None, :]
    if INNERMOST:
        channel, there = column[None, :], present
    else:
        channel, there = (row % channels)[:, None], valid
    return places, valid & present, channel, there


@kernel
def _of_channel(array, channel, present, ABSENT: tl.constexpr, COMPUTE: tl.constexpr):
    """What each channel has; ABSENT where there is no array."""
    if array is None:
        found = tl.full([1, 1], ABSENT, COMPUTE)
    else:
        found = tl.load(array + channel, mask=present, other=ABSENT).to(COMPUTE)
    return found


@kernel(**_SETTINGS)
def channel_norm_kernel(
    x,  # what is normalised, dense: (rows, columns)
    mean,  # (channels,)
    variance,  # (channels,)
    weight,  # (channels,) or None
    bias,  # (channels,) or None
    out,  # the result, which lies as x does: (rows, columns)
    rows,
    columns,
    channels,
    eps: tl.float64,
    INNERMOST: tl.constexpr,  # a column is a channel; else a row is one of some image
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    places, inside, channel, present = _tile(rows, columns, channels, INNERMOST, WIDE, ROWS, COLUMNS)
    value = tl.load(x + places, mask=inside, other=0).to(COMPUTE)
    scale = 1 / tl.sqrt(_of_channel(variance, channel, present, 1, COMPUTE) + eps.to(COMPUTE))
    factor = scale * _of_channel(weight, channel, present, 1, COMPUTE)
    result = (value - _of_channel(mean, channel, present, 0, COMPUTE)) * factor
    result += _of_channel(bias, channel, present, 0, COMPUTE)
    tl.store(out + places, result.to(out.dtype.element_ty), mask=inside)


@kernel(**_SETTINGS)
def channel_slope_kernel(
    grad,  # the gradient of the result, which lies as x does: (rows, columns)
    x,  # what was normalised, dense: (rows, columns)
    mean,  # (channels,)
    variance,  # (channels,)
    weight,  # (channels,) or None
    products,  # the sums of grad times the normalised x: (channels,)
    sums,  # the sums of grad: (channels,)
    out,  # the gradient of x: (rows, columns)
    rows,
    columns,
    channels,
    eps: tl.float64,
    count: tl.float64,  # elements of a channel
    INNERMOST: tl.constexpr,  # a column is a channel; else a row is one of some image
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    places, inside, channel, present = _tile(rows, columns, channels, INNERMOST, WIDE, ROWS, COLUMNS)
    g = tl.load(grad + places, mask=inside, other=0).to(COMPUTE)
    value = tl.load(x + places, mask=inside, other=0).to(COMPUTE)
    scale = 1 / tl.sqrt(_of_channel(variance, channel, present, 1, COMPUTE) + eps.to(COMPUTE))
    factor = scale * _of_channel(weight, channel, present, 1, COMPUTE)
    along = scale * _of_channel(products, channel, present, 0, COMPUTE) / count.to(COMPUTE)
    level = _of_channel(sums, channel, present, 0, COMPUTE) / count.to(COMPUTE)
    apart = value - _of_channel(mean, channel, present, 0, COMPUTE)
    tl.store(out + places, (factor * (g - level - apart * along)).to(out.dtype.element_ty), mask=inside)


def rows_of(*tensors):
    """(rows, columns, whether a column is a channel) of dense tensors of (N, C, *) that lie alike; None for others."""
    input = tensors[0]
    batch, channels, places = input.shape[0], input.shape[1], math.prod(input.shape[2:])
    order = format_order(input)
    innermost = order is not None or places == 1
    if not (innermost or places >= _SHORTEST) or not all(
        _is_dense(each, order or range(each.ndim)) for each in tensors
    ):
        return None
    return (batch * places, channels, True) if innermost else (batch * channels, places, False)


def _is_dense(array, order):
    """Whether the elements lie without gaps, the dimensions in this order."""
    step, steps = 1, element_strides(array)
    for axis in reversed(tuple(order)):
        if array.shape[axis] != 1 and steps[axis] != step:
            return False
        step *= array.shape[axis]
    return True


def launch_map(kernel, tensors, vectors, *numbers, channels, lying):
    """Run one of the kernels over tensors that lie as `lying`, from rows_of, says, with vectors of the channels."""
    input, (rows, columns, innermost) = tensors[-1], lying
    out = empty_by(input, tuple(input.shape), format_order(input))
    if not out.size:
        return out
    vectors = [None if each is None else as_contiguous(each) for each in vectors]
    arrays, facts = (*tensors, *vectors, out), {"INNERMOST": innermost, "WIDE": out.size >= 2**31}
    config = kernel.config(arrays, rows=rows, columns=columns, **facts)
    kernel[(cdiv(rows, config["ROWS"]), cdiv(columns, config["COLUMNS"]))](
        *arrays, rows, columns, channels, *numbers, COMPUTE=triton_dtype(computed_in(input.dtype)), **facts, **config
    )
    return out
