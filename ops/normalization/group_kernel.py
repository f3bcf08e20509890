"""The gradients of group_norm: one pass over what was normalised, or two where groups are few and large.

A tile is some groups by some of their places: a row of it is a channel, wherever that lies, so that the sums of a
channel are those of a row. A group that fits a tile is read once. A larger one is read again for the results while it
lies in the cache. Where that would leave much of the GPU idle it is cut into parts: each leaves its sums, and a second
launch reads those of all parts, and the parts again. What all images and parts leave comes to the gradients of weight
and bias in a fixed order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import as_contiguous, element_strides, empty_by, empty_like, merge, needs_64_bits
from tritorch.ops.normalization.layout import written_order
from tritorch.ops.normalization.program_sums import launch_program_sums
from tritorch.ops.normalization.rows_kernel import in_steps
from tritorch.ops.pointwise.kernel import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in, lies_along
from tritorch.ops.rowwise.kernel import warps_of
from tritorch.runtime import tl

_TILE = 8192  # elements of groups that are kept, of two tensors, or of a larger group at a time
_LINE = 8  # channels that a tile goes along at least where they lie innermost: 16 bytes of half precision
_SHORTEST = 32  # places that it goes along where these do


def group_default(device, *, groups, width, places, along, itemsize=4):
    """Whole groups up to 8192 elements, small ones together; larger ones in parts, shared out where groups are few."""
    columns, scale = next_power_of_2(places), itemsize // 4
    if device.kind == "interpreter":
        part = min(columns, max(65536 // width, 1), 2048)
        height = min(next_power_of_2(cdiv(groups, 4)), max(65536 // (width * part), 1))
        return {"ROWS": height, "COLUMNS": part, "SPLITS": 2 if columns > part else 1, "num_warps": 4}
    splits, least = 1, 1 if along else min(max(_LINE // width, 1), next_power_of_2(groups))
    height = least
    if least * width * columns <= _TILE // scale:
        height = max(min(1024 // (width * columns), next_power_of_2(groups), 64), least)
        while height > least and cdiv(groups, height) < 2 * device.sms:
            height //= 2
    else:
        parts, columns = columns, max(_TILE // scale // (least * width), 1)
        programs = cdiv(groups, height)
        # Two reads more are worth it where a quarter of the GPU would idle.
        while 4 * programs < 3 * device.sms and programs * splits < 2 * device.sms and columns * splits < parts:
            splits *= 2
    count = warps_of(height * width * columns * scale)
    return {"ROWS": height, "COLUMNS": columns, "SPLITS": splits, "num_warps": count}


def _no_larger(ROWS, COLUMNS, groups, places):
    return ROWS <= next_power_of_2(groups) and COLUMNS <= next_power_of_2(places)


def _elements_a_thread(ROWS, COLUMNS, num_warps, width):
    """Up to 16, of two tensors; two at least, unless a warp is one too many already."""
    each = ROWS * COLUMNS * width // (32 * num_warps)
    return each <= 16 and (num_warps == 1 or each >= 2)


def _lines_of_memory(COLUMNS, width, places, along):
    """Places one after the other where they lie so, as far as there are as many."""
    return not along or COLUMNS >= min(next_power_of_2(places), _SHORTEST, max(2048 // width, 1))


def _splits_with_work(ROWS, COLUMNS, SPLITS, groups, places, device):
    """Parts of large groups until there are a few programs for each multiprocessor, each with a tile at least."""
    if SPLITS == 1:
        return True
    return COLUMNS * SPLITS <= next_power_of_2(places) and next_power_of_2(groups) // ROWS * SPLITS <= 8 * device.sms


GROUP_SPACE = Space(
    ROWS=powers(1, 64, default=1), COLUMNS=powers(1, 8192, default=1024), SPLITS=powers(1, 512, default=1),
    num_warps=warps(1, 32, default=8),
    where=(_no_larger, _elements_a_thread, _lines_of_memory, _splits_with_work),
)  # fmt: skip


@kernel
def _lines_of(array, group, channel, shape, strides, steps, NUMBER: tl.constexpr, RANK: tl.constexpr,
              ALONG: tl.constexpr, STEP: tl.constexpr):  # fmt: skip
    """Where each channel of a tile begins in the tensor of this number."""
    start, within = offsets_of(group, shape, strides, NUMBER * RANK, RANK), channel * steps[NUMBER]
    line = in_steps(start + within, STEP) if ALONG else in_steps(start, STEP) + within
    return array + line[:, None]


@kernel
def _places_of(column, shape, strides, NUMBER: tl.constexpr, RANK: tl.constexpr, ALONG: tl.constexpr,
               STEP: tl.constexpr):  # fmt: skip
    """How far each place lies from the first one of a channel in the tensor of this number."""
    offset = offsets_of(column, shape, strides, NUMBER * RANK, RANK)
    return (offset if ALONG else in_steps(offset, STEP))[None, :]


@kernel
def _loaded(grad, x, column, inside, average, scale, shape, strides, RANK: tl.constexpr, ALONG: tl.constexpr,
            STEP: tl.constexpr, COMPUTE: tl.constexpr):  # fmt: skip
    """A tile of the gradient, and what the tile was normalised to."""
    g = tl.load(grad + _places_of(column, shape, strides, 0, RANK, ALONG, STEP), mask=inside, other=0).to(COMPUTE)
    value = tl.load(x + _places_of(column, shape, strides, 1, RANK, ALONG, STEP), mask=inside, other=0).to(COMPUTE)
    return g, (value - average) * scale


@kernel
def _mean_of(values, count, ROWS: tl.constexpr, WIDTH: tl.constexpr, COMPUTE: tl.constexpr):
    """The sum of what the channels of each group have, over `count`, for each of them."""
    total = tl.sum(tl.reshape(values, [ROWS, WIDTH]), 1) / count.to(COMPUTE)
    return tl.reshape(tl.broadcast_to(total[:, None], [ROWS, WIDTH]), [ROWS * WIDTH])[:, None]


@kernel(space=GROUP_SPACE, default=group_default, key=("GROUP_RANK", "PLACE_RANK", "FULL", "STEP", "WIDE"))
def group_gradients_kernel(
    grad,  # the gradient of the result: groups, channels and places by the first strides of each
    x,  # what was normalised: by the second strides of each
    weight,  # of the channels, or None: (together * span,)
    mean,  # of each group: (groups,)
    variance,  # of each group: (groups,)
    out,  # the gradient of x: by the third strides of each
    sums,  # of grad times the normalised x, and of grad, by part and image: (SPLITS * images, 2, together * span)
    groups,
    together,  # groups of an image
    span,  # channels of a group
    places,  # elements of a channel
    eps: tl.float64,
    count: tl.float64,  # elements of a group
    group_shape,
    group_strides,
    channel_steps,
    place_shape,
    place_strides,
    GIVEN: tl.constexpr,  # the sums are there: parts are read for the gradient of x
    GROUP_RANK: tl.constexpr,
    PLACE_RANK: tl.constexpr,
    ALONG: tl.constexpr,  # neighbours in memory are places, rather than channels
    STEP: tl.constexpr,  # divides all strides but those of neighbours, and how many of these there are
    FULL: tl.constexpr,  # a group has WIDTH channels
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    WHOLE: tl.constexpr,  # the places of a group fit a block
    WIDTH: tl.constexpr,  # `span`, padded
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    first, part = tl.program_id(0) * ROWS, tl.program_id(1)
    within, row = tl.arange(0, COLUMNS), tl.arange(0, ROWS * WIDTH)
    if WIDE:
        first, part, within = first.to(tl.int64), part.to(tl.int64), within.to(tl.int64)
    if ALONG:
        places = in_steps(places, STEP)
    else:
        span = in_steps(span, STEP)
    group, channel = first + row // WIDTH, row % WIDTH
    valid = group < groups
    if not FULL:
        valid = valid & (channel < span)
    own = group % together * span + channel
    average = tl.load(mean + group, mask=valid, other=0).to(COMPUTE)[:, None]
    scale = 1 / tl.sqrt(tl.load(variance + group, mask=valid, other=1).to(COMPUTE) + eps.to(COMPUTE))[:, None]
    factor = tl.full([ROWS * WIDTH], 1, COMPUTE)
    if weight is not None:
        factor = tl.load(weight + own, mask=valid, other=0).to(COMPUTE)
    grad = _lines_of(grad, group, channel, group_shape, group_strides, channel_steps, 0, GROUP_RANK, ALONG, STEP)
    x = _lines_of(x, group, channel, group_shape, group_strides, channel_steps, 1, GROUP_RANK, ALONG, STEP)
    target = _lines_of(out, group, channel, group_shape, group_strides, channel_steps, 2, GROUP_RANK, ALONG, STEP)
    share = tl.cdiv(tl.cdiv(places, COLUMNS), SPLITS) * COLUMNS
    begin = part * share
    last = tl.minimum(begin + share, places)
    left = sums + group // together * 2 * together * span + own
    product = tl.zeros([ROWS * WIDTH], COMPUTE)
    total = tl.zeros([ROWS * WIDTH], COMPUTE)
    if GIVEN:
        for each in range(SPLITS):
            product += tl.load(left + each * 2 * groups * span, mask=valid, other=0)
            total += tl.load(left + each * 2 * groups * span + together * span, mask=valid, other=0)
    else:
        if WHOLE:
            inside = valid[:, None] & (within < places)[None, :]
            g, hat = _loaded(grad, x, within, inside, average, scale, place_shape, place_strides, PLACE_RANK, ALONG,
                             STEP, COMPUTE)  # fmt: skip
            product, total = tl.sum(g * hat, 1), tl.sum(g, 1)
        else:
            products = tl.zeros([ROWS * WIDTH, COLUMNS], COMPUTE)
            totals = tl.zeros([ROWS * WIDTH, COLUMNS], COMPUTE)
            for start in range(begin, last, COLUMNS):
                column = start + within
                inside = valid[:, None] & (column < places)[None, :]
                g, hat = _loaded(grad, x, column, inside, average, scale, place_shape, place_strides, PLACE_RANK, ALONG,
                                 STEP, COMPUTE)  # fmt: skip
                products += g * hat
                totals += g
            product, total = tl.sum(products, 1), tl.sum(totals, 1)
        tl.store(left + part * 2 * groups * span, product, mask=valid)
        tl.store(left + part * 2 * groups * span + together * span, total, mask=valid)
    if GIVEN or SPLITS == 1:
        along = _mean_of(product * factor, count, ROWS, WIDTH, COMPUTE)
        level = _mean_of(total * factor, count, ROWS, WIDTH, COMPUTE)
        factor = factor[:, None]
        for start in range(begin, last, COLUMNS):
            column = start + within
            inside = valid[:, None] & (column < places)[None, :]
            if not WHOLE:
                g, hat = _loaded(grad, x, column, inside, average, scale, place_shape, place_strides, PLACE_RANK, ALONG,
                                 STEP, COMPUTE)  # fmt: skip
            result = scale * (g * factor - level - hat * along)
            at = target + _places_of(column, place_shape, place_strides, 2, PLACE_RANK, ALONG, STEP)
            tl.store(at, result.to(out.dtype.element_ty), mask=inside)


class _Lying(NamedTuple):
    """How tensors lie by group and by place, (shape, strides of each) for both, and by channel; and what follows."""

    groups: tuple
    steps: tuple
    places: tuple
    along: bool  # neighbours in memory are places of one channel
    facts: dict


def _lying_of(tensors, layout):
    """The _Lying of tensors that are normalised by groups as `layout` says, the last one being written to."""
    strides = [element_strides(each.reshape(layout.shape)) for each in tensors]
    nearest_last = sorted(layout.summed[1:], key=lambda axis: -abs(strides[-1][axis]))
    groups, places = (
        merge(tuple(layout.shape[axis] for axis in axes), [tuple(own[axis] for axis in axes) for own in strides])
        for axes in ((0, 1), nearest_last)
    )
    steps, span = tuple(own[2] for own in strides), layout.groups[1]
    kept = (*groups[1][-1], *steps[-1:]) if span > 1 else groups[1][-1]
    along = lies_along(((), kept), (places[0], places[1][-1]))
    rest = (*steps, math.prod(places[0])) if along else (*sum(places[1], ()), span)
    facts = {
        "GROUP_RANK": len(groups[0]), "PLACE_RANK": len(places[0]), "STEP": math.gcd(16, *sum(groups[1], ()), *rest),
        "FULL": span == next_power_of_2(span), "WIDE": needs_64_bits(layout.shape, strides),
    }  # fmt: skip
    return _Lying(groups, steps, places, along, facts)


def fits_tiles(layout):
    """Whether a tile takes all channels of a group, with some places of each."""
    return layout.groups[1] <= _TILE // 4


def _launched(grad, input, weight, mean, variance, layout, eps):
    """The gradient of the input; and by part and image the sums of channels, (parts * images, 2, channels)."""
    compute, (images, together, span) = computed_in(input.dtype), layout.shape[:3]
    out = empty_by(input, tuple(input.shape), written_order(input, layout))
    if not out.size:
        return out, empty_like(input, (0, 2, together * span), compute)
    lying, groups, places = _lying_of((grad, input, out), layout), layout.rows, layout.count // span
    weight, mean, variance = (None if each is None else as_contiguous(each) for each in (weight, mean, variance))
    arrays, width = (grad, input, weight, mean, variance, out), next_power_of_2(span)
    config = group_gradients_kernel.config(
        arrays, groups=groups, width=width, places=places, along=lying.along, itemsize=compute.itemsize, **lying.facts
    )
    parts = config["SPLITS"]
    sums = empty_like(input, (parts * images, 2, together * span), compute)
    for given in (False, True)[: 1 if parts == 1 else 2]:
        group_gradients_kernel[(cdiv(groups, config["ROWS"]), parts)](
            *arrays, sums, groups, together, span, places, eps, float(layout.count),
            lying.groups[0], sum(lying.groups[1], ()), lying.steps, lying.places[0], sum(lying.places[1], ()),
            GIVEN=given, ALONG=lying.along, COMPUTE=triton_dtype(compute), WHOLE=config["COLUMNS"] >= places,
            WIDTH=width, **lying.facts, **config,
        )  # fmt: skip
    return out, sums


def launch_group_slope(*arguments):
    """The gradient of the input, in one launch, or two where groups are few and large."""
    return _launched(*arguments)[0]


def launch_group_gradients(grad, input, weight, *rest):
    """The gradients of the input, of the weight and of the bias, in a launch more."""
    out, sums = _launched(grad, input, weight, *rest)
    kind = input.dtype if weight is None else weight.dtype
    products, totals = (empty_like(input, sums.shape[2:], kind) for _ in range(2))
    if products.size:
        launch_program_sums(sums, products, totals)
    return out, products, totals
