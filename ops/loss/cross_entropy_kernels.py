"""Kernels of cross_entropy: a row of scores is read once for its loss, and once for its gradient."""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.layout import as_contiguous, broadcast_strides, element_strides, empty_like, needs_64_bits
from tritorch.ops.loss.cross_entropy import nll_finish
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.rowwise.kernel import ROWS_SPACE, load_tile, rows_default, rows_of, store_tile
from tritorch.runtime import tl


@kernel
def _sum_of_weights(whole, classes, COMPUTE: tl.constexpr):
    if whole is None:
        found = tl.full([1], classes, tl.int64).to(COMPUTE)
    else:
        found = tl.load(whole + tl.arange(0, 1)).to(COMPUTE)
    return found


@kernel(space=ROWS_SPACE, default=rows_default, key=("RANK", "SUM", "SMOOTH", "WIDE"))
def cross_entropy_kernel(
    x,  # the input: rows by `strides[:RANK]`, classes by `step`
    target,  # class indices: rows by `strides[RANK:]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    losses,  # of the rows, (rows,); or their sums by program, (programs,)
    weights,  # the sums of weights by program, (programs,); unwritten if there is no sum
    lse,  # the logarithm of each row's sum of exponentials: (rows,)
    rows,
    classes,
    ignored,
    shape,
    strides,
    step,
    weight_step,
    smoothing: tl.float64,
    whole,  # the sum of the weights: (2,), twice; or None where there are none
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    SUM: tl.constexpr,
    SMOOTH: tl.constexpr,  # whether `smoothing` is not zero
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    line = offsets_of(row, shape, strides, 0, RANK)
    highest = tl.full([ROWS], float("-inf"), COMPUTE)
    total = tl.zeros([ROWS], COMPUTE)
    weighted = tl.zeros([ROWS], COMPUTE)  # sums of the input times the weights
    for start in range(0, classes, COLUMNS):
        value = load_tile(x, line, start + column, step, valid, classes, float("-inf"), COMPUTE)
        higher = tl.maximum(highest, tl.max(value, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher).to(COMPUTE)
        total = total * tl.exp(highest - base) + tl.sum(tl.exp(value - base[:, None]), 1)
        highest = higher
        if SMOOTH:
            present = (start + column < classes)[None, :]
            value = tl.where(present, value, 0).to(COMPUTE)
            if weight is not None:
                places = weight + (start + column) * weight_step
                value = value * tl.load(places, mask=start + column < classes, other=0).to(COMPUTE)[None, :]
            weighted += tl.sum(value, 1)
    found = highest + tl.log(total)
    tl.store(lse + row, found.to(lse.dtype.element_ty), mask=valid)
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=valid, other=0).to(tl.int64)
    counted = valid & (place != ignored)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=counted)
    picked = tl.load(x + line + place * step, mask=counted & known, other=0).to(COMPUTE)
    factor = tl.full([ROWS], 1, COMPUTE)
    if weight is not None:
        factor = tl.load(weight + place * weight_step, mask=counted & known, other=0).to(COMPUTE)
    loss = (found - picked) * factor
    if SMOOTH:
        spread = _sum_of_weights(whole, classes, COMPUTE) * found - weighted
        loss = loss * (1 - smoothing).to(COMPUTE) + spread * (smoothing / classes).to(COMPUTE)
    # A class that does not exist cannot raise on a device: it makes the loss NaN.
    loss = tl.where(counted, tl.where(known, loss, float("nan")), 0).to(COMPUTE)
    if SUM:
        tl.store(losses + tl.program_id(0), tl.sum(loss, 0).to(losses.dtype.element_ty))
        factor = tl.where(counted, factor, 0).to(COMPUTE)
        tl.store(weights + tl.program_id(0), tl.sum(factor, 0).to(weights.dtype.element_ty))
    else:
        tl.store(losses + row, loss.to(losses.dtype.element_ty), mask=valid)


