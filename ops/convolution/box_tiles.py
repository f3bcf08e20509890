"""Which boxes of places and images the convolutions of few images take (see `box_kernels.py`).

A config says how many rows a box has; which lines, places and images those are follows from the sizes of a launch, as
the box that is filled most: it differs within a bucket of sizes, and a search has no better measure of it.
"""

from __future__ import annotations

import functools
import itertools
import math

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.ops.convolution.lane_tiles import (
    ALONE,
    BESIDE,
    LEAST,
    PARTS,
    SPARE,
    SUMS,
    depth_is_worth,
    is_worth,
    parts_fill,
    stages_are_enough,
    step_time,
    summing_time,
    sums_fit,
    taps_share,
    tiles_of,
)

_FULL = 0.55  # of a box, at least
SMALLEST = 32  # of the boxes that are summed over
_OFTEN = 1.05  # what the smallest take more, whose products are over sooner


@functools.lru_cache(maxsize=4096)
def _best_box(rows, images, lines, width, many_lines, many_places):
    """What part is filled of the box of so many rows that is filled most; and (lines, places, images) of that.

    Of equal ones it has few lines and many places. None where there is none.
    """
    found = [(images / (cdiv(images, rows) * rows), -1, 1, rows)] if rows <= LEAST else []
    for deep, wide in itertools.product(_up_to(images, rows), _up_to(width if many_places else 1, rows)):
        high = rows // (deep * wide)
        if 0 < high <= next_power_of_2(lines if many_lines else 1):
            covered = cdiv(images, deep) * cdiv(width, wide) * cdiv(lines, high) * rows
            found.append((images * lines * width / covered, -high, wide, deep))
    if not found:
        return None
    filled, high, wide, deep = max(found)
    return filled, (-high, wide, deep)


def box_of(rows, images, lines, width, folds, block):
    """The (lines, places, images) of the box of so many rows, where blocks have so many of the stepped channels."""
    return _best_box(rows, images, lines, width, folds[0] > 0, _blocks_stay(block, folds))[1]


def _up_to(count, most):
    """Powers of two up to the first that is no less than `count`."""
    return [1 << bit for bit in range(min(next_power_of_2(count), most).bit_length())]


def rows_are_full(rows, images, lines, width, folds):
    """Whether boxes of so many rows can be filled for the most part."""
    best = _best_box(rows, images, lines, width, folds[0] > 0, folds[1] > 0)
    return best is not None and best[0] >= _FULL


def _memory(rows, columns, depth, num_stages, itemsize, out=0):
    """The bytes of all stages, and of a tile on its way out."""
    return (rows + columns) * depth * itemsize * num_stages + out * itemsize + SPARE


