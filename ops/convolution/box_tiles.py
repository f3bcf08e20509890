"""Which boxes of places and images the convolutions of few images take (see `box_kernels.py`)."""

from __future__ import annotations

import functools
import itertools
import math

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.ops.convolution.lane_tiles import ALONE, BESIDE, LEAST, PARTS, SPARE, SUMS, step_time, summing_time

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
            best = cost, found[1], rows, n, beside
    _, (high, wide, deep), rows, n, beside = best
    programs, depth = 2 if beside else 1, 4 if beside else 5
    while depth > 2 and programs * _memory(rows, n, k, depth, itemsize, rows * n) > device.shared_memory:
        depth -= 1
    return {"LINES": high, "PLACES": wide, "IMAGES": deep, "BLOCK_N": n, "BLOCK_K": k, "PROGRAMS": programs,
            "num_warps": 8 if rows * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def box_weight_default(device, *, images, rows, columns, lines, width, taps=1, folds=(1, 1, 1), itemsize=2):
    """Tiles of up to 128 by 128, taps that share what they read, and as many parts as are done first."""
    m = min(max(next_power_of_2(rows), LEAST), 128)
    n = min(max(next_power_of_2(columns), 16), 128 if taps == 1 and folds[1] < 2 else 64)
    shared, best = min(taps, 3), None
    tiles = cdiv(rows, m) * cdiv(columns, n) * cdiv(taps, shared)
    for k in (2 * SMALLEST, SMALLEST):
        _, box = _best_box(k, images, lines, width, folds[0] > 0, _blocks_stay(n, folds))
        steps = cdiv(lines, box[0]) * cdiv(width, box[1]) * cdiv(images, box[2])
        for parts in PARTS:
            if _parts_have_work(parts, *box, images, lines, width):
                time = cdiv(steps, parts) * step_time(m, shared * n, k, itemsize) + ALONE
                cost = cdiv(tiles * parts, device.sms) * time + summing_time(parts, rows * columns * taps)
                cost *= 1 if k > SMALLEST else _OFTEN
                if best is None or cost < best[0]:
                    best = cost, box, k, parts
    _, (high, wide, deep), k, parts = best
    depth = 4
    while depth > 2 and _memory(m, shared * n, k, depth, itemsize) > device.shared_memory:
        depth -= 1
    return {"SHARED": shared, "LINES": high, "PLACES": wide, "IMAGES": deep, "BLOCK_M": m, "BLOCK_N": n,
            "PARTS": parts, "num_warps": 8 if shared * m * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def _rows_of_a_box(LINES, PLACES, IMAGES):
    """What the right of a product takes at once."""
    return 32 <= LINES * PLACES * IMAGES <= 256


def _sums_of_a_thread(LINES, PLACES, IMAGES, BLOCK_N, num_warps):
    """Up to 128 sums a thread, and at least 8."""
    return 256 * num_warps <= LINES * PLACES * IMAGES * BLOCK_N <= SUMS * 32 * num_warps


def _box_needed(LINES, PLACES, IMAGES, images, lines, width, folds):
    """No more than there are, or only images; and neighbours only where a descriptor can step from one to the next."""
    few = IMAGES <= next_power_of_2(images) or (LINES == PLACES == 1 and IMAGES <= LEAST)
    return few and LINES <= next_power_of_2(lines if folds[0] else 1) and PLACES <= next_power_of_2(width)


def _blocks_stay(block, folds):
    """Whether boxes may have neighbouring places: where a pixel is seen as channels of its neighbour, blocks divide it.

    `folds` says how far apart neighbouring lines and places are, 0 where a box has none, and what divides channels.
    """
    return folds[1] == 1 or (folds[1] > 1 and folds[2] >= block)


def _channels_stay(PLACES, BLOCK_N, BLOCK_K, folds, phases):
    """Neighbouring places of images, or of the result of an input gradient."""
    return PLACES == 1 or _blocks_stay(BLOCK_N if phases else BLOCK_K, folds)


def _columns_stay(PLACES, BLOCK_N, folds):
    """Neighbouring places of images that a gradient is multiplied with."""
    return PLACES == 1 or _blocks_stay(BLOCK_N, folds)


def _columns_needed(BLOCK_N, columns):
    """No more columns than there are, or those of a warp group."""
    return BLOCK_N <= max(LEAST, next_power_of_2(columns))


def _depth_needed(BLOCK_K, inner):
    """No more channels than there are."""
    return BLOCK_K <= max(16, next_power_of_2(inner))


def _stages_fit(LINES, PLACES, IMAGES, BLOCK_N, BLOCK_K, PROGRAMS, num_stages, itemsize, device):
    """All stages of every program of a multiprocessor."""
    rows = LINES * PLACES * IMAGES
    return PROGRAMS * _memory(rows, BLOCK_N, BLOCK_K, num_stages, itemsize, rows * BLOCK_N) <= device.shared_memory


def _summed_of_a_box(LINES, PLACES, IMAGES):
    """What is summed over at once."""
    return SMALLEST <= LINES * PLACES * IMAGES <= 128


def _weight_sums(SHARED, BLOCK_M, BLOCK_N, num_warps):
    """Up to 128 sums a thread, and at least 8."""
    return 256 * num_warps <= SHARED * BLOCK_M * BLOCK_N <= SUMS * 32 * num_warps


def _weight_columns_needed(BLOCK_N, columns):
    """No more columns than there are."""
    return BLOCK_N <= max(16, next_power_of_2(columns))


def _rows_needed(BLOCK_M, rows):
    """No more rows than there are."""
    return BLOCK_M <= max(LEAST, next_power_of_2(rows))


def _taps_needed(SHARED, taps):
    """No more taps than there are."""
    return SHARED <= next_power_of_2(taps)


def _parts_have_work(PARTS, LINES, PLACES, IMAGES, images, lines, width):
    """Each part goes round its loop a few times."""
    steps = 1
    for count, size in ((images, IMAGES), (lines, LINES), (width, PLACES)):
        steps *= max(next_power_of_2(count) // size, 1)
    return PARTS == 1 or 4 * PARTS <= steps


def _weight_stages_fit(SHARED, LINES, PLACES, IMAGES, BLOCK_M, BLOCK_N, num_stages, itemsize, device):
    """All stages."""
    depth = LINES * PLACES * IMAGES
    return _memory(BLOCK_M, SHARED * BLOCK_N, depth, num_stages, itemsize) <= device.shared_memory


_BOX = {"LINES": powers(1, 256, default=1), "PLACES": powers(1, 256, default=8), "IMAGES": powers(1, 256, default=8)}
BOX_SPACE = Space(
    **_BOX, BLOCK_N=powers(64, 256, default=64), BLOCK_K=powers(16, 128, default=64),
    PROGRAMS=choices(1, 2, 3, default=1), num_warps=choices(4, 8), num_stages=stages(2, 6, default=4),
    where=(
        _rows_of_a_box, _sums_of_a_thread, _box_needed, _channels_stay, _columns_needed, _depth_needed, _stages_fit,
    ),
)  # fmt: skip
BOX_WEIGHT_SPACE = Space(
    **_BOX, SHARED=choices(1, 2, 3, default=3), BLOCK_M=powers(64, 128, default=128),
    BLOCK_N=powers(16, 256, default=64), PARTS=choices(*PARTS, default=1), num_warps=choices(4, 8),
    num_stages=stages(2, 5, default=4),
    where=(
        _summed_of_a_box, _weight_sums, _box_needed, _columns_stay, _weight_columns_needed, _rows_needed, _taps_needed,
        _parts_have_work, _weight_stages_fit,
    ),
)  # fmt: skip
