"""Which tiles the convolutions take whose tiles are images at one place.

Each tile that is multiplied has to come from the second-level cache first: that, or the tensor cores, bounds a program.
Several places, or taps, of a program share an operand, as larger tiles would.
"""

from __future__ import annotations

import itertools
import math

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.autotune.key import bucket
from tritorch.ops.convolution.tiles import MOST_PARTS

LEAST = 64  # rows that a warp group multiplies
_FULL = 0.7  # of the rows of a tile, at least
SPARE = 2048  # bytes of shared memory for barriers
SUMS = 128  # that a thread keeps at most
# Of a multiprocessor in a nanosecond: bytes that it gets from the second-level cache, products that it adds up.
_BYTES, _PRODUCTS = 56, 2800
# Nanoseconds of a tile beside its loop: alone on its multiprocessor, or while another one multiplies.
ALONE, BESIDE = 1500, 500
_SUMMED = 1500  # bytes of parts that the GPU writes and adds up in a nanosecond
_SUMMING = 3000  # nanoseconds that adding up takes at least
_WORTH = 64 * 64  # sums of a tile whose operands are read about as fast as multiplied, where several taps share one
_WAVES = 3  # of tiles and parts, at most
_EVEN = 5  # parts that may make it more, so that the last wave is not mostly idle
PARTS = (1, 2, 3, 4, 5, 6, 8, 11, 12, 16, 22, 24, 32, 44, 48, 64, 88, 128, MOST_PARTS)


def is_full(rows):
    """Whether most rows of tiles are among `rows`."""
    return rows >= _FULL * LEAST * cdiv(rows, LEAST)


def step_time(rows, columns, depth, itemsize):
    """The nanoseconds in which both operands of a step arrive and are multiplied."""
    return max(_stage(rows, columns, depth, itemsize) / _BYTES, rows * columns * depth / _PRODUCTS)


def summing_time(parts, count):
    """The nanoseconds in which parts of `count` sums are written and added up."""
    return _SUMMING + parts * count * 4 / _SUMMED if parts > 1 else 0


def sums_fit(count, num_warps, programs=1):
    """Up to 128 sums a thread and half of the registers of a multiprocessor; at least 8, or 64 of eight warps."""
    least = (8 if num_warps <= 4 else 64) * 32 * num_warps
    return least <= count <= SUMS * 32 * num_warps and programs * count <= SUMS * 256


def is_worth(tile, rows, columns, folds=(1, 1, 1)):
    """Whether a tile of so many sums is no smaller than it must be, since parts, not small tiles, fill the GPU."""
    whole = min(max(LEAST, next_power_of_2(rows)), 128) * max(16, next_power_of_2(columns))
    return tile >= min(_WORTH if folds[1] > 1 else 2 * _WORTH, whole)


def stages_are_enough(memory, num_stages, available):
    """All stages, no fewer than three where there is room, no more than five of half of it; `memory` gives bytes."""
    some = num_stages >= 3 or memory(3) > available
    return memory(num_stages) <= available and some and (num_stages <= 5 or 2 * memory(5) <= available)


def depth_is_worth(depth, inner, itemsize):
    """At most the channels there are, and of those 64 bytes or more."""
    whole = max(16, next_power_of_2(inner))
    return min(64, whole * itemsize) <= depth * itemsize and depth <= whole


def taps_share(shared, taps):
    """No more taps than there are, and not two of them where three leave none over."""
    return shared <= next_power_of_2(taps) and (shared != 2 or bucket(taps)[0] % 3 > 0)


def parts_fill(parts, tiles, work, device):
    """Most of a wave of tiles to three waves, or a few parts; fewer where parts lack `work`, turns of a loop."""
    few = 3 * tiles * parts < 2 * device.sms and parts < MOST_PARTS and 32 * max(parts, 4) <= work
    many = tiles * (1 if parts <= _EVEN else parts) > _WAVES * device.sms
    return not few and (parts == 1 or (not many and 4 * parts <= work))


def tiles_of(rows, columns, taps, BLOCK_M, BLOCK_N, SHARED):
    """The tiles of the largest sizes of a bucket."""
    blocks = ((rows, BLOCK_M), (columns, BLOCK_N), (taps, SHARED))
    return math.prod(cdiv(bucket(size)[0], block) for size, block in blocks)


