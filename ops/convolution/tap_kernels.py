"""Convolutions over images whose channels lie without gaps: a loop over taps and blocks of channels.

Rows of a tile are places of all images. Where each reads its first tap, and which of its taps are inside, is worked out
before the loop; in the loop an address is one of those plus a number that all rows share. Three spatial dimensions, of
which the first may be of one element. One launch computes all phases of an input gradient (see `phases.py`).
"""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, kernel
from tritorch.ops.convolution.parts import parts_for, sum_parts
from tritorch.ops.convolution.reach import far, periods, places_reached, reached, split_in_three, stepped, steps_of
from tritorch.ops.convolution.tap_tiles import TAP_SPACE, TAP_WEIGHT_SPACE, tap_default, tap_weight_default
from tritorch.ops.layout import element_strides, needs_64_bits
from tritorch.ops.matrix.epilogue import activated
from tritorch.ops.matrix.kernel import dot_settings, multiply_add, tile_of
from tritorch.runtime import tl


@kernel(space=TAP_SPACE, default=tap_default, key=("ACTIVATION", "PRECISION", "BACK", "MANY", "OWN", "OUT_ALIGNED"))
def tap_kernel(
    x,  # images: (images, groups * inner, *size), channels without gaps
    weight,  # (groups * columns, inner, *taps), channels innermost without gaps; BACK: (groups * inner, columns, *taps)
    bias,  # None, or (groups * columns,) by bias_step
    out,  # (images, groups * columns, *out_size), channels without gaps
    images,
    inner,
    columns,
    size,
    out_size,
    taps,
    stride,
    before,
    dilation,
    period,
    hop,
    phases,  # along each dimension, of the places: each has taps of its own
    x_strides,  # of (images, *size)
    out_strides,  # of (images, *out_size)
    bias_step,
    groups,
    ALIGNED: tl.constexpr,  # sizes and strides of what is read are multiples of 8, and given in eights
    OUT_ALIGNED: tl.constexpr,  # the same of what is written: columns and out_strides
    BACK: tl.constexpr,  # the input gradient: x is the gradient
    MANY: tl.constexpr,  # more than 32 taps, up to 64
    OWN: tl.constexpr,  # None, or how many of the inner channels are read; the rest count as zero
    ACTIVATION: tl.constexpr,  # None, or a formula
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    EVEN_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    UNIT: tl.constexpr = 8 if ALIGNED else 1
    OUT_UNIT: tl.constexpr = 8 if OUT_ALIGNED else 1
    inner, columns = inner * UNIT, columns * OUT_UNIT
    most = tl.cdiv(out_size[0], phases[0]) * tl.cdiv(out_size[1], phases[1]) * tl.cdiv(out_size[2], phases[2]) * images
    tiles = tl.cdiv(most, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    chosen = tl.program_id(0) // tiles
    group, phase2, chosen = (chosen % groups).to(tl.int64), chosen // groups % phases[2], chosen // groups // phases[2]
    phase0, phase1 = chosen // phases[1], chosen % phases[1]
    counts = (
        tl.cdiv(out_size[0] - phase0, phases[0]),
        tl.cdiv(out_size[1] - phase1, phases[1]),
        tl.cdiv(out_size[2] - phase2, phases[2]),
    )
    rows = counts[0] * counts[1] * counts[2] * images
    m, n = tile_of(tl.program_id(0) % tiles, most, columns, BLOCK_M, BLOCK_N, GROUP_M)
    if m * BLOCK_M >= rows:
        return
    row, column, k = m * BLOCK_M + tl.arange(0, BLOCK_M), n * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    image, place0, place1, place2 = split_in_three(row, counts)
    at0, tap0, _, _ = reached(phase0, size[0], taps[0], stride[0], before[0], dilation[0], period[0], hop[0], BACK)
    at1, tap1, _, _ = reached(phase1, size[1], taps[1], stride[1], before[1], dilation[1], period[1], hop[1], BACK)
    at2, tap2, _, _ = reached(phase2, size[2], taps[2], stride[2], before[2], dilation[2], period[2], hop[2], BACK)
    step0, step1, step2 = hop[0], hop[1], hop[2]
    if BACK:
        at0, at1, at2, step0, step1, step2 = at0 + place0, at1 + place1, at2 + place2, -hop[0], -hop[1], -hop[2]
    else:
        at0, at1, at2 = at0 + place0 * stride[0], at1 + place1 * stride[1], at2 + place2 * stride[2]
    count0, count1, count2 = (
        tl.cdiv(taps[0] - tap0, period[0]), tl.cdiv(taps[1] - tap1, period[1]), tl.cdiv(taps[2] - tap2, period[2])
    )  # fmt: skip
    # Bit number j of a row says whether its tap number j is inside.
    inside = tl.zeros([BLOCK_M], tl.int64 if MANY else tl.int32)
    bit = tl.full([], 1, tl.int64 if MANY else tl.int32)
    for j in range(count0 * count1 * count2):
        here0 = at0 + j // (count1 * count2) * step0
        here1, here2 = at1 + j // count2 % count1 * step1, at2 + j % count2 * step2
        known = (here0 >= 0) & (here0 < size[0]) & (here1 >= 0) & (here1 < size[1]) & (here2 >= 0) & (here2 < size[2])
        inside |= tl.where(known & (row < rows), bit << j, 0)
    step_0, step_1, step_2 = x_strides[1] * UNIT, x_strides[2] * UNIT, x_strides[3] * UNIT
    from_row = far(image, WIDE) * (x_strides[0] * UNIT) + far(at0, WIDE) * step_0
    from_row = (from_row + far(at1, WIDE) * step_1 + far(at2, WIDE) * step_2)[:, None] + k[None, :]
    number = taps[0] * taps[1] * taps[2]
    x += group * inner
    if BACK:
        width = columns
        weight += group * inner * (number * width)
        from_column = far(k, WIDE)[:, None] * (number * width) + column[None, :]
    else:
        width = inner
        weight += group * columns * (number * width)
        from_column = k[:, None] + far(column, WIDE)[None, :] * (number * width)
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    j0, j1, j2, c = tap0 * 0, tap1 * 0, tap2 * 0, 0
    for _ in range(count0 * count1 * count2 * tl.cdiv(inner, BLOCK_K)):
        tap = ((tap0 + j0 * period[0]) * taps[1] + tap1 + j1 * period[1]) * taps[2] + tap2 + j2 * period[2]
        here = far(j0 * step0, WIDE) * step_0 + far(j1 * step1, WIDE) * step_1 + far(j2 * step2, WIDE) * step_2 + c
        there = far(tap, WIDE) * width
        if BACK:
            there += far(tl.full([], 0, tl.int32) + c, WIDE) * (number * width)
        else:
            there += c
        known = ((inside >> ((j0 * count1 + j1) * count2 + j2)) & 1) != 0
        if OWN is not None:
            left = tl.load(x + (from_row + here), mask=known[:, None] & (c + k < OWN)[None, :], other=0)
        elif EVEN_K:
            left = tl.load(x + (from_row + here), mask=known[:, None], other=0)
        else:
            left = tl.load(x + (from_row + here), mask=known[:, None] & (c + k < inner)[None, :], other=0)
        if EVEN_K:
            right = tl.load(weight + (from_column + there), mask=(column < columns)[None, :], other=0)
        else:
            right = tl.load(
                weight + (from_column + there), mask=(c + k < inner)[:, None] & (column < columns)[None, :], other=0
            )
        total = multiply_add(left, right, total, True, PRECISION)
        c, j2, j1, j0 = stepped(c, j2, j1, j0, BLOCK_K, inner, 0, count2, 0, count1)
    total = activated(total, bias, (group * columns + column) * bias_step, column < columns, ACTIVATION)
    to = far(image, WIDE) * (out_strides[0] * OUT_UNIT)
    to += far(phase0 + place0 * phases[0], WIDE) * (out_strides[1] * OUT_UNIT)
    to += far(phase1 + place1 * phases[1], WIDE) * (out_strides[2] * OUT_UNIT)
    to += far(phase2 + place2 * phases[2], WIDE) * (out_strides[3] * OUT_UNIT)
    place_out = out + (group * columns + to[:, None] + column[None, :])
    tl.store(place_out, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


@kernel(space=TAP_WEIGHT_SPACE, default=tap_weight_default, key=("PRECISION",))
def tap_weight_kernel(
    grad,  # (images, groups * rows, *out_size), channels without gaps
    x,  # (images, groups * columns, *size), channels without gaps
    out,  # sums, one for each part: (parts, groups * rows, columns, taps) by out_strides
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
    groups,
    ALIGNED: tl.constexpr,  # rows, columns and strides of what is read are multiples of 8, and given in eights
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    UNIT: tl.constexpr = 8 if ALIGNED else 1
    rows, columns = rows * UNIT, columns * UNIT
    down, across, number = tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N), taps[0] * taps[1] * taps[2]
    tap, program = tl.program_id(0) % number, tl.program_id(0) // number
    m, program = program % down * BLOCK_M, program // down
    n, program = program % across * BLOCK_N, program // across
    group, part = (program % groups).to(tl.int64), program // groups
    shift0 = tap // (taps[1] * taps[2]) * dilation[0] - before[0]
    shift1 = tap // taps[2] % taps[1] * dilation[1] - before[1]
    shift2 = tap % taps[2] * dilation[2] - before[2]
    low0, high0 = places_reached(shift0, size[0], out_size[0], stride[0])
    low1, high1 = places_reached(shift1, size[1], out_size[1], stride[1])
    low2, high2 = places_reached(shift2, size[2], out_size[2], stride[2])
    counts = (high0 - low0, tl.maximum(high1 - low1, 1), tl.maximum(high2 - low2, 1))
    steps = counts[0] * (high1 - low1) * (high2 - low2) * images  # of what only places inside add to
    span = tl.cdiv(tl.cdiv(steps, BLOCK_K), parts) * BLOCK_K
    row, column = m + tl.arange(0, BLOCK_M), n + tl.arange(0, BLOCK_N)
    grad += group * rows
    x += group * columns
    total = tl.zeros([BLOCK_M, BLOCK_N], ACCUMULATE)
    for start in range(part * span, tl.minimum(part * span + span, steps), BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        image, place0, place1, place2 = split_in_three(k, (tl.maximum(counts[0], 1), counts[1], counts[2]))
        place0, place1, place2, known = place0 + low0, place1 + low1, place2 + low2, k < steps
        from_grad = far(image, WIDE) * (grad_strides[0] * UNIT) + far(place0, WIDE) * (grad_strides[1] * UNIT)
        from_grad += far(place1, WIDE) * (grad_strides[2] * UNIT) + far(place2, WIDE) * (grad_strides[3] * UNIT)
        place0, place1, place2 = place0 * stride[0] + shift0, place1 * stride[1] + shift1, place2 * stride[2] + shift2
        from_x = far(image, WIDE) * (x_strides[0] * UNIT) + far(place0, WIDE) * (x_strides[1] * UNIT)
        from_x += far(place1, WIDE) * (x_strides[2] * UNIT) + far(place2, WIDE) * (x_strides[3] * UNIT)
        left = tl.load(grad + (from_grad[:, None] + row[None, :]), mask=known[:, None] & (row < rows)[None, :], other=0)
        right = tl.load(
            x + (from_x[:, None] + column[None, :]), mask=known[:, None] & (column < columns)[None, :], other=0
        )
        total = multiply_add(left.T, right, total, True, PRECISION)
    to = (group * rows + row)[:, None] * out_strides[1] + (column * out_strides[2] + tap * out_strides[3])[None, :]
    out += part.to(tl.int64) * out_strides[0]
    tl.store(out + to, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < columns)[None, :])


def launch_taps(x, weight, bias, out, windows, groups, back, activation=None, own=None):
    """A convolution, or with `back` the input gradient of one, of images whose channels lie without gaps.

    Of the channels of `x`, `own` are read, or all.
    """
    images, inner, columns = x.shape[0], x.shape[1] // groups, out.shape[1] // groups
    constants, sizes = dot_settings(x.dtype)
    phases = windows.stride if back else (1, 1, 1)
    counts = [cdiv(size, by) for size, by in zip(windows.places, phases, strict=True)]
    rows, batch = images * math.prod(counts), groups * math.prod(phases)
    wide = any(needs_64_bits(each.shape, [element_strides(each)]) for each in (x, weight, out))
    (x_image, _, *x_steps), (out_image, _, *out_steps) = steps_of(x), steps_of(out)
    out_unit, (out_columns, *out_steps) = in_units(columns, out_image, *out_steps)
    unit, (x_inner, *x_steps) = in_units(inner, x_image, *x_steps)
    many, own = windows.number > 32, None if own == inner else own
    config = tap_kernel.config(
        (x, weight, bias, out), rows=rows, columns=columns, inner=inner, batch=batch, itemsize=sizes["itemsize"],
        tensor_cores=sizes["tensor_cores"], wide=wide, aligned=unit > 1, ACTIVATION=activation,
        PRECISION=constants["PRECISION"], BACK=back, MANY=many, OWN=own, OUT_ALIGNED=out_unit > 1,
    )  # fmt: skip
    tap_kernel[(cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * batch,)](
        x, weight, bias, out, images, x_inner, out_columns, *windows,
        *periods(windows.stride, windows.dilation, back), phases, tuple(x_steps), tuple(out_steps),
        0 if bias is None else element_strides(bias)[0], groups, ALIGNED=unit > 1, OUT_ALIGNED=out_unit > 1,
        BACK=back, MANY=many, OWN=own, ACTIVATION=activation, ACCUMULATE=constants["ACCUMULATE"],
        PRECISION=constants["PRECISION"], WIDE=wide, EVEN_K=inner % config["BLOCK_K"] == 0, **config,
    )  # fmt: skip


def in_units(*values):
    """8 and each value in eights where all are multiples of that: what is loaded at once; else 1 and the values."""
    unit = 1 if any(each % 8 for each in values) else 8
    return unit, tuple([each // unit for each in values])


def launch_tap_weights(grad, x, out, windows, groups):
    """The gradient by a weight, of images whose channels lie without gaps; `out` is (groups * rows, columns, *taps)."""
    images, rows, columns = grad.shape[0], out.shape[0] // groups, out.shape[1]
    constants, sizes = dot_settings(grad.dtype)
    wide = any(needs_64_bits(each.shape, [element_strides(each)]) for each in (grad, x))
    (grad_image, _, *grad_steps), (x_image, _, *x_steps) = steps_of(grad), steps_of(x)
    unit, scaled = in_units(rows, columns, grad_image, *grad_steps, x_image, *x_steps)
    config = tap_weight_kernel.config(
        (grad, x, out), rows=rows, columns=columns, inner=images * math.prod(windows.places),
        batch=groups * windows.number, itemsize=sizes["itemsize"], tensor_cores=sizes["tensor_cores"], wide=wide,
        aligned=unit > 1, PRECISION=constants["PRECISION"],
    )  # fmt: skip
    number = config["PARTS"]
    knobs = {name: value for name, value in config.items() if name != "PARTS"}
    parts, steps = parts_for(out, number)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * windows.number
    tap_weight_kernel[(tiles * groups * number,)](
        grad, x, parts, images, *scaled[:2], *windows, scaled[2:6], scaled[6:], steps, number, groups,
        ALIGNED=unit > 1, ACCUMULATE=constants["ACCUMULATE"], PRECISION=constants["PRECISION"], WIDE=wide, **knobs,
    )  # fmt: skip
    sum_parts(parts, out, number)
