"""The kernels of convolution: implicit matrix products, which gather operands by address instead of copying patches.

Forward and input gradient are one kernel. The input gradient of stride s falls into s * s phases (which rows and
columns of the image, modulo s); in each of them only every so-many-th tap matters, and with those taps it is a
convolution of stride 1 over the gradient, read backwards.
"""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, choices, kernel, powers
from tritorch.ops.layout import element_strides, empty_like, needs_64_bits
from tritorch.ops.matrix.kernel import accumulator, dot_settings, matmul_default, multiply_add, tile_of
from tritorch.runtime import tl

_TILES = {
    "BLOCK_M": powers(16, 256), "BLOCK_N": powers(16, 256), "BLOCK_K": powers(8, 256), "GROUP_M": choices(1, 4, 8, 16),
    "num_warps": choices(4, 8), "num_stages": choices(1, 2, 3, 4, 5, 6),
}  # fmt: skip


def gather_default(device, *, inner, **sizes):
    """The default of a product, smaller and less deep: addresses and masks of gathered operands take registers."""
    config = matmul_default(device, inner=inner, **sizes)
    if device.kind != "interpreter":
        while config["BLOCK_M"] * config["BLOCK_N"] > 8192:
            config["BLOCK_M" if config["BLOCK_M"] > config["BLOCK_N"] else "BLOCK_N"] //= 2
        warps = 8 if config["BLOCK_M"] * config["BLOCK_N"] > 4096 else config["num_warps"]
        config.update(BLOCK_K=min(config["BLOCK_K"], 32), num_warps=warps, num_stages=2)
    return config


