"""Convolutions of GPUs with a copy engine for tiles (sm_90 and later): the rows of a tile are images at one place.

All rows of such a tile have the same taps inside the image, so there are no masks and no addresses but a tile's:
strides, dilation and phases only choose where the next tile starts, and taps in the padding are left out. Three spatial
dimensions, of which the first may be of one element. Channels lie without gaps.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv, device_of, kernel
from tritorch.ops.convolution.lane_tiles import (
    LANE_SPACE,
    LANE_WEIGHT_SPACE,
    is_full,
    lane_default,
    lane_weight_default,
)
from tritorch.ops.convolution.parts import parts_for, sum_parts
from tritorch.ops.convolution.reach import periods, places_reached, reached, stepped, steps_of
from tritorch.ops.layout import element_strides
from tritorch.ops.matrix.epilogue import activated
from tritorch.runtime import descriptors, precision, tl
from tritorch.runtime.specialise import ALIGNMENT, address_of

_LONGEST_STEP = 2**40  # bytes, of a descriptor


@kernel
def lanes_of(pointer, size, images, channels, strides, BLOCK_LANES: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """The descriptor of images as (*size, images, channels): a tile is some channels of some images at one place."""
    return tl.make_tensor_descriptor(
        pointer,
        [size[0], size[1], size[2], images, channels],
        [strides[1], strides[2], strides[3], strides[0], 1],
        [1, 1, 1, BLOCK_LANES, BLOCK_CHANNELS],
    )


@kernel(space=LANE_SPACE, default=lane_default, key=("ACTIVATION", "BACK"))
def lane_kernel(
    x,  # images: (images, inner, *size), channels without gaps
    weight,  # (columns, inner, *taps), channels without gaps; BACK: (inner, columns, *taps)
    bias,  # None, or (columns,) by bias_step
    out,  # (images, columns, *out_size), channels without gaps
    images,
    inner,
    own,  # of the inner channels those that are read; the rest count as zero
    columns,
    size,
    out_size,
    taps,
    stride,
    before,
    dilation,
    period,
    hop,
    x_strides,  # of (images, *size); so are the next
    out_strides,
    bias_step,
    BACK: tl.constexpr,  # the input gradient: x is the gradient
    ACTIVATION: tl.constexpr,  # None, or a formula
    PLACES: tl.constexpr,  # of a program, neighbours (of one phase) along the last dimension, with the same filters
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    number = taps[0] * taps[1] * taps[2]
    x_tiles = lanes_of(x, size, images, own, x_strides, BLOCK_M, BLOCK_K)
    out_tiles = lanes_of(out, out_size, images, columns, out_strides, BLOCK_M, BLOCK_N)
    if BACK:
        weights = tl.make_tensor_descriptor(
            weight, [number, inner, columns], [columns, number * columns, 1], [1, BLOCK_K, BLOCK_N]
        )
        apart, along = stride[2], 1  # neighbours: in the result, and in what they read
    else:
        weights = tl.make_tensor_descriptor(
            weight, [number, columns, inner], [inner, number * inner, 1], [1, BLOCK_N, BLOCK_K]
        )
        apart, along = 1, stride[2]
    across, groups = tl.cdiv(columns, BLOCK_N), tl.cdiv(tl.cdiv(out_size[2], apart), PLACES) * apart
    tiles = across * groups * out_size[1] * out_size[0] * tl.cdiv(images, BLOCK_M)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0)):
        column, image, place0, place1, place2 = place_of_tile(tile, across, groups, out_size, apart, PLACES, BLOCK_M)
        column *= BLOCK_N
        at0, tap0, j0, high0 = reached(
            place0, size[0], taps[0], stride[0], before[0], dilation[0], period[0], hop[0], BACK
        )
        at1, tap1, low1, high1 = reached(
            place1, size[1], taps[1], stride[1], before[1], dilation[1], period[1], hop[1], BACK
        )
        at2, tap2, low2, high2 = reached(
            place2, size[2], taps[2], stride[2], before[2], dilation[2], period[2], hop[2], BACK
        )
        if PLACES > 1:
            _, _, last_low, last_high = reached(
                place2 + (PLACES - 1) * apart,
                size[2],
                taps[2],
                stride[2],
                before[2],
                dilation[2],
                period[2],
                hop[2],
                BACK,
            )
            low2, high2 = tl.minimum(low2, last_low), tl.maximum(high2, last_high)
        total0 = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        total1, total2, total3 = total0, total0, total0
        j1, j2, c = low1, low2, 0
        for _ in range((high0 - j0) * (high1 - low1) * (high2 - low2) * tl.cdiv(inner, BLOCK_K)):
            tap = ((tap0 + j0 * period[0]) * taps[1] + tap1 + j1 * period[1]) * taps[2] + tap2 + j2 * period[2]
            if BACK:
                right = weights.load([tap, c, column]).reshape([BLOCK_K, BLOCK_N])
                here0, here1, here2 = at0 - j0 * hop[0], at1 - j1 * hop[1], at2 - j2 * hop[2]
            else:
                right = weights.load([tap, column, c]).reshape([BLOCK_N, BLOCK_K]).T
                here0, here1, here2 = at0 + j0 * hop[0], at1 + j1 * hop[1], at2 + j2 * hop[2]
            left = x_tiles.load([here0, here1, here2, image, c]).reshape([BLOCK_M, BLOCK_K])
            total0 = tl.dot(left, right, total0)
            if PLACES > 1:
                left = x_tiles.load([here0, here1, here2 + along, image, c]).reshape([BLOCK_M, BLOCK_K])
                total1 = tl.dot(left, right, total1)
            if PLACES > 2:
                left = x_tiles.load([here0, here1, here2 + 2 * along, image, c]).reshape([BLOCK_M, BLOCK_K])
                total2 = tl.dot(left, right, total2)
                left = x_tiles.load([here0, here1, here2 + 3 * along, image, c]).reshape([BLOCK_M, BLOCK_K])
                total3 = tl.dot(left, right, total3)
            c, j2, j1, j0 = stepped(c, j2, j1, j0, BLOCK_K, inner, low2, high2, low1, high1)
        totals = (total0, total1, total2, total3)
        for each in tl.static_range(PLACES):
            known = column + tl.arange(0, BLOCK_N)
            total = activated(totals[each], bias, known * bias_step, known < columns, ACTIVATION)
            out_tiles.store(
                [place0, place1, place2 + each * apart, image, column],
                total.to(out.dtype.element_ty).reshape([1, 1, 1, BLOCK_M, BLOCK_N]),
            )


@kernel
def place_of_tile(tile, across, groups, out_size, apart, PLACES: tl.constexpr, BLOCK_M: tl.constexpr):
    """Which block of columns, which images, and from which place on a tile is of."""
    column, rest = tile % across, tile // across
    group, rest = rest % groups, rest // groups
    place1, rest = rest % out_size[1], rest // out_size[1]
    return (
        column, rest // out_size[0] * BLOCK_M, rest % out_size[0], place1,
        group % apart + group // apart * (PLACES * apart),
    )  # fmt: skip


@kernel(space=LANE_WEIGHT_SPACE, default=lane_weight_default)
def lane_weight_kernel(
    grad,  # (images, rows, *out_size), channels without gaps
    x,  # (images, columns, *size), channels without gaps
    out,  # sums, one for each part: (parts, rows, columns, taps) by out_strides
    images,
    rows,
    columns,
    size,
    out_size,
    taps,
    stride,
    before,
    dilation,
    grad_strides,  # of (images, *size); so are the next
    x_strides,
    out_strides,
    parts,
    SHARED: tl.constexpr,  # taps of a program, which read the gradient once
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    grad_tiles = lanes_of(grad, out_size, images, rows, grad_strides, BLOCK_K, BLOCK_M)
    x_tiles = lanes_of(x, size, images, columns, x_strides, BLOCK_K, BLOCK_N)
    number = taps[0] * taps[1] * taps[2]
    groups, down, across = tl.cdiv(number, SHARED), tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N)
    tap, program = tl.program_id(0) % groups * SHARED, tl.program_id(0) // groups
    m, program = program % down * BLOCK_M, program // down
    n, part = program % across * BLOCK_N, program // across
    last = tl.minimum(tap + SHARED, number) - 1
    low0, high0 = reaching(
        tap, last, taps[1] * taps[2], taps[0], size[0], out_size[0], stride[0], before[0], dilation[0]
    )
    low1, high1 = reaching(tap, last, taps[2], taps[1], size[1], out_size[1], stride[1], before[1], dilation[1])
    low2, high2 = reaching(tap, last, 1, taps[2], size[2], out_size[2], stride[2], before[2], dilation[2])
    count1, count2, blocks = tl.maximum(high1 - low1, 1), tl.maximum(high2 - low2, 1), tl.cdiv(images, BLOCK_K)
    steps = (high0 - low0) * (high1 - low1) * (high2 - low2) * blocks
    span = tl.cdiv(steps, parts)
    done = part * span
    lane, place = done % blocks * BLOCK_K, done // blocks
    p2, p1, p0 = low2 + place % count2, low1 + place // count2 % count1, low0 + place // (count2 * count1)
    first0, first1, first2 = shift_of(tap, taps, before, dilation)
    second0, second1, second2 = shift_of(tap + 1, taps, before, dilation)
    third0, third1, third2 = shift_of(tap + 2, taps, before, dilation)
    total0 = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    total1, total2 = total0, total0
    for _ in range(tl.minimum(span, tl.maximum(steps - done, 0))):
        left = grad_tiles.load([p0, p1, p2, lane, m]).reshape([BLOCK_K, BLOCK_M]).T
        at0, at1, at2 = p0 * stride[0], p1 * stride[1], p2 * stride[2]
        right = x_tiles.load([at0 + first0, at1 + first1, at2 + first2, lane, n]).reshape([BLOCK_K, BLOCK_N])
        total0 = tl.dot(left, right, total0)
        if SHARED > 1:
            right = x_tiles.load([at0 + second0, at1 + second1, at2 + second2, lane, n]).reshape([BLOCK_K, BLOCK_N])
            total1 = tl.dot(left, right, total1)
        if SHARED > 2:
            right = x_tiles.load([at0 + third0, at1 + third1, at2 + third2, lane, n]).reshape([BLOCK_K, BLOCK_N])
            total2 = tl.dot(left, right, total2)
        lane, p2, p1, p0 = stepped(lane, p2, p1, p0, BLOCK_K, images, low2, high2, low1, high1)
    row, column = m + tl.arange(0, BLOCK_M), n + tl.arange(0, BLOCK_N)
    to = row.to(tl.int64)[:, None] * out_strides[1] + (column * out_strides[2])[None, :]
    out += part.to(tl.int64) * out_strides[0]
    known = (row < rows)[:, None] & (column < columns)[None, :]
    totals = (total0, total1, total2)
    for each in tl.static_range(SHARED):
        if tap + each < number:
            place_out = out + to + (tap + each) * out_strides[3]
            tl.store(place_out, totals[each].to(out.dtype.element_ty), mask=known)


@kernel
def shift_of(tap, taps, before, dilation):
    """How far from its place a tap reads, along each dimension."""
    return (
        tap // (taps[1] * taps[2]) * dilation[0] - before[0], tap // taps[2] % taps[1] * dilation[1] - before[1],
        tap % taps[2] * dilation[2] - before[2],
    )  # fmt: skip


@kernel
def reaching(tap, last, unit, taps, size, places, stride, before, dilation):
    """Along one dimension: from and to which place one of the taps from `tap` to `last` is inside, or more of them."""
    first, end = tap // unit % taps, last // unit % taps
    if_turned = tap // unit // taps != last // unit // taps
    first, end = tl.where(if_turned, 0, first), tl.where(if_turned, taps - 1, end)
    low, _ = places_reached(end * dilation - before, size, places, stride)
    _, high = places_reached(first * dilation - before, size, places, stride)
    return low, tl.maximum(low, high)


def lanes_fit(images, *arrays):
    """Whether these kernels take arrays (images or filters, channels, *size) and find `images` enough of them."""
    return is_multiplied(arrays[0].dtype) and is_full(images) and describable(*arrays)


def is_multiplied(dtype):
    """Whether warp groups multiply such numbers."""
    return dtype.itemsize == 2 or (dtype == np.float32 and precision.input_precision() == "tf32")


def describable(*arrays):
    """Whether descriptors can be made of arrays (images or filters, channels, *size) whose channels have no gaps."""
    if not descriptors.enabled or device_of(arrays[0]).capability < descriptors.CAPABILITY:
        return False
    return all(map(_is_describable, arrays))


def _is_describable(array):
    """Whether a descriptor can be made of an array whose channels lie without gaps."""
    whole = ALIGNMENT // array.itemsize
    if array.shape[1] % whole or address_of(array) % ALIGNMENT:
        return False
    return all(0 < step < _LONGEST_STEP // array.itemsize and step % whole == 0 for step in described_steps(array))


def described_steps(array):
    """The strides of (images, three spatial dimensions), of dimensions of one element those of channels."""
    image, _, *rest = steps_of(array)
    sizes = (array.shape[0], *(1,) * (5 - array.ndim), *array.shape[2:])
    return tuple([array.shape[1] if size == 1 else step for size, step in zip(sizes, (image, *rest), strict=True)])


def launch_lanes(x, weight, bias, out, windows, back, activation=None, own=None):
    """A convolution, or with `back` the input gradient of one, whose arrays `lanes_fit`; `weight` has no gaps.

    Of the channels of `x`, `own` are read, or all.
    """
    images, inner, columns = x.shape[0], x.shape[1], out.shape[1]
    *lines, width = windows.places
    apart = windows.stride[2] if back else 1
    config = lane_kernel.config(
        (x, weight, bias, out), images=images, columns=columns, inner=inner, lines=math.prod(lines) * apart,
        width=cdiv(width, apart), taps=cdiv(windows.number, math.prod(windows.stride) if back else 1),
        itemsize=x.itemsize,
        ACTIVATION=activation, BACK=back,
    )  # fmt: skip
    knobs = {name: value for name, value in config.items() if name != "PROGRAMS"}
    groups = math.prod(lines) * cdiv(cdiv(width, apart), config["PLACES"]) * apart
    tiles = cdiv(images, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * groups
    lane_kernel[(min(tiles, config["PROGRAMS"] * device_of(x).sms),)](
        x, weight, bias, out, images, inner, own or inner, columns, *windows,
        *periods(windows.stride, windows.dilation, back),
        described_steps(x), described_steps(out), 0 if bias is None else element_strides(bias)[0],
        BACK=back, ACTIVATION=activation, **knobs,
    )  # fmt: skip


def launch_lane_weights(grad, x, out, windows):
    """The gradient by a weight, of arrays that `lanes_fit`; `out` is (rows, columns, *taps)."""
    images, rows, columns = grad.shape[0], out.shape[0], out.shape[1]
    config = lane_weight_kernel.config(
        (grad, x, out), images=images, rows=rows, columns=columns, places=math.prod(windows.places),
        taps=windows.number, itemsize=x.itemsize,
    )  # fmt: skip
    number = config["PARTS"]
    knobs = {name: value for name, value in config.items() if name != "PARTS"}
    parts, steps = parts_for(out, number)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * cdiv(windows.number, config["SHARED"])
    lane_weight_kernel[(tiles * number,)](
        grad, x, parts, images, rows, columns, *windows, described_steps(grad), described_steps(x), steps, number,
        **knobs,
    )  # fmt: skip
    sum_parts(parts, out, number)