@kernel(space=ROWS_SPACE, default=rows_default, key=("RANK", "SMOOTH", "WIDE"))
def cross_entropy_backward_kernel(
    x,  # the input: rows by `strides[:RANK]`, classes by `step`
    grad,  # that of the loss: rows by `strides[2 * RANK : 3 * RANK]`, all zero for a mean or sum; or None for one
    target,  # class indices: rows by `strides[RANK : 2 * RANK]`
    weight,  # of the classes, (classes,) by `weight_step`; or None
    total,  # the sum of weights: (), or None where nothing is divided by it
    lse,  # the logarithm of each row's sum of exponentials: (rows,)
    out,  # the gradient of the input: rows by `strides[3 * RANK :]`, classes by `out_step`
    rows,
    classes,
    ignored,
    shape,
    strides,
    step,
    out_step,
    weight_step,
    smoothing: tl.float64,
    whole,  # the sum of the weights: (2,), twice; or None where there are none
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,
    SMOOTH: tl.constexpr,  # whether `smoothing` is not zero
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = column.to(tl.int64)
    valid = row < rows
    line = offsets_of(row, shape, strides, 0, RANK)
    result = offsets_of(row, shape, strides, 3 * RANK, RANK)
    place = tl.load(target + offsets_of(row, shape, strides, RANK, RANK), mask=valid, other=0).to(tl.int64)
    counted = valid & (place != ignored)
    known = (place >= 0) & (place < classes)
    tl.device_assert(known, "index out of bounds", mask=counted)
    share = counted.to(COMPUTE)
    if grad is not None:
        share = tl.load(grad + offsets_of(row, shape, strides, 2 * RANK, RANK), mask=counted, other=0).to(COMPUTE)
    if total is not None:
        share = share / tl.load(total).to(COMPUTE)
    factor = share  # of the class of the target
    if weight is not None:
        factor = factor * tl.load(weight + place * weight_step, mask=counted & known, other=0).to(COMPUTE)
    everywhere = factor  # of the probability of each class
    if SMOOTH:
        factor = factor * (1 - smoothing).to(COMPUTE)
        spread = share * (smoothing / classes).to(COMPUTE)  # of the weight of each class
        everywhere = factor + spread * _sum_of_weights(whole, classes, COMPUTE)
    level = tl.load(lse + row, mask=valid, other=0).to(COMPUTE)
    for start in range(0, classes, COLUMNS):
        at = start + column
        value = load_tile(x, line, at, step, valid, classes, float("-inf"), COMPUTE)
        slope = tl.exp(value - level[:, None]) * everywhere[:, None]
        slope = tl.where(at[None, :] == place[:, None], slope - factor[:, None], slope)
        if SMOOTH:
            if weight is None:
                slope = slope - spread[:, None]
            else:
                each = tl.load(weight + at * weight_step, mask=at < classes, other=0).to(COMPUTE)
                slope = slope - spread[:, None] * each[None, :]
        # What is ignored has no gradient, whatever it holds.
        slope = tl.where(counted[:, None], slope, 0).to(COMPUTE)
        store_tile(out, result, at, out_step, valid, classes, slope)


def class_axis(ndim):
    """The dimension that classes lie along."""
    return 1 if ndim > 1 else 0


def _apart(strides, axis):
    return strides[:axis] + strides[axis + 1 :], strides[axis]


def _is_wide(tensors, shape, strides):
    """Whether elements of a tensor, or rows, are more than 32 bits apart."""
    return needs_64_bits(shape, strides) or any(
        needs_64_bits(each.shape, [element_strides(each)]) for each in tensors if each is not None
    )


def _sum_of(weight, smoothing, compute):
    """The sum of class weights where it is needed, else None."""
    if weight is None or not smoothing:
        return None
    weight, found = as_contiguous(weight), empty_like(weight, (2,), compute)
    launch_finish(weight, weight, found[:1], found[1:], weight.size, False)
    return found


def launch_losses(input, target, weight, ignore_index, reduction, smoothing):
    """Losses by row, or their sums by program, those of the weights, and log sum exp of each row; how many programs."""
    compute, summed = computed_in(input.dtype), reduction != "none"
    kept, step = _apart(element_strides(input), class_axis(input.ndim))
    shape, strides = rows_of(target.shape, [kept, element_strides(target)])
    rows, classes = math.prod(target.shape), input.shape[class_axis(input.ndim)]
    shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
    wide = _is_wide((input, weight), shape, strides)
    facts = {"RANK": len(shape), "SUM": summed, "SMOOTH": bool(smoothing), "WIDE": wide}
    config = cross_entropy_kernel.config(
        (input, target, weight), rows=rows, columns=classes, along=abs(step) <= shortest, itemsize=compute.itemsize,
        **facts,
    )  # fmt: skip
    programs = cdiv(rows, config["ROWS"])
    losses = empty_like(input, (programs,) if summed else target.shape, compute if summed else input.dtype)
    weights, lse = empty_like(input, (programs,), compute), empty_like(input, target.shape, compute)
    if rows:
        cross_entropy_kernel[(programs,)](
            input, target, weight, losses, weights, lse, rows, classes, ignore_index, shape, sum(strides, ()), step,
            element_strides(weight)[0] if weight is not None else 0, float(smoothing),
            _sum_of(weight, smoothing, compute), COMPUTE=triton_dtype(compute), **facts, **config,
        )  # fmt: skip
    return losses, weights, lse, programs


def launch_finish(losses, weights, loss, total, count, mean):
    """Add `count` sums of losses to `loss`, divided by that of the weights if `mean`, which goes to `total`."""
    nll_finish[(1,)](
        losses, weights, loss, total, count, MEAN=mean, COMPUTE=triton_dtype(total.dtype),
        BLOCK=min(max(next_power_of_2(count), 128), 4096), num_warps=4,
    )  # fmt: skip


def launch_slope(grad, input, target, weight, total, lse, out, ignore_index, smoothing):
    """Write the gradient of the input to `out`, which may be the input; grad and total are one where they are None."""
    axis = class_axis(input.ndim)
    (kept, step), (own, out_step) = (_apart(element_strides(each), axis) for each in (input, out))
    given = (0,) * target.ndim if grad is None else broadcast_strides(grad, target.shape)
    shape, strides = rows_of(target.shape, [kept, element_strides(target), given, own])
    rows, classes = math.prod(target.shape), input.shape[axis]
    shortest = min((abs(each) for each in strides[0] if each), default=1 << 62)
    wide = _is_wide((input, weight, out), shape, strides)
    arrays, compute = (input, grad, target, weight, total, as_contiguous(lse), out), computed_in(input.dtype)
    facts = {"RANK": len(shape), "SMOOTH": bool(smoothing), "WIDE": wide}
    config = cross_entropy_backward_kernel.config(
        arrays, rows=rows, columns=classes, along=abs(step) <= shortest, itemsize=compute.itemsize, **facts
    )
    cross_entropy_backward_kernel[(cdiv(rows, config["ROWS"]),)](
        *arrays, rows, classes, ignore_index, shape, sum(strides, ()), step, out_step,
        element_strides(weight)[0] if weight is not None else 0, float(smoothing),
        _sum_of(weight, smoothing, compute), COMPUTE=triton_dtype(compute), **facts, **config,
    )  # fmt: skip
