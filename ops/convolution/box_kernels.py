"""Convolutions of few images on GPUs with a copy engine for tiles (sm_90 and later): boxes of places and images.

As with tiles of images at one place (see `lane_kernels.py`) there are no masks and no addresses but a tile's: what lies
outside of images is filled with zeros. The filters are on the left of the product, since only what is on its right can
be a box of several places without passing through registers. Where a stride lies between neighbours, the dimension is
seen as two, (places, stride), and the second as channels. One or two spatial dimensions; channels lie without gaps.
"""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, device_of, kernel, next_power_of_2
from tritorch.ops.convolution.box_tiles import (
    BOX_SPACE,
    BOX_WEIGHT_SPACE,
    SMALLEST,
    box_default,
    box_of,
    box_weight_default,
    rows_are_full,
)
from tritorch.ops.convolution.lane_kernels import describable, described_steps, is_multiplied
from tritorch.ops.convolution.lane_tiles import LEAST, is_full
from tritorch.ops.convolution.parts import parts_for, sum_parts
from tritorch.ops.convolution.reach import periods, reached, stepped
from tritorch.ops.layout import element_strides
from tritorch.ops.matrix.epilogue import activated
from tritorch.runtime import tl


@kernel
def boxes_of(
    pointer, lines, places, images, channels, strides, FOLD_1: tl.constexpr, FOLD_2: tl.constexpr,
    LINES: tl.constexpr, PLACES: tl.constexpr, IMAGES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The descriptor of images as (lines, FOLD_1, places, images, channels), of which every FOLD-th is a neighbour."""
    return tl.make_tensor_descriptor(
        pointer,
        [lines, FOLD_1, places, images, channels],
        [strides[2] * FOLD_1, strides[2], strides[3] * FOLD_2, strides[0], 1],
        [LINES, 1, PLACES, IMAGES, CHANNELS],
    )


@kernel
def folded(at, FOLD: tl.constexpr):
    """A place as number and rest of a division that rounds down."""
    if FOLD == 1:
        number, rest = at, at * 0
    else:
        rest = (at % FOLD + FOLD) % FOLD
        number = (at - rest) // FOLD
    return number, rest


@kernel
def group_of(group, apart, COUNT: tl.constexpr):
    """The first place of a group of COUNT neighbours of one phase."""
    return group % apart + group // apart * (COUNT * apart)


@kernel
def reached_by_all(
    place, last, size, taps, stride, before, dilation, period, hop, BACK: tl.constexpr
):  # fmt: skip
    """Along one dimension, of neighbours: where tap 0 of the first reads, which tap that is, and the taps of any."""
    start, first, low, high = reached(place, size, taps, stride, before, dilation, period, hop, BACK)
    _, _, last_low, last_high = reached(last, size, taps, stride, before, dilation, period, hop, BACK)
    return start, first, tl.minimum(low, last_low), tl.maximum(high, last_high)


@kernel(space=BOX_SPACE, default=box_default, key=("ACTIVATION",))
def box_kernel(
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
    FOLD_1: tl.constexpr,  # how many lines apart neighbours are: of x, or BACK of out
    FOLD_2: tl.constexpr,  # how many places apart
    LINES: tl.constexpr,  # of a box, neighbours (of one phase), as `box_of` chooses; so are the next
    PLACES: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    ROWS: tl.constexpr = LINES * PLACES * IMAGES
    number = taps[1] * taps[2]
    if BACK:
        weights = tl.make_tensor_descriptor(
            weight, [number, inner, columns], [columns, number * columns, 1], [1, BLOCK_K, BLOCK_N]
        )
        x_tiles = boxes_of(x, size[1], size[2], images, own, x_strides, 1, 1, LINES, PLACES, IMAGES, BLOCK_K)
        out_tiles = boxes_of(
            out, out_size[1] // FOLD_1, out_size[2] // FOLD_2, images, columns * FOLD_2, out_strides,
            FOLD_1, FOLD_2, LINES, PLACES, IMAGES, BLOCK_N,
        )  # fmt: skip
        apart1, apart2 = FOLD_1, FOLD_2
    else:
        weights = tl.make_tensor_descriptor(
            weight, [number, columns, inner], [inner, number * inner, 1], [1, BLOCK_N, BLOCK_K]
        )
        x_tiles = boxes_of(
            x, size[1] // FOLD_1, size[2] // FOLD_2, images, own if FOLD_2 == 1 else inner * FOLD_2, x_strides,
            FOLD_1, FOLD_2, LINES, PLACES, IMAGES, BLOCK_K,
        )  # fmt: skip
        out_tiles = boxes_of(
            out, out_size[1], out_size[2], images, columns, out_strides, 1, 1, LINES, PLACES, IMAGES, BLOCK_N
        )
        apart1, apart2 = 1, 1
    across = tl.cdiv(columns, BLOCK_N)
    groups1 = tl.cdiv(tl.cdiv(out_size[1], apart1), LINES) * apart1
    groups2 = tl.cdiv(tl.cdiv(out_size[2], apart2), PLACES) * apart2
    for tile in tl.range(tl.program_id(0), across * groups1 * groups2 * tl.cdiv(images, IMAGES), tl.num_programs(0)):
        column, rest = tile % across * BLOCK_N, tile // across
        place2, rest = group_of(rest % groups2, apart2, PLACES), rest // groups2
        place1, image = group_of(rest % groups1, apart1, LINES), rest // groups1 * IMAGES
        at1, tap1, low1, high1 = reached_by_all(
            place1, place1 + (LINES - 1) * apart1, size[1], taps[1], stride[1], before[1], dilation[1], period[1],
            hop[1], BACK,
        )  # fmt: skip
        at2, tap2, low2, high2 = reached_by_all(
            place2, place2 + (PLACES - 1) * apart2, size[2], taps[2], stride[2], before[2], dilation[2], period[2],
            hop[2], BACK,
        )  # fmt: skip
        total = tl.zeros([BLOCK_N, ROWS], tl.float32)
        j0, j1, j2, c = low1 * 0, low1, low2, 0
        for _ in range((high1 - low1) * (high2 - low2) * tl.cdiv(inner, BLOCK_K)):
            tap = (tap1 + j1 * period[1]) * taps[2] + tap2 + j2 * period[2]
            if BACK:
                left = weights.load([tap, c, column]).reshape([BLOCK_K, BLOCK_N]).T
                right = x_tiles.load([at1 - j1 * hop[1], 0, at2 - j2 * hop[2], image, c])
            else:
                left = weights.load([tap, column, c]).reshape([BLOCK_N, BLOCK_K])
                here1, rest1 = folded(at1 + j1 * hop[1], FOLD_1)
                here2, rest2 = folded(at2 + j2 * hop[2], FOLD_2)
                right = x_tiles.load([here1, rest1, here2, image, rest2 * inner + c])
            total = tl.dot(left, right.reshape([ROWS, BLOCK_K]).T, total)
            c, j2, j1, j0 = stepped(c, j2, j1, j0, BLOCK_K, inner, low2, high2, low1, high1)
        known = column + tl.arange(0, BLOCK_N)
        found = activated(total.T, bias, known * bias_step, known < columns, ACTIVATION)
        if BACK:
            to1, rest1 = folded(place1, FOLD_1)
            to2, rest2 = folded(place2, FOLD_2)
        else:
            to1, rest1, to2, rest2 = place1, place1 * 0, place2, place2 * 0
        out_tiles.store(
            [to1, rest1, to2, image, rest2 * columns + column],
            found.to(out.dtype.element_ty).reshape([LINES, 1, PLACES, IMAGES, BLOCK_N]),
        )


@kernel
def seen_by_tap(
    x, tap, size, out_size, taps, before, dilation, images, columns, strides, FOLD_1: tl.constexpr,
    FOLD_2: tl.constexpr, LINES: tl.constexpr, PLACES: tl.constexpr, IMAGES: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The boxes of images that a tap reads, which end where those of the gradient do; and how far it shifts them."""
    shift1, shift2 = tap // taps[2] * dilation[1] - before[1], tap % taps[2] * dilation[2] - before[2]
    lines, places = size[1] // FOLD_1, size[2] // FOLD_2
    # A place beyond the last has no gradient: zero, which must not be multiplied by a pixel that may be infinite.
    if LINES > 1:
        lines = tl.maximum(tl.minimum(lines, out_size[1] + folded(shift1, FOLD_1)[0]), 1)
    if PLACES > 1:
        places = tl.maximum(tl.minimum(places, out_size[2] + folded(shift2, FOLD_2)[0]), 1)
    boxes = boxes_of(
        x, lines, places, images, columns * FOLD_2, strides, FOLD_1, FOLD_2, LINES, PLACES, IMAGES, BLOCK_N
    )
    return boxes, shift1, shift2


@kernel
def box_at(boxes, at1, at2, image, column, columns, FOLD_1: tl.constexpr, FOLD_2: tl.constexpr,
           ROWS: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """A box of images as (ROWS, BLOCK_N)."""
    here1, rest1 = folded(at1, FOLD_1)
    here2, rest2 = folded(at2, FOLD_2)
    return boxes.load([here1, rest1, here2, image, rest2 * columns + column]).reshape([ROWS, BLOCK_N])


@kernel(space=BOX_WEIGHT_SPACE, default=box_weight_default)
def box_weight_kernel(
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
    FOLD_1: tl.constexpr,  # how many lines apart the neighbours of x are
    FOLD_2: tl.constexpr,  # how many places apart
    SHARED: tl.constexpr,  # taps of a program, which read the gradient once
    LINES: tl.constexpr,  # of a box, as `box_of` chooses; so are the next
    PLACES: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    BLOCK_K: tl.constexpr = LINES * PLACES * IMAGES
    grad_tiles = boxes_of(
        grad, out_size[1], out_size[2], images, rows, grad_strides, 1, 1, LINES, PLACES, IMAGES, BLOCK_M
    )
    number = taps[1] * taps[2]
    groups, down, across = tl.cdiv(number, SHARED), tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N)
    tap, program = tl.program_id(0) % groups * SHARED, tl.program_id(0) // groups
    m, program = program % down * BLOCK_M, program // down
    n, part = program % across * BLOCK_N, program // across
    tiles0, first1, first2 = seen_by_tap(
        x, tap, size, out_size, taps, before, dilation, images, columns, x_strides, FOLD_1, FOLD_2, LINES, PLACES,
        IMAGES, BLOCK_N,
    )  # fmt: skip
    if SHARED > 1:
        tiles1, second1, second2 = seen_by_tap(
            x, tap + 1, size, out_size, taps, before, dilation, images, columns, x_strides, FOLD_1, FOLD_2, LINES,
            PLACES, IMAGES, BLOCK_N,
        )  # fmt: skip
    if SHARED > 2:
        tiles2, third1, third2 = seen_by_tap(
            x, tap + 2, size, out_size, taps, before, dilation, images, columns, x_strides, FOLD_1, FOLD_2, LINES,
            PLACES, IMAGES, BLOCK_N,
        )  # fmt: skip
    count1, count2, blocks = tl.cdiv(out_size[1], LINES), tl.cdiv(out_size[2], PLACES), tl.cdiv(images, IMAGES)
    steps = count1 * count2 * blocks
    span = tl.cdiv(steps, parts)
    done = part * span
    image, place = done % blocks * IMAGES, done // blocks
    p2, p1 = place % count2 * PLACES, place // count2 * LINES
    total0 = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    total1, total2 = total0, total0
    for _ in range(tl.minimum(span, tl.maximum(steps - done, 0))):
        left = grad_tiles.load([p1, 0, p2, image, m]).reshape([BLOCK_K, BLOCK_M]).T
        at1, at2 = p1 * stride[1], p2 * stride[2]
        right = box_at(tiles0, at1 + first1, at2 + first2, image, n, columns, FOLD_1, FOLD_2, BLOCK_K, BLOCK_N)
        total0 = tl.dot(left, right, total0)
        if SHARED > 1:
            right = box_at(tiles1, at1 + second1, at2 + second2, image, n, columns, FOLD_1, FOLD_2, BLOCK_K, BLOCK_N)
            total1 = tl.dot(left, right, total1)
        if SHARED > 2:
            right = box_at(tiles2, at1 + third1, at2 + third2, image, n, columns, FOLD_1, FOLD_2, BLOCK_K, BLOCK_N)
            total2 = tl.dot(left, right, total2)
        image += IMAGES
        ended = image >= images
        image, p2 = tl.where(ended, 0, image), p2 + ended.to(tl.int32) * PLACES
        turned = p2 >= out_size[2]
        p2, p1 = tl.where(turned, 0, p2), p1 + turned.to(tl.int32) * LINES
    row, column = m + tl.arange(0, BLOCK_M), n + tl.arange(0, BLOCK_N)
    to = row.to(tl.int64)[:, None] * out_strides[1] + (column * out_strides[2])[None, :]
    out += part.to(tl.int64) * out_strides[0]
    known = (row < rows)[:, None] & (column < columns)[None, :]
    totals = (total0, total1, total2)
    for each in tl.static_range(SHARED):
        if tap + each < number:
            place_out = out + to + (tap + each) * out_strides[3]
            tl.store(place_out, totals[each].to(out.dtype.element_ty), mask=known)


def _folds(windows, size, channels):
    """For lines and places: how far apart neighbours are where descriptors of `size` can step so far, else 0.

    And a power of two that divides the channels, if any is needed: blocks are to have those of one pixel.
    """
    lines, places = (by if length % by == 0 else 0 for by, length in zip(windows.stride[1:], size[1:], strict=True))
    whole = 1 if places == 1 else channels & -channels
    return lines, places if places == 1 or whole >= min(next_power_of_2(channels), LEAST) else 0, whole


def _of_a_box(box, folds):
    """The constants of a box, and how far apart its neighbours are: none has any along a dimension of one."""
    apart = {f"FOLD_{at}": fold if count > 1 else 1 for at, fold, count in zip((1, 2), folds, box, strict=False)}
    return dict(zip(("LINES", "PLACES", "IMAGES"), box, strict=True)) | apart


def _are_flat(windows):
    """Whether there are no more than two spatial dimensions."""
    return windows.size[0] * windows.places[0] * windows.taps[0] == 1


def _stepped(windows, x, out, back):
    """The size and the channels of what the stride lies in."""
    return (windows.places, out.shape[1]) if back else (windows.size, x.shape[1])


def _counts(windows, back):
    """The lines and places of a phase of the result."""
    return [cdiv(count, by if back else 1) for count, by in zip(windows.places[1:], windows.stride[1:], strict=True)]


def boxes_fit(windows, back, x, weight, out):
    """Whether `box_kernel` takes arrays (images or filters, channels, *size), and most of its tiles are filled.

    The filters of an input gradient are turned in shared memory, which only numbers of 16 bits can be.
    """
    takes = x.itemsize == 2 or (is_multiplied(x.dtype) and not back)
    if not (takes and _are_flat(windows) and is_full(out.shape[1]) and describable(x, weight, out)):
        return False
    folds = _folds(windows, *_stepped(windows, x, out, back))
    return rows_are_full(LEAST, x.shape[0], *_counts(windows, back), folds)


def weight_boxes_fit(windows, grad, x):
    """Whether `box_weight_kernel` takes arrays (images, channels, *size), and most of its tiles are filled."""
    if not (x.itemsize == 2 and _are_flat(windows) and is_full(grad.shape[1]) and describable(grad, x)):
        return False
    return rows_are_full(SMALLEST, x.shape[0], *windows.places[1:], _folds(windows, windows.size, x.shape[1]))


def launch_boxes(x, weight, bias, out, windows, back, activation=None, own=None):
    """A convolution, or with `back` the input gradient of one, whose arrays `boxes_fit`; `weight` has no gaps.

    Of the channels of `x`, `own` are read, or all.
    """
    images, inner, columns = x.shape[0], x.shape[1], out.shape[1]
    folds, (lines, width) = _folds(windows, *_stepped(windows, x, out, back)), _counts(windows, back)
    phases = windows.stride[1:] if back else ()
    config = box_kernel.config(
        (x, weight, bias, out), images=images, columns=columns, inner=inner, lines=lines, width=width,
        taps=cdiv(windows.number, math.prod(phases)), phases=phases, folds=folds, itemsize=x.itemsize,
        ACTIVATION=activation,
    )  # fmt: skip
    knobs = {name: value for name, value in config.items() if name not in ("ROWS", "PROGRAMS")}
    box = box_of(config["ROWS"], images, lines, width, folds, config["BLOCK_N" if back else "BLOCK_K"])
    constants = _of_a_box(box, folds)
    tiles = cdiv(images, box[2]) * cdiv(columns, config["BLOCK_N"])
    for at, count, size in zip((1, 2), windows.places[1:], box, strict=False):
        by = constants[f"FOLD_{at}"] if back else 1
        tiles *= cdiv(cdiv(count, by), size) * by
    box_kernel[(min(tiles, config["PROGRAMS"] * device_of(x).sms),)](
        x, weight, bias, out, images, inner, own or inner, columns, *windows,
        *periods(windows.stride, windows.dilation, back), described_steps(x), described_steps(out),
        0 if bias is None else element_strides(bias)[0], BACK=back, ACTIVATION=activation, **constants, **knobs,
    )  # fmt: skip


def launch_box_weights(grad, x, out, windows):
    """The gradient by a weight, of arrays that `weight_boxes_fit`; `out` is (rows, columns, *taps)."""
    images, rows, columns, folds = grad.shape[0], out.shape[0], out.shape[1], _folds(windows, windows.size, x.shape[1])
    config = box_weight_kernel.config(
        (grad, x, out), images=images, rows=rows, columns=columns, lines=windows.places[1], width=windows.places[2],
        taps=windows.number, folds=folds, itemsize=x.itemsize,
    )  # fmt: skip
    number = config["PARTS"]
    knobs = {name: value for name, value in config.items() if name not in ("BLOCK_K", "PARTS")}
    box = box_of(config["BLOCK_K"], images, *windows.places[1:], folds, config["BLOCK_N"])
    parts, steps = parts_for(out, number)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"]) * cdiv(windows.number, config["SHARED"])
    box_weight_kernel[(tiles * number,)](
        grad, x, parts, images, rows, columns, *windows, described_steps(grad), described_steps(x), steps, number,
        **_of_a_box(box, folds), **knobs,
    )  # fmt: skip
    sum_parts(parts, out, number)
