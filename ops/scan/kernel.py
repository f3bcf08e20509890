"""The kernel of the scan family: running results along a dimension, whatever the strides, forwards or backwards.

A row is scanned block by block, each of which takes what came before it as a carry. Few long rows are cut into parts,
in three launches: what each part comes to, a scan of that, and the parts again, each with its carry (Blelloch 1990).
Nothing depends on scheduling, so the same input always gives the same bits.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.kernel import LEAST, line_of, needed
from tritorch.runtime import tl

_INT64 = np.dtype(np.int64)


def scan_default(device, *, rows, columns, along, itemsize=4):
    """Tiles of 8 to 16 KiB, wide where memory is, split until the GPU is full; few large ones interpreted.

    Parts are read twice, which costs as much as half of the multiprocessors without work: few rows stay whole longer
    than those of a sum.
    """
    if device.kind == "interpreter":
        splits = 2 if rows < 8 and columns > 512 else 1
        width = min(next_power_of_2(cdiv(columns, splits)), 4096)
        height = min(next_power_of_2(cdiv(rows, 8)), max(131072 // width, 1))
        return {"ROWS": height, "COLUMNS": width, "SPLITS": splits, "num_warps": 4}
    tile, enough = min(16384 // itemsize, 4096), device.sms + device.sms // 2
    if along:
        width, lowest = min(next_power_of_2(columns), tile), 1
        height = min(next_power_of_2(rows), max(tile // 2 // width, 1), 256)
    else:
        width, lowest = min(next_power_of_2(columns), tile // 32), 32 if itemsize < 4 else 16
        height = min(next_power_of_2(rows), max(32, LEAST // width))
    while height > lowest and height * width > LEAST and cdiv(rows, height) < enough:
        height //= 2
    width = min(next_power_of_2(columns), max(width, tile // height if not along else LEAST // height))
    splits = 1
    while splits < 512 and cdiv(rows, height) * splits < enough and columns > 4 * width * splits:
        splits *= 2
    return {"ROWS": height, "COLUMNS": width, "SPLITS": splits, "num_warps": _warps(height * width)}


def _warps(elements):
    """Up to 16 elements for each thread."""
    return 8 if elements > 2048 else 4 if elements > 256 else 1


def _shared_out(ROWS, COLUMNS, num_warps):
    """Two to 16 elements for each thread, of one warp fewer."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= 16 and (num_warps == 1 or each >= 2)


def _carried_seldom(COLUMNS, columns):
    """A block waits for the one before it, so that narrow ones make long chains."""
    return COLUMNS >= min(next_power_of_2(columns), 32)


def _in_lines(ROWS, COLUMNS, rows, columns, along):
    """Whether a tile goes so far along memory that whole sectors are read."""
    length, size = (COLUMNS, columns) if along else (ROWS, rows)
    return length >= min(next_power_of_2(size), 16)


