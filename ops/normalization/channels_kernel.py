"""Kernels over channels: sums for the gradients of weight and bias, and the mean and variance of each in a batch.

As in the reduction family, a row is a channel and a column an element of it, wherever they lie; few channels of many
elements are summed in parts, which a second launch combines in a fixed order.
"""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import as_contiguous, broadcast_strides, empty_like, merge, needs_64_bits
from tritorch.ops.normalization.program_sums import MOST, launch_program_sums
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in, lies_along, reduce_default
from tritorch.ops.rowwise.kernel import warps_of
from tritorch.runtime import tl


def channels_default(device, *, rows, columns, along):
    """As for a sum, with tiles of at most 2048 elements: two sums are kept for each."""
    config = reduce_default(device, rows=rows, columns=columns, along=along)
    if device.kind == "interpreter":
        return config
    height = min(config["ROWS"], 128)
    width = min(config["COLUMNS"], 2048 // height)
    warps = 8 if height * width > 512 else 4 if height * width > 128 else 1
    return {"ROWS": height, "COLUMNS": width, "SPLITS": config["SPLITS"], "num_warps": warps}


def _no_larger(ROWS, COLUMNS, rows, columns):
    return max(next_power_of_2(rows), 1) >= ROWS and max(next_power_of_2(columns), 1) >= COLUMNS


def _elements_a_thread(ROWS, COLUMNS, num_warps):
    """Up to 16, each with two sums; one at least, unless a warp is one too many already."""
    return ROWS * COLUMNS <= 16 * 32 * num_warps and (num_warps == 1 or ROWS * COLUMNS >= 32 * num_warps)


def _lines_of_memory(ROWS, COLUMNS, rows, columns, along):
    """A warp's worth of neighbours in memory, as far as there are as many."""
    if along:
        return COLUMNS >= min(next_power_of_2(columns), 128)
    return ROWS >= min(next_power_of_2(rows), 16)


def _splits_with_work(ROWS, COLUMNS, SPLITS, rows, columns, device):
    """Parts until there are a few programs for each multiprocessor, each with a tile at least."""
    programs = max(next_power_of_2(rows) // ROWS, 1)
    return SPLITS == 1 or (programs * SPLITS <= 8 * device.sms and COLUMNS * SPLITS <= next_power_of_2(columns))


def _splits_enough(ROWS, COLUMNS, SPLITS, rows, columns, device):
    """Not so few that most of the GPU idles while there is enough to share out."""
    return SPLITS == 1024 or not _splits_with_work(ROWS, 4 * COLUMNS, 16 * SPLITS, rows, columns, device)


CHANNELS_SPACE = Space(
    ROWS=powers(1, 128, default=1), COLUMNS=powers(1, 4096, default=1024), SPLITS=powers(1, 1024, default=1),
    num_warps=warps(1, 8, default=8),
    where=(_no_larger, _elements_a_thread, _lines_of_memory, _splits_with_work, _splits_enough),
)  # fmt: skip


@kernel(space=CHANNELS_SPACE, default=channels_default, key=("KEPT_RANK", "GONE_RANK", "BY_ROW", "BY_COLUMN", "WIDE"))
def channel_sums_kernel(
    grad,  # the gradient of the result: channels and elements by the first strides of each
    x,  # what was normalised: by the second strides
    mean,  # by the third strides, or None where it was taken as zero
    variance,  # by the third strides
    sums,  # those of the gradient times the normalised x, and of the gradient: (SPLITS, 2, rows)
    rows,
    columns,
    eps: tl.float64,
    kept,
    kept_strides,
    gone,
    gone_strides,
    KEPT_RANK: tl.constexpr,
    GONE_RANK: tl.constexpr,
    BY_ROW: tl.constexpr,  # mean and variance differ between channels
    BY_COLUMN: tl.constexpr,  # and within one
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    within = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
        within = within.to(tl.int64)
    valid = row < rows
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    last = tl.minimum(part * share + share, columns)
    line = offsets_of(row, kept, kept_strides, 0, KEPT_RANK)[:, None]
    other = offsets_of(row, kept, kept_strides, KEPT_RANK, KEPT_RANK)[:, None]
    own = offsets_of(row, kept, kept_strides, 2 * KEPT_RANK, KEPT_RANK)[:, None]
    total = tl.zeros([ROWS, COLUMNS], COMPUTE)
    product = tl.zeros([ROWS, COLUMNS], COMPUTE)
    for start in range(part * share, last, COLUMNS):
        column = start + within
        before = column < last
        inside = valid[:, None] & before[None, :]
        g = tl.load(grad + line + offsets_of(column, gone, gone_strides, 0, GONE_RANK)[None, :], mask=inside, other=0)
        place = other + offsets_of(column, gone, gone_strides, GONE_RANK, GONE_RANK)[None, :]
        value = tl.load(x + place, mask=inside, other=0).to(COMPUTE)
        if BY_COLUMN:
            at = offsets_of(column, gone, gone_strides, 2 * GONE_RANK, GONE_RANK)[None, :]
            if BY_ROW:
                at = own + at
                present = inside
            else:
                present = before[None, :]
        else:
            at = own
            present = valid[:, None]
        if mean is not None:
            value = value - tl.load(mean + at, mask=present, other=0)
        hat = value / tl.sqrt(tl.load(variance + at, mask=present, other=1) + eps.to(COMPUTE))
        g = g.to(COMPUTE)
        total += g
        product += tl.where(inside, g * hat, 0).to(COMPUTE)
    tl.store(sums + part * 2 * rows + row, tl.sum(product, 1), mask=valid)
    tl.store(sums + (part * 2 + 1) * rows + row, tl.sum(total, 1), mask=valid)


@kernel(space=CHANNELS_SPACE, default=channels_default, key=("KEPT_RANK", "GONE_RANK", "WIDE"))
def moments_kernel(
    x,  # channels by `kept_strides`, elements of each by `gone_strides`
    means,  # of the part of each channel that a program reads: (SPLITS, rows)
    squares,  # sums of squared distances from that: (SPLITS, rows)
    rows,
    columns,
    kept,
    kept_strides,
    gone,
    gone_strides,
    KEPT_RANK: tl.constexpr,
    GONE_RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    within = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
        within = within.to(tl.int64)
    valid = row < rows
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    first = part * share
    last = tl.minimum(first + share, columns)
    line = x + offsets_of(row, kept, kept_strides, 0, KEPT_RANK)[:, None]
    # Distances are taken from the mean of the part's first block, so that nothing cancels.
    column = first + within
    inside = valid[:, None] & (column < last)[None, :]
    places = offsets_of(column, gone, gone_strides, 0, GONE_RANK)
    value = tl.load(line + places[None, :], mask=inside, other=0).to(COMPUTE)
    count = tl.maximum(tl.full([ROWS], 1, tl.int64), tl.minimum(last - first, COLUMNS)).to(COMPUTE)
    middle = tl.sum(value, 1) / count
    total = tl.zeros([ROWS, COLUMNS], COMPUTE)
    square = tl.zeros([ROWS, COLUMNS], COMPUTE)
    for start in range(first, last, COLUMNS):
        column = start + within
        inside = valid[:, None] & (column < last)[None, :]
        places = offsets_of(column, gone, gone_strides, 0, GONE_RANK)
        value = tl.load(line + places[None, :], mask=inside, other=0).to(COMPUTE)
        apart = tl.where(inside, value - middle[:, None], 0).to(COMPUTE)
        total += apart
        square += apart * apart
    count = tl.maximum(tl.full([ROWS], 1, tl.int64), last - first).to(COMPUTE)
    moved = tl.sum(total, 1) / count
    tl.store(means + part * rows + row, middle + moved, mask=valid)
    tl.store(squares + part * rows + row, tl.sum(square, 1) - moved * moved * count, mask=valid)


@kernel
def combine_moments_kernel(
    means,  # of each part of a channel: (parts, rows)
    squares,  # sums of squared distances from that: (parts, rows)
    mean,  # of the channel: (rows,)
    variance,  # its mean squared distance from that: (rows,)
    rows,
    columns,
    share: tl.int64,  # how many elements a part has, the last ones fewer or none
    parts,
    COMPUTE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([PARTS, BLOCK], COMPUTE)
    for start in range(0, parts, PARTS):
        count, places, inside = _part(start, parts, share, rows, columns, row, COMPUTE, PARTS)
        total += tl.load(means + places, mask=inside, other=0) * count
    average = tl.sum(total, 0) / columns
    # What lies between the parts is added to what lies within them; nothing cancels.
    spread = tl.zeros([PARTS, BLOCK], COMPUTE)
    for start in range(0, parts, PARTS):
        count, places, inside = _part(start, parts, share, rows, columns, row, COMPUTE, PARTS)
        apart = tl.load(means + places, mask=inside, other=0) - average[None, :]
        spread += tl.load(squares + places, mask=inside, other=0) + apart * apart * count
    tl.store(mean + row, average, mask=row < rows)
    tl.store(variance + row, tl.sum(spread, 0) / columns, mask=row < rows)


@kernel
def _part(start, parts, share, rows, columns, row, COMPUTE: tl.constexpr, PARTS: tl.constexpr):
    """Of PARTS parts from `start` on, how many elements each has, and where those of some channels are."""
    part = start + tl.arange(0, PARTS).to(tl.int64)
    inside = (part < parts)[:, None] & (row < rows)[None, :]
    count = tl.minimum(part * share + share, columns) - tl.minimum(part * share, columns)
    return tl.where(part < parts, count, 0).to(COMPUTE)[:, None], part[:, None] * rows + row[None, :], inside


def _channels_and_elements(arrays, layout):
    """How arrays of the layout's shape lie: (shape, strides of each) by channel, and within one, nearest last."""
    steps = [broadcast_strides(each, layout.shape) for each in arrays]
    first = len(layout.shape) - len(layout.channels)
    kept = [axis for axis in range(first, len(layout.shape)) if axis not in layout.summed]
    gone = sorted(layout.summed, key=lambda axis: -abs(steps[0][axis]))
    return [
        merge(tuple(layout.shape[axis] for axis in group), [tuple(own[axis] for axis in group) for own in steps])
        for group in (kept, gone)
    ], needs_64_bits(layout.shape, steps)


def launch_channel_sums(grad, input, mean, variance, layout, eps):
    """For each channel the sum of the gradient times the normalised input, and the sum of the gradient."""
    compute = computed_in(input.dtype)
    mean, variance = None if mean is None else as_contiguous(mean), as_contiguous(variance)
    spread = variance.reshape(layout.statistics)
    arrays = [input.reshape(layout.shape), grad.reshape(layout.shape), spread]
    (kept, gone), wide = _channels_and_elements(arrays, layout)
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    facts = {
        "KEPT_RANK": len(kept[0]), "GONE_RANK": len(gone[0]), "BY_ROW": any(kept[1][2]), "BY_COLUMN": any(gone[1][2]),
        "WIDE": wide,
    }  # fmt: skip
    config = channel_sums_kernel.config(
        (grad, input, mean, variance), rows=rows, columns=columns,
        along=lies_along((kept[0], kept[1][0]), (gone[0], gone[1][0])), **facts,
    )  # fmt: skip
    parts = config["SPLITS"]
    sums = empty_like(input, (parts, 2, rows), compute)
    if rows:
        order = (1, 0, 2)
        channel_sums_kernel[(cdiv(rows, config["ROWS"]), parts)](
            grad, input, mean, variance, sums, rows, columns, eps,
            kept[0], sum((kept[1][at] for at in order), ()), gone[0], sum((gone[1][at] for at in order), ()),
            COMPUTE=triton_dtype(compute), **facts, **config,
        )  # fmt: skip
    if parts == 1 or not rows:
        return sums[0, 0], sums[0, 1]
    products, totals = (empty_like(input, (rows,), compute) for _ in range(2))
    launch_program_sums(sums, products, totals)
    return products, totals


def launch_moments(input, layout):
    """The mean of each channel and its mean squared distance from that, in two launches."""
    compute = computed_in(input.dtype)
    (kept, gone), wide = _channels_and_elements([input], layout)
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    mean, variance = (empty_like(input, (rows,), compute) for _ in range(2))
    if not rows:
        return mean, variance
    facts = {"KEPT_RANK": len(kept[0]), "GONE_RANK": len(gone[0]), "WIDE": wide}
    config = moments_kernel.config(
        (input,), rows=rows, columns=columns, along=lies_along((kept[0], kept[1][0]), (gone[0], gone[1][0])), **facts
    )
    parts = config["SPLITS"]
    means, squares = (empty_like(input, (parts, rows), compute) for _ in range(2))
    moments_kernel[(cdiv(rows, config["ROWS"]), parts)](
        input, means, squares, rows, columns, kept[0], kept[1][0], gone[0], gone[1][0],
        COMPUTE=triton_dtype(compute), **facts, **config,
    )  # fmt: skip
    share = cdiv(cdiv(columns, config["COLUMNS"]), parts) * config["COLUMNS"]
    block = min(next_power_of_2(rows), 32)
    height = min(next_power_of_2(parts), MOST // block)
    combine_moments_kernel[(cdiv(rows, block),)](
        means, squares, mean, variance, rows, columns, share, parts,
        COMPUTE=triton_dtype(compute), PARTS=height, BLOCK=block, num_warps=warps_of(height * block),
    )  # fmt: skip
    return mean, variance