@kernel(space=Space(**_TILES), default=gather_default)
def gather_kernel(
    x,  # images: (images, groups * channels, height, width) by x_strides
    weight,  # (group, column, channel, tap row, tap column) by weight_strides
    bias,  # None, or (groups * columns,) by bias_step
    out,  # (images, groups * columns, out height, out width) by out_strides
    images,
    channels,
    columns,
    size,  # of x: height, width
    out_size,
    taps,  # rows, columns
    scale,  # out position -> x position: scale * position + base + step * tap, down and across
    base,
    step,
    x_strides,
    weight_strides,
    out_strides,
    bias_step,
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    places = out_size[0] * out_size[1]
    rows, inner = images * places, channels * taps[0] * taps[1]
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    group = (tl.program_id(0) // tiles).to(tl.int64)
    m, n = tile_of(tl.program_id(0) % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N)
    if WIDE:
        row, column = row.to(tl.int64), column.to(tl.int64)
    image, place = row // places, row % places
    down, across = place // out_size[1], place % out_size[1]
    first_down, first_across = down * scale[0] + base[0], across * scale[1] + base[1]
    x += group * channels * x_strides[1]
    weight += group * weight_strides[0]
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(0, inner, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        if WIDE:
            k = k.to(tl.int64)
        channel, tap = k % channels, k // channels
        tap_row, tap_column = tap // taps[1], tap % taps[1]
        at_row = first_down[:, None] + (tap_row * step[0])[None, :]
        at_column = first_across[:, None] + (tap_column * step[1])[None, :]
        inside = (at_row >= 0) & (at_row < size[0]) & (at_column >= 0) & (at_column < size[1])
        inside = inside & (row < rows)[:, None] & (k < inner)[None, :]
        places_x = (image * x_strides[0])[:, None] + (channel * x_strides[1])[None, :]
        left = tl.load(x + places_x + at_row * x_strides[2] + at_column * x_strides[3], mask=inside, other=0)
        places_w = channel * weight_strides[2] + tap_row * weight_strides[3] + tap_column * weight_strides[4]
        right = tl.load(
            weight + places_w[:, None] + (column * weight_strides[1])[None, :],
            mask=(k < inner)[:, None] & (column < columns)[None, :], other=0,
        )  # fmt: skip
        total = multiply_add(left, right, total, DOTS, PRECISION)
    if bias is not None:
        added = tl.load(bias + (group * columns + column) * bias_step, mask=column < columns, other=0)
        total += added.to(ACCUMULATE)[None, :]
    at = image * out_strides[0] + down * out_strides[2] + across * out_strides[3]
    place_out = out + at[:, None] + ((group * columns + column) * out_strides[1])[None, :]
    tl.store(place_out, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def launch_gather(x, weight, bias, out, groups, weight_strides, columns, channels, taps, scale, base, step):
    """One launch of gather_kernel; `weight_strides` are those of (group, column, channel, tap row, tap column)."""
    images, _, *out_size = out.shape
    if out.size == 0:
        return
    constants, sizes = dot_settings(x.dtype)
    rows, inner = images * math.prod(out_size), channels * math.prod(taps)
    config = gather_kernel.config(out, rows=rows, columns=columns, inner=max(inner, 1), batch=groups, **sizes)
    grid = (cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * groups,)
    steps, out_steps = element_strides(x), element_strides(out)
    wide = any(needs_64_bits(a.shape, [own]) for a, own in ((x, steps), (out, out_steps)))
    gather_kernel[grid](
        x, weight, bias, out, images, channels, columns, tuple(x.shape[2:]), tuple(out_size), tuple(taps),
        scale, base, step, steps, weight_strides, out_steps, 0 if bias is None else element_strides(bias)[0],
        WIDE=wide, **constants, **config,
    )  # fmt: skip


def launch_forward(x, weight, bias, size, stride, padding, dilation, groups):
    """The convolution of `x` with `weight`, plus `bias`, contiguous."""
    features, channels, *taps = weight.shape
    out = empty_like(x, (x.shape[0], features, *size))
    w_feature, w_channel, w_row, w_column = element_strides(weight)
    columns = features // groups
    strides = (columns * w_feature, w_feature, w_channel, w_row, w_column)
    base = (-padding[0], -padding[2])
    launch_gather(x, weight, bias, out, groups, strides, columns, channels, taps, stride, base, dilation)
    return out


def launch_input_gradient(grad, weight, size, stride, padding, dilation, groups):
    """The gradient of a convolution by its input of `size`, contiguous; one launch for each phase of the stride."""
    features, columns, *taps = weight.shape
    out = empty_like(grad, (grad.shape[0], columns * groups, *size))
    channels = features // groups
    for row in range(min(stride[0], size[0])):
        for column in range(min(stride[1], size[1])):
            (first_i, by_i, base_i, step_i), (first_j, by_j, base_j, step_j) = (
                _phase(row, taps[0], stride[0], padding[0], dilation[0]),
                _phase(column, taps[1], stride[1], padding[2], dilation[1]),
            )
            part = weight[:, :, first_i::by_i, first_j::by_j]
            w_feature, w_channel, w_row, w_column = element_strides(part)
            strides = (channels * w_feature, w_channel, w_feature, w_row, w_column)
            target = out[:, :, row :: stride[0], column :: stride[1]]
            launch_gather(grad, part, None, target, groups, strides, columns, channels, part.shape[2:],
                          (1, 1), (base_i, base_j), (step_i, step_j))  # fmt: skip
    return out


def _phase(phase, taps, stride, padding, dilation):
    """Which taps reach the image rows phase, phase + stride, ...: the first, every how many, and where they read.

    Row phase + stride * q gets tap i from gradient row (phase + padding - dilation * i) / stride + q, if that divides.
    """
    by = stride // math.gcd(stride, dilation)
    first = next((i for i in range(min(by, taps)) if (phase + padding - dilation * i) % stride == 0), taps)
    return first, by, (phase + padding - dilation * first) // stride, -(dilation * by // stride)


def weight_default(device, *, rows, columns, inner, batch=1, **sizes):
    """The default of a gathered product, and enough parts of the long sum to give every multiprocessor a tile."""
    config = gather_default(device, rows=rows, columns=columns, inner=inner, batch=batch, **sizes)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * batch
    if device.kind == "interpreter":
        wanted = cdiv(inner, 2048)
    else:
        wanted = min(2 * device.sms // tiles, inner // (4 * config["BLOCK_K"]))
    parts = 1
    while parts * 2 <= min(wanted, 256):
        parts *= 2
    return {**config, "PARTS": parts}


@kernel(space=Space(**_TILES, PARTS=powers(1, 256)), default=weight_default)
def weight_kernel(
    grad,  # (images, groups * rows, out height, out width) by grad_strides
    x,  # (images, groups * channels, height, width) by x_strides
    out,  # sums, one for each part, contiguous: (parts, groups * rows, channels * taps)
    images,
    rows,
    channels,
    size,  # of x: height, width
    out_size,
    taps,
    stride,
    padding,  # above and to the left
    dilation,
    grad_strides,
    x_strides,
    groups,
    span,  # how many (image, place) pairs a part adds up
    ACCUMULATE: tl.constexpr,
    DOTS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    places, columns = out_size[0] * out_size[1], channels * taps[0] * taps[1]
    inner = images * places
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    batch = tl.program_id(0) // tiles
    group, part = (batch % groups).to(tl.int64), (batch // groups).to(tl.int64)
    m, n = tile_of(tl.program_id(0) % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
    row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N)
    channel, tap = column // (taps[0] * taps[1]), column % (taps[0] * taps[1])
    tap_row, tap_column = tap // taps[1] * dilation[0] - padding[0], tap % taps[1] * dilation[1] - padding[1]
    if WIDE:
        row, channel = row.to(tl.int64), channel.to(tl.int64)
        tap_row, tap_column = tap_row.to(tl.int64), tap_column.to(tl.int64)
    grad += group * rows * grad_strides[1]
    x += group * channels * x_strides[1]
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(0, span, BLOCK_K):
        k = part * span + start + tl.arange(0, BLOCK_K)
        known = (k < inner) & (start + tl.arange(0, BLOCK_K) < span)
        if not WIDE:
            k = k.to(tl.int32)
        image, place = k // places, k % places
        down, across = place // out_size[1], place % out_size[1]
        at_k = image * grad_strides[0] + down * grad_strides[2] + across * grad_strides[3]
        left = tl.load(
            grad + (row * grad_strides[1])[:, None] + at_k[None, :],
            mask=(row < rows)[:, None] & known[None, :], other=0,
        )  # fmt: skip
        at_row = (down * stride[0])[:, None] + tap_row[None, :]
        at_column = (across * stride[1])[:, None] + tap_column[None, :]
        inside = (at_row >= 0) & (at_row < size[0]) & (at_column >= 0) & (at_column < size[1])
        inside = inside & known[:, None] & (column < columns)[None, :]
        at = (image * x_strides[0])[:, None] + (channel * x_strides[1])[None, :]
        right = tl.load(x + at + at_row * x_strides[2] + at_column * x_strides[3], mask=inside, other=0)
        total = multiply_add(left, right, total, DOTS, PRECISION)
    place_out = out + ((part * groups + group) * rows + row)[:, None] * columns + column[None, :]
    tl.store(place_out, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def sum_default(device, *, count):
    """A block for each multiprocessor several times over; few large blocks interpreted."""
    return {"BLOCK": 16384 if device.kind == "interpreter" else 256, "num_warps": 4}


@kernel(space=Space(BLOCK=powers(128, 16384), num_warps=choices(2, 4, 8)), default=sum_default)
def add_parts_kernel(
    parts,  # contiguous: (number, count)
    out,  # their sum, in order: (count,)
    number,
    count,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], parts.dtype.element_ty)
    place = parts + index
    for _ in range(number):
        total += tl.load(place, mask=index < count, other=0)
        place += count
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


def launch_weight_gradient(grad, x, size, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight, contiguous; the same bits at every call."""
    features, channels = grad.shape[1], x.shape[1] // groups
    out = empty_like(grad, (features, channels, *size))
    if out.size == 0:
        return out
    rows, columns, inner = features // groups, channels * math.prod(size), grad.size // features
    constants, sizes = dot_settings(grad.dtype)
    config = weight_kernel.config(out, rows=rows, columns=columns, inner=max(inner, 1), batch=groups, **sizes)
    number = config.pop("PARTS")
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"])
    parts = out if number == 1 else empty_like(out, (number, *out.shape), accumulator(grad.dtype))
    steps, grad_steps = element_strides(x), element_strides(grad)
    wide = any(needs_64_bits(a.shape, [own]) for a, own in ((x, steps), (grad, grad_steps)))
    weight_kernel[(tiles * groups * number,)](
        grad, x, parts, x.shape[0], rows, channels, tuple(x.shape[2:]), tuple(grad.shape[2:]), tuple(size),
        stride, (padding[0], padding[2]), dilation, grad_steps, steps, groups, cdiv(inner, number),
        WIDE=wide, **constants, **config,
    )  # fmt: skip
    if number > 1:
        config = add_parts_kernel.config(out, count=out.size)
        add_parts_kernel[(cdiv(out.size, config["BLOCK"]),)](parts, out, number, out.size, **config)
    return out