def _split_where_few(ROWS, COLUMNS, SPLITS, rows, columns, device):
    """Long rows are split where there are fewer programs than multiprocessors, until there are up to 16 for each."""
    programs = max(next_power_of_2(rows) // ROWS, 1) * SPLITS
    blocks = next_power_of_2(columns) // (COLUMNS * SPLITS)
    if SPLITS > 1 and (programs >= 16 * device.sms or blocks < 4):
        return False
    return programs >= device.sms or blocks <= 4


SCAN_SPACE = Space(
    ROWS=powers(1, 256), COLUMNS=powers(1, 4096), SPLITS=powers(1, 512, default=1), num_warps=warps(1, 8),
    where=(_shared_out, needed, _in_lines, _carried_seldom, _split_where_few),
)  # fmt: skip


@functools.cache
def scan_by(combine):
    """The function that scans the columns of a tile: Triton takes `combine` from a closure, not from a constant."""

    @kernel
    def scan(tile):
        return tl.associative_scan(tile, 1, combine)

    return scan


def scanner(fn):
    """Make a kernel that combines two values, and its scan with it: Triton must see both before the first launch."""
    combine = kernel(fn)
    scan_by(combine)
    return combine


@kernel(space=SCAN_SPACE, default=scan_default, key=("COMBINE", "COMPUTE", "REVERSE", "RANK", "WIDE"))
def scan_kernel(
    x,  # what is scanned: rows by `strides[:RANK]`, columns by `x_step`
    numbers,  # the number of each element of x, contiguous like it; None: its column
    out,  # running results: rows by `strides[RANK:]`, columns by `out_step`; None where only the totals are wanted
    places,  # the numbers they come from, int64, laid out as `out`; None but for extremes
    carries,  # what the parts up to each come to: (rows, SPLITS); None where there is one part
    carry_places,  # the numbers that comes from, likewise
    rows,
    columns,
    shape,
    strides,
    x_step,
    out_step,
    COMBINE: tl.constexpr,  # an earlier value (with its number) and a later one to one
    SCAN: tl.constexpr,  # the columns of a tile
    IDENTITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    REVERSE: tl.constexpr,  # from the last column to the first
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    NUMBERED: tl.constexpr,  # values go with their numbers
    HEADS: tl.constexpr,  # results only where a number is its own column, else zero
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
    source = line_of(row, shape, strides, 0, RANK, ROWS)[:, None]
    target = line_of(row, shape, strides, RANK, RANK, ROWS)[:, None]
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    first = part * share
    last = tl.minimum(first + share, columns)
    carry = tl.full([ROWS], IDENTITY, COMPUTE)
    at = tl.zeros([ROWS], tl.int64)
    if carries is not None and out is not None:  # take over what the parts before come to
        before = row * SPLITS + part - 1
        known = (row < rows) & (before >= row * SPLITS)
        carry = tl.where(known, tl.load(carries + before, mask=known, other=0), carry).to(COMPUTE)
        if NUMBERED:
            at = tl.load(carry_places + before, mask=known, other=0)
    final = (tl.arange(0, COLUMNS) == COLUMNS - 1)[None, :]
    for start in range(first, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < last)[None, :]
        if REVERSE:
            column = columns - 1 - column
        value = tl.load(x + source + (column * x_step)[None, :], mask=inside, other=0).to(COMPUTE)
        value = tl.where(inside, value, IDENTITY).to(COMPUTE)
        if NUMBERED:
            if numbers is None:
                number = column.to(tl.int64)[None, :] + tl.zeros([ROWS, COLUMNS], tl.int64)
            else:
                number = tl.load(numbers + source + (column * x_step)[None, :], mask=inside, other=0)
            value, number = SCAN((value, number))
            value, number = COMBINE(carry[:, None], at[:, None], value, number)
            at = tl.sum(tl.where(final, number, 0), 1)
            if places is not None:
                tl.store(places + target + (column * out_step)[None, :], number, mask=inside)
        else:
            value = COMBINE(carry[:, None], SCAN(value))
        carry = tl.sum(tl.where(final, value, 0), 1).to(COMPUTE)
        if out is not None:
            if HEADS:
                value = tl.where(number == column[None, :], value, 0)
            tl.store(out + target + (column * out_step)[None, :], value.to(out.dtype.element_ty), mask=inside)
    if out is None:
        tl.store(carries + row * SPLITS + part, carry, mask=row < rows)
        if NUMBERED:
            tl.store(carry_places + row * SPLITS + part, at, mask=row < rows)


def launch_scan(x, dim, result, compute, combine, identity, numbered=False, reverse=False):
    """Scan `dim` of an array to arrays of its shape: of dtype `result`, and where each comes from if `numbered`."""
    out = empty_like(x, dtype=result)
    places = empty_like(x, dtype=_INT64) if numbered else None
    if out.size:
        _launch(x, None, out, places, dim, compute, reverse, False, _functions(combine, identity, compute, numbered))
    return out, places


def launch_run_sums(x, numbers, dim, compute, combine):
    """Sums along `dim` of runs of equal, ascending numbers: where a number is its own index, and zeros elsewhere.

    `combine` adds two values if their numbers are equal; both arrays are contiguous.
    """
    out = empty_like(x)
    if out.size:
        _launch(x, numbers, out, None, dim, compute, True, True, _functions(combine, 0, compute, True))
    return out


def _functions(combine, identity, compute, numbered):
    return {
        "COMBINE": combine, "SCAN": scan_by(combine), "IDENTITY": identity, "COMPUTE": triton_dtype(compute),
        "NUMBERED": numbered,
    }  # fmt: skip


def _launch(x, numbers, out, places, dim, compute, reverse, heads, fixed):
    kept = [each for each in range(x.ndim) if each != dim]
    steps = [element_strides(each) for each in (x, out)]
    shape, strides = merge(tuple(x.shape[d] for d in kept), [tuple(own[d] for d in kept) for own in steps])
    rows, columns = math.prod(shape), x.shape[dim] if x.ndim else 1
    along = [own[dim] if x.ndim else 0 for own in steps]
    shortest = min((abs(step) for step in strides[0] if step), default=1 << 62)
    facts = {"REVERSE": reverse, "RANK": len(shape), "WIDE": needs_64_bits(x.shape, steps)}
    itemsize = 16 if fixed["NUMBERED"] else max(x.dtype.itemsize, compute.itemsize if compute.itemsize > 4 else 1)
    config = scan_kernel.config(
        (x, numbers, out, places), rows=rows, columns=columns, along=abs(along[0]) <= shortest, itemsize=itemsize,
        COMBINE=fixed["COMBINE"], COMPUTE=compute, **facts,
    )  # fmt: skip
    splits = config["SPLITS"]
    carries = carry_places = None
    layout = (rows, columns, shape, sum(strides, ()), *along)
    given = {"HEADS": heads, **facts, **fixed, **config}
    grid = (cdiv(rows, config["ROWS"]), splits)
    if splits > 1:
        carries = empty_like(x, (rows, splits), compute)
        carry_places = empty_like(x, (rows, splits), _INT64) if fixed["NUMBERED"] else None
        scan_kernel[grid](x, numbers, None, None, carries, carry_places, *layout, **given)
        totals, total_places = empty_like(carries), None if carry_places is None else empty_like(carry_places)
        _launch(carries, carry_places, totals, total_places, 1, compute, False, False, fixed)
        carries, carry_places = totals, total_places
    scan_kernel[grid](x, numbers, out, places, carries, carry_places, *layout, **given)