def _stage(one, other, BLOCK_K, itemsize):
    """The bytes of a stage: of rows of the one operand and of the other."""
    return (one + other) * BLOCK_K * itemsize


def _forward_memory(PLACES, BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize):
    """The bytes of all stages, and of a tile on its way out."""
    return _stage(PLACES * BLOCK_M, BLOCK_N, BLOCK_K, itemsize) * num_stages + BLOCK_M * BLOCK_N * itemsize + SPARE


def _weight_memory(SHARED, BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize):
    """The bytes of all stages."""
    return _stage(BLOCK_M, SHARED * BLOCK_N, BLOCK_K, itemsize) * num_stages + SPARE


def lane_default(device, *, images, columns, inner, lines, width, taps, itemsize=2):
    """The tile by which the last program is done first, of those that fit; stages as shared memory allows."""
    m, k = 128 if images > LEAST else LEAST, min(max(next_power_of_2(inner), 16), 128 // itemsize)
    widest = min(max(next_power_of_2(columns), 16), 256)
    steps, best = taps * cdiv(inner, k), None
    for n, places in itertools.product({min(64, widest), min(128, widest), widest}, (1, 2, 4)):
        sizes = places, m, n, k
        if places > next_power_of_2(width) or places * m * n > SUMS * 256:
            continue
        if _forward_memory(*sizes, 3, itemsize) > device.shared_memory:
            continue
        tiles = lines * cdiv(width, places) * cdiv(columns, n) * cdiv(images, m)
        beside = places * m * n <= SUMS * 128 and tiles > device.sms
        beside = beside and 2 * _forward_memory(*sizes, 3, itemsize) <= device.shared_memory
        step = step_time(places * m, n, k, itemsize)
        cost = cdiv(tiles, device.sms) * (steps * step + (BESIDE if beside else ALONE))
        if best is None or (cost, n, places) < best[:3]:
            best = cost, n, places, beside
    _, n, places, beside = best
    programs, depth = 2 if beside else 1, 4 if beside else 5
    while depth > 2 and programs * _forward_memory(places, m, n, k, depth, itemsize) > device.shared_memory:
        depth -= 1
    return {"PLACES": places, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "PROGRAMS": programs,
            "num_warps": 8 if places * m * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def lane_weight_default(device, *, images, rows, columns, places=1, taps=1, itemsize=2):
    """Tiles of up to 128 by 128, taps that share what they read, and as many parts as are done first."""
    m = min(max(next_power_of_2(rows), LEAST), 128)
    n = min(max(next_power_of_2(columns), 16), 128 if taps == 1 else 64)
    shared = min(taps, 3)
    k = 64 if images > 32 and itemsize == 2 else 32
    depth = 4
    while depth > 2 and _weight_memory(shared, m, n, k, depth, itemsize) > device.shared_memory:
        depth -= 1
    tiles, steps = cdiv(rows, m) * cdiv(columns, n) * cdiv(taps, shared), places * cdiv(images, k)
    step = step_time(m, shared * n, k, itemsize)

    def cost(parts):
        time = cdiv(tiles * parts, device.sms) * (cdiv(steps, parts) * step + ALONE)
        return time + summing_time(parts, rows * columns * taps)

    allowed = [
        each for each in PARTS if _parts_fill(each, m, n, k, shared, rows, columns, images, places, taps, device)
    ]
    return {"SHARED": shared, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "PARTS": min(allowed, key=cost),
            "num_warps": 8 if shared * m * n > SUMS * 128 else 4, "num_stages": depth}  # fmt: skip


def _sums_of_a_thread(PLACES, BLOCK_M, BLOCK_N, PROGRAMS, num_warps):
    """Those of all places, of every program."""
    return sums_fit(PLACES * BLOCK_M * BLOCK_N, num_warps, PROGRAMS)


def _tiles_are_worth(PLACES, BLOCK_M, BLOCK_N, images, columns, lines, width, device):
    """No less than 64 by 64 where those fill the GPU, nor than twice that where they do it twice, of many images."""
    sizes = ((images, LEAST), (columns, LEAST), (lines, 1), (width, 1))
    tiles = math.prod(cdiv(bucket(size)[0], side) for size, side in sizes)
    rows = min(max(LEAST, next_power_of_2(images)), 2 * LEAST)
    least = LEAST * min(tiles // device.sms * LEAST, rows)
    return PLACES * BLOCK_M * BLOCK_N >= min(least, rows * max(16, next_power_of_2(columns)))


def _weight_sums(SHARED, BLOCK_M, BLOCK_N, num_warps):
    """Those of all taps."""
    return sums_fit(SHARED * BLOCK_M * BLOCK_N, num_warps)


def _tile_is_worth(SHARED, BLOCK_M, BLOCK_N, rows, columns):
    """Tiles as large as pays."""
    return is_worth(SHARED * BLOCK_M * BLOCK_N, rows, columns)


def _columns_needed(BLOCK_N, columns):
    """No more columns than there are."""
    return BLOCK_N <= max(16, next_power_of_2(columns))


def _images_needed(BLOCK_M, images):
    """A second warp group is for more than 64 images."""
    return BLOCK_M <= max(LEAST, next_power_of_2(images))


def _places_needed(PLACES, width):
    """No more neighbours than there are."""
    return PLACES <= next_power_of_2(width)


def _depth_needed(BLOCK_K, inner, itemsize):
    """Channels enough and no more than there are."""
    return depth_is_worth(BLOCK_K, inner, itemsize)


def _stages_fit(PLACES, BLOCK_M, BLOCK_N, BLOCK_K, PROGRAMS, num_stages, itemsize, device):
    """All stages of every program of a multiprocessor."""
    return stages_are_enough(
        lambda depth: PROGRAMS * _forward_memory(PLACES, BLOCK_M, BLOCK_N, BLOCK_K, depth, itemsize),
        num_stages, device.shared_memory,
    )  # fmt: skip


def _rows_needed(BLOCK_M, rows):
    """No more rows than there are."""
    return BLOCK_M <= max(LEAST, next_power_of_2(rows))


def _taps_needed(SHARED, taps):
    """Taps that share evenly."""
    return taps_share(SHARED, taps)


def _lanes_needed(BLOCK_K, images):
    """No more images than there are."""
    return BLOCK_K <= max(32, next_power_of_2(images))


def _parts_fill(PARTS, BLOCK_M, BLOCK_N, BLOCK_K, SHARED, rows, columns, images, places, taps, device):
    """As many parts as fill the GPU, of which each goes round its loop a few times."""
    work = next_power_of_2(places) * max(next_power_of_2(images) // BLOCK_K, 1)
    return parts_fill(PARTS, tiles_of(rows, columns, taps, BLOCK_M, BLOCK_N, SHARED), work, device)


def _weight_stages_fit(SHARED, BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize, device):
    """All stages."""
    return stages_are_enough(
        lambda depth: _weight_memory(SHARED, BLOCK_M, BLOCK_N, BLOCK_K, depth, itemsize),
        num_stages, device.shared_memory,
    )  # fmt: skip


LANE_SPACE = Space(
    PLACES=powers(1, 4, default=2), BLOCK_M=powers(64, 128, default=64), BLOCK_N=powers(16, 256, default=128),
    BLOCK_K=powers(16, 128, default=64), PROGRAMS=choices(1, 2, 3, default=1), num_warps=choices(4, 8),
    num_stages=stages(2, 6, default=4),
    where=(_sums_of_a_thread, _columns_needed, _images_needed, _places_needed, _depth_needed, _stages_fit,
           _tiles_are_worth),
)  # fmt: skip
LANE_WEIGHT_SPACE = Space(
    SHARED=choices(1, 2, 3, default=3), BLOCK_M=powers(64, 128, default=128), BLOCK_N=powers(16, 256, default=64),
    BLOCK_K=powers(32, 128, default=64), PARTS=choices(*PARTS, default=1), num_warps=choices(4, 8),
    num_stages=stages(2, 4, default=4),
    where=(
        _weight_sums, _tile_is_worth, _columns_needed, _rows_needed, _taps_needed, _lanes_needed, _parts_fill,
        _weight_stages_fit,
    ),
)  # fmt: skip
