"""The kernels of convolution: implicit matrix products, which gather operands by address instead of copying patches.

One kernel does it over one, two and three spatial dimensions: sizes and strides are tuples, and loops over them are
unrolled. Forward and input gradient are one kernel too, by the phases of `phases.py`.
"""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, kernel
from tritorch.ops.convolution.parts import parts_for, sum_parts
from tritorch.ops.convolution.phases import phases
from tritorch.ops.convolution.reach import far
from tritorch.ops.convolution.tiles import GATHER_SPACE, WEIGHT_SPACE, gather_default, weight_default
from tritorch.ops.layout import element_strides, needs_64_bits
from tritorch.ops.matrix.epilogue import activated
from tritorch.ops.matrix.kernel import dot_settings, multiply_add, tile_of
from tritorch.runtime import tl


@kernel
def coordinates(index, size, RANK: tl.constexpr):
    """Where element number `index` of an array of `size` is, along each of its dimensions."""
    if RANK == 1:
        place = (index,)
    elif RANK == 2:
        place = (index // size[1], index % size[1])  # type: ignore[assignment]  # as long as the rank
    else:
        rest = index // size[2]
        place = (rest // size[1], rest % size[1], index % size[2])  # type: ignore[assignment]
    return place


@kernel(
    space=GATHER_SPACE, default=gather_default, key=("ACTIVATION", "PRECISION", "RANK", "x_packed", "weight_packed")
)
def gather_kernel(
    x,  # images: (images, groups * channels, *size) by x_strides
    weight,  # (group, column, channel, *taps) by weight_strides
    bias,  # None, or (groups * columns,) by bias_step
    out,  # (images, groups * columns, *out_size) by out_strides
    rows,  # images * places
    columns,
    channels,
    size,  # of x, along each spatial dimension; so are the next
    out_size,
    taps,
    scale,  # out position -> x position: scale * position + base + step * tap
    base,
    step,
    x_strides,
    weight_strides,
    out_strides,
    bias_step,
    ACTIVATION: tl.constexpr,  # None, or a formula
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    RANK: tl.constexpr,  # how many spatial dimensions
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    places, inner = out_size[0], channels * taps[0]
    for d in tl.static_range(1, RANK):
        places, inner = places * out_size[d], inner * taps[d]
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    group = (tl.program_id(0) // tiles).to(tl.int64)
    m, n = tile_of(tl.program_id(0) % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N)  # as wide as `rows` is
    image, place = row // places, coordinates(row % places, out_size, RANK)
    from_row, from_column = far(image, WIDE) * x_strides[0], far(column, WIDE) * weight_strides[1]
    for d in tl.static_range(RANK):
        from_row += far(place[d] * scale[d] + base[d], WIDE) * x_strides[2 + d]
    x += group * channels * x_strides[1]
    weight += group * weight_strides[0]
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(0, inner, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        channel, tap = k % channels, coordinates(k // channels, taps, RANK)
        from_k, to_k = far(channel, WIDE) * x_strides[1], far(channel, WIDE) * weight_strides[2]
        inside = (row < rows)[:, None] & (k < inner)[None, :]
        for d in tl.static_range(RANK):
            at = (place[d] * scale[d] + base[d]).to(tl.int32)[:, None] + (tap[d] * step[d])[None, :]
            inside = inside & (at >= 0) & (at < size[d])
            from_k += far(tap[d], WIDE) * step[d] * x_strides[2 + d]
            to_k += far(tap[d], WIDE) * weight_strides[3 + d]
        left = tl.load(x + from_row[:, None] + from_k[None, :], mask=inside, other=0)
        right = tl.load(
            weight + to_k[:, None] + from_column[None, :],
            mask=(k < inner)[:, None] & (column < columns)[None, :], other=0,
        )  # fmt: skip
        total = multiply_add(left, right, total, DOTS, PRECISION)
    total = activated(total, bias, (group * columns + column) * bias_step, column < columns, ACTIVATION)
    to = far(image, WIDE) * out_strides[0]
    for d in tl.static_range(RANK):
        to += far(place[d], WIDE) * out_strides[2 + d]
    place_out = out + to[:, None] + ((group * columns + column) * out_strides[1])[None, :]
    tl.store(place_out, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def launch_gather(x, weight, bias, out, groups, weight_strides, columns, scale, base, step, activation=None):
    """One launch of gather_kernel; `weight_strides` are those of (group, column, channel, *taps) of `weight`."""
    if out.size == 0:
        return
    rank, channels = x.ndim - 2, x.shape[1] // groups
    taps, out_size = tuple(weight.shape[2:]), tuple(out.shape[2:])
    constants, sizes = dot_settings(x.dtype)
    rows, inner = out.shape[0] * math.prod(out_size), channels * math.prod(taps)
    wide, steps, out_steps = any(map(_is_wide, (x, weight, out))), element_strides(x), element_strides(out)
    config = gather_kernel.config(
        (x, weight, bias, out), rows=rows, columns=columns, inner=max(inner, 1), batch=groups, wide=wide, **sizes,
        ACTIVATION=activation, PRECISION=constants["PRECISION"], RANK=rank,
        x_packed=_is_packed(channels, steps[1]), weight_packed=_is_packed(channels, weight_strides[2]),
    )  # fmt: skip
    grid = (cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * groups,)
    gather_kernel[grid](
        x, weight, bias, out, rows, columns, channels, tuple(x.shape[2:]), out_size, taps, scale, base, step, steps,
        weight_strides, out_steps, 0 if bias is None else element_strides(bias)[0],
        RANK=rank, ACTIVATION=activation, WIDE=wide, **constants, **config,
    )  # fmt: skip


def _is_packed(channels, step):
    """Whether neighbours along a sum are neighbours in memory, so that several are loaded at once."""
    return step == 1 and channels % 16 == 0


def _is_wide(array):
    return needs_64_bits(array.shape, [element_strides(array)])


def launch_gather_forward(x, weight, bias, out, stride, padding, dilation, groups, activation):
    """The convolution of `x` with `weight`, plus `bias`, and what a formula makes of that."""
    w_feature, *rest = element_strides(weight)
    columns = weight.shape[0] // groups
    base = tuple([-before for before, _ in padding])
    launch_gather(
        x, weight, bias, out, groups, (columns * w_feature, w_feature, *rest), columns, tuple(stride), base,
        tuple(dilation), activation,
    )  # fmt: skip


def launch_gather_input_gradient(grad, weight, out, stride, padding, dilation, groups):
    """The gradient of a convolution by its input; one launch for each phase of the stride."""
    features, columns, *taps = weight.shape
    for places, used, base, step in phases(out.shape[2:], taps, stride, padding, dilation):
        part = weight[(slice(None), slice(None), *used)]
        w_feature, w_column, *rest = element_strides(part)
        strides = (features // groups * w_feature, w_column, w_feature, *rest)
        target = out[(slice(None), slice(None), *places)]
        launch_gather(grad, part, None, target, groups, strides, columns, (1,) * len(taps), base, step)


@kernel(space=WEIGHT_SPACE, default=weight_default, key=("PRECISION", "RANK", "grad_packed", "x_packed"))
def weight_kernel(
    grad,  # (images, groups * rows, *out_size) by grad_strides
    x,  # (images, groups * channels, *size) by x_strides
    out,  # sums, one for each part: (parts, groups * rows, channels, taps) by out_strides
    inner,  # images * places
    rows,
    channels,
    size,  # of x, along each spatial dimension; so are the next
    out_size,
    taps,
    stride,
    padding,  # before the first element
    dilation,
    grad_strides,
    x_strides,
    out_strides,
    groups,
    span,  # how many (image, place) pairs a part adds up
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    RANK: tl.constexpr,  # how many spatial dimensions
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    places, number = out_size[0], taps[0]
    for d in tl.static_range(1, RANK):
        places, number = places * out_size[d], number * taps[d]
    columns = channels * number
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    batch = tl.program_id(0) // tiles
    group, part = (batch % groups).to(tl.int64), (batch // groups).to(tl.int64)
    m, n = tile_of(tl.program_id(0) % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N)
    channel, tap = column // number, coordinates(column % number, taps, RANK)
    from_row, from_column = far(row, WIDE) * grad_strides[1], far(channel, WIDE) * x_strides[1]
    for d in tl.static_range(RANK):
        from_column += far(tap[d] * dilation[d] - padding[d], WIDE) * x_strides[2 + d]
    grad += group * rows * grad_strides[1]
    x += group * channels * x_strides[1]
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(0, span, BLOCK_K):
        k = part * span + start + tl.arange(0, BLOCK_K)
        known = (k < inner) & (start + tl.arange(0, BLOCK_K) < span)
        if not WIDE:
            k = k.to(tl.int32)
        image, place = k // places, coordinates(k % places, out_size, RANK)
        from_grad, from_x = image * grad_strides[0], image * x_strides[0]
        inside = known[:, None] & (column < columns)[None, :]
        for d in tl.static_range(RANK):
            at = (place[d] * stride[d]).to(tl.int32)[:, None] + (tap[d] * dilation[d] - padding[d])[None, :]
            inside = inside & (at >= 0) & (at < size[d])
            from_x += place[d] * stride[d] * x_strides[2 + d]
            from_grad += place[d] * grad_strides[2 + d]
        left = tl.load(
            grad + from_row[:, None] + from_grad[None, :], mask=(row < rows)[:, None] & known[None, :], other=0
        )
        right = tl.load(x + from_x[:, None] + from_column[None, :], mask=inside, other=0)
        total = multiply_add(left, right, total, DOTS, PRECISION)
    to = (channel * out_strides[2] + column % number * out_strides[3])[None, :]
    place_out = out + part * out_strides[0] + (group * rows + row)[:, None] * out_strides[1] + to
    tl.store(place_out, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def launch_gather_weight_gradient(grad, x, out, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight."""
    (features, channels, *size), inner = out.shape, grad.size // grad.shape[1]
    rows, columns = features // groups, channels * math.prod(size)
    constants, sizes = dot_settings(grad.dtype)
    wide, steps, x_steps = _is_wide(x) or _is_wide(grad), element_strides(grad), element_strides(x)
    config = weight_kernel.config(
        (grad, x, out), rows=rows, columns=columns, inner=max(inner, 1), batch=groups, wide=wide, **sizes,
        PRECISION=constants["PRECISION"], RANK=len(size),
        grad_packed=_is_packed(grad.shape[-1], steps[-1]), x_packed=_is_packed(x.shape[-1], x_steps[-1] * stride[-1]),
    )  # fmt: skip
    number = config["PARTS"]
    knobs = {name: value for name, value in config.items() if name != "PARTS"}
    parts, out_steps = parts_for(out, number)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"])
    before = tuple([ends[0] for ends in padding])
    weight_kernel[(tiles * groups * number,)](
        grad, x, parts, inner, rows, channels, tuple(x.shape[2:]), tuple(grad.shape[2:]), tuple(size), tuple(stride),
        before, tuple(dilation), steps, x_steps, out_steps, groups, cdiv(inner, number),
        RANK=len(size), WIDE=wide, GROUP_M=8, **constants, **knobs,
    )  # fmt: skip
    sum_parts(parts, out, number)