def box_default(device, *, images, columns, inner, lines, width, taps, phases=(), folds=(1, 1, 1), itemsize=2):
    """The tile by which the last program is done first, of those that fit; stages as shared memory allows."""
    k, best = min(max(next_power_of_2(inner), 16), 128 // itemsize), None
    steps, most = taps * cdiv(inner, k), 64 if columns <= LEAST else 128
    for rows, n in ((64, 64), (128, 64), (256, 64), (64, most), (128, most), (256, most)):
        found = _best_box(rows, images, lines, width, folds[0] > 0, _blocks_stay(n if phases else k, folds))
        room = _memory(rows, n, k, 3, itemsize, rows * n)
        if found is None or room > device.shared_memory:
            continue
        tiles = math.prod(phases) * cdiv(columns, n)
        for count, size in zip((lines, width, images), found[1], strict=True):
            tiles *= cdiv(count, size)
        beside = rows * n <= SUMS * 128 and tiles > device.sms and 2 * room <= device.shared_memory
        cost = cdiv(tiles, device.sms) * (steps * step_time(rows, n, k, itemsize) + (BESIDE if beside else ALONE))
        if best is None or cost < best[0]:
            best = cost, rows, n, beside
    _, rows, n, beside = best
    programs, depth = 2 if beside else 1, 4 if beside else 5
    while depth > 2 and programs * _memory(rows, n, k, depth, itemsize, rows * n) > device.shared_memory:
        depth -= 1
    return {"ROWS": rows, "BLOCK_N": n, "BLOCK_K": k, "PROGRAMS": programs,
            "num_warps": 8 if rows * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def box_weight_default(device, *, images, rows, columns, lines, width, taps=1, folds=(1, 1, 1), itemsize=2):
    """Tiles of up to 128 by 128, taps that share what they read, and as many parts as are done first."""
    m = min(max(next_power_of_2(rows), LEAST), 128)
    n = min(max(next_power_of_2(columns), 16), 128 if taps == 1 and folds[1] < 2 else 64)
    shared, best = min(taps, 3), None
    tiles = cdiv(rows, m) * cdiv(columns, n) * cdiv(taps, shared)
    for k in (2 * SMALLEST, SMALLEST):
        box = box_of(k, images, lines, width, folds, n)
        steps = cdiv(lines, box[0]) * cdiv(width, box[1]) * cdiv(images, box[2])
        for parts in PARTS:
            if _parts_fill(parts, m, n, k, shared, rows, columns, images, lines, width, folds, taps, device):
                time = cdiv(steps, parts) * step_time(m, shared * n, k, itemsize) + ALONE
                cost = cdiv(tiles * parts, device.sms) * time + summing_time(parts, rows * columns * taps)
                cost *= 1 if k > SMALLEST else _OFTEN
                if best is None or cost < best[0]:
                    best = cost, k, parts
    _, k, parts = best
    depth = 4
    while depth > 2 and _memory(m, shared * n, k, depth, itemsize) > device.shared_memory:
        depth -= 1
    return {"SHARED": shared, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "PARTS": parts,
            "num_warps": 8 if shared * m * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def _sums_of_a_thread(ROWS, BLOCK_N, PROGRAMS, num_warps):
    """Those of a box, of every program."""
    return sums_fit(ROWS * BLOCK_N, num_warps, PROGRAMS)


def _has_a_box(rows, images, lines, width, folds, block):
    """Whether there are so many rows, or a box has only images; sizes of one bucket have the same powers of two."""
    places = next_power_of_2(width) if _blocks_stay(block, folds) else 1
    return rows <= max(LEAST, next_power_of_2(images) * places * next_power_of_2(lines if folds[0] else 1))


def _box_needed(ROWS, BLOCK_N, BLOCK_K, images, lines, width, folds, phases):
    """No more rows than there are of the result, which has the stepped channels for an input gradient."""
    return _has_a_box(ROWS, images, lines, width, folds, BLOCK_N if phases else BLOCK_K)


def _depth_has_a_box(BLOCK_N, BLOCK_K, images, lines, width, folds):
    """No more rows than there are to sum over."""
    return _has_a_box(BLOCK_K, images, lines, width, folds, BLOCK_N)


def _blocks_stay(block, folds):
    """Whether boxes may have neighbouring places: where a pixel is seen as channels of its neighbour, blocks divide it.

    `folds` says how far apart neighbouring lines and places are, 0 where a box has none, and what divides channels.
    """
    return folds[1] == 1 or (folds[1] > 1 and folds[2] >= block)


def _columns_needed(BLOCK_N, columns):
    """No more columns than there are, or those of a warp group."""
    return BLOCK_N <= max(LEAST, next_power_of_2(columns))


def _depth_needed(BLOCK_K, inner, itemsize):
    """Channels enough and no more than there are."""
    return depth_is_worth(BLOCK_K, inner, itemsize)


def _stages_fit(ROWS, BLOCK_N, BLOCK_K, PROGRAMS, num_stages, itemsize, device):
    """All stages of every program of a multiprocessor."""
    return stages_are_enough(
        lambda depth: PROGRAMS * _memory(ROWS, BLOCK_N, BLOCK_K, depth, itemsize, ROWS * BLOCK_N),
        num_stages, device.shared_memory,
    )  # fmt: skip


def _weight_sums(SHARED, BLOCK_M, BLOCK_N, num_warps):
    """Those of all taps."""
    return sums_fit(SHARED * BLOCK_M * BLOCK_N, num_warps)


def _tile_is_worth(SHARED, BLOCK_M, BLOCK_N, rows, columns, folds):
    """Tiles as large as pays."""
    return is_worth(SHARED * BLOCK_M * BLOCK_N, rows, columns, folds)


def _weight_columns_needed(BLOCK_N, columns):
    """No more columns than there are."""
    return BLOCK_N <= max(16, next_power_of_2(columns))


def _rows_needed(BLOCK_M, rows):
    """No more rows than there are."""
    return BLOCK_M <= max(LEAST, next_power_of_2(rows))


def _taps_needed(SHARED, taps):
    """Taps that share evenly."""
    return taps_share(SHARED, taps)


def _parts_fill(PARTS, BLOCK_M, BLOCK_N, BLOCK_K, SHARED, rows, columns, images, lines, width, folds, taps, device):
    """As many parts as fill the GPU, of which each goes round its loop a few times."""
    boxed, work = next_power_of_2(images), 1
    for count, many in ((next_power_of_2(lines), folds[0] > 0), (next_power_of_2(width), _blocks_stay(BLOCK_N, folds))):
        boxed, work = (boxed * count, work) if many else (boxed, work * count)
    work *= max(boxed // BLOCK_K, 1)
    return parts_fill(PARTS, tiles_of(rows, columns, taps, BLOCK_M, BLOCK_N, SHARED), work, device)


def _weight_stages_fit(SHARED, BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize, device):
    """All stages; two of the deepest are four of half as much, in steps that wait for each other."""
    return (num_stages > 2 or BLOCK_K <= 2 * SMALLEST) and stages_are_enough(
        lambda depth: _memory(BLOCK_M, SHARED * BLOCK_N, BLOCK_K, depth, itemsize), num_stages, device.shared_memory
    )


BOX_SPACE = Space(
    ROWS=powers(32, 256, default=64), BLOCK_N=powers(64, 256, default=64), BLOCK_K=powers(16, 128, default=64),
    PROGRAMS=choices(1, 2, 3, default=1), num_warps=choices(4, 8), num_stages=stages(2, 6, default=4),
    where=(_sums_of_a_thread, _box_needed, _columns_needed, _depth_needed, _stages_fit),
)  # fmt: skip
BOX_WEIGHT_SPACE = Space(
    SHARED=choices(1, 2, 3, default=3), BLOCK_M=powers(64, 128, default=128), BLOCK_N=powers(16, 256, default=64),
    BLOCK_K=powers(SMALLEST, 128, default=64), PARTS=choices(*PARTS, default=1), num_warps=choices(4, 8),
    num_stages=stages(2, 4, default=4),
    where=(
        _weight_sums, _tile_is_worth, _depth_has_a_box, _weight_columns_needed, _rows_needed, _taps_needed,
        _parts_fill, _weight_stages_fit,
    ),
)  # fmt: skip
