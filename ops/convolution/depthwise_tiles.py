"""Which blocks the convolutions of single channels take."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers
from tritorch.autotune.key import bucket
from tritorch.ops.convolution.tiles import MOST_PARTS


def depthwise_default(device, *, places, channels, count, packed):
    """Two thousand elements to a program: channels first where they lie without gaps, else places."""
    most = 16384 if device.kind == "interpreter" else 2048
    c = min(next_power_of_2(channels), 64) if packed else 1
    return {"BLOCK_P": min(next_power_of_2(places), most // c), "BLOCK_C": c, "num_warps": 4}


def depthwise_weight_default(device, *, inner, channels, taps, packed, itemsize=4):
    """About 32 sums a thread, 16 of float64, and parts that give every multiprocessor several programs."""
    whole = next_power_of_2(taps)
    most = max((65536 if device.kind == "interpreter" else 4096 if itemsize < 8 else 2048) // whole, 1)
    c = min(next_power_of_2(channels), 32, most) if packed else 1
    p = min(next_power_of_2(inner), most // c)
    wanted, parts = min(8 * device.sms // cdiv(channels, c), inner // (8 * p), MOST_PARTS), 1
    while 2 * parts <= wanted:
        parts *= 2
    return {"BLOCK_P": p, "BLOCK_C": c, "PARTS": parts, "num_warps": 4}


def _needed(BLOCK_P, BLOCK_C, places, channels, packed):
    """No more places and channels than there are; of channels that lie apart one."""
    return BLOCK_P <= next_power_of_2(places) and BLOCK_C <= (next_power_of_2(channels) if packed else 1)


def _block(BLOCK_P, BLOCK_C, num_warps, places, channels, packed):
    """At most 32 elements a thread, and one at least where there are so many."""
    least = min(num_warps * 32, next_power_of_2(places) * (next_power_of_2(channels) if packed else 1))
    return least <= BLOCK_P * BLOCK_C <= num_warps * 32 * 32 or num_warps == 4


def _weight_needed(BLOCK_P, BLOCK_C, inner, channels, packed):
    """No more places and channels than there are; of channels that lie apart one."""
    return BLOCK_P <= next_power_of_2(inner) and BLOCK_C <= (next_power_of_2(channels) if packed else 1)


def _weight_block(BLOCK_P, BLOCK_C, num_warps, taps):
    """At most 32 sums a thread."""
    return BLOCK_P * BLOCK_C == 1 or BLOCK_P * BLOCK_C * next_power_of_2(taps) <= num_warps * 32 * 32


def _weight_lines(BLOCK_C, channels, taps, packed, itemsize):
    """Channels that lie together are read by sectors of 32 bytes, or as many as leave room for the taps."""
    room = max(2048 // next_power_of_2(taps), 1)
    return not packed or BLOCK_C >= min(32 // itemsize, next_power_of_2(channels), room)


def _weight_sums(BLOCK_P, BLOCK_C, num_warps, inner, channels, packed, taps):
    """At least eight sums a thread, whose elements are under way at once; or all there are of 32 channels."""
    whole = next_power_of_2(inner) * (min(next_power_of_2(channels), 32) if packed else 1)
    return BLOCK_P * BLOCK_C >= whole or BLOCK_P * BLOCK_C * next_power_of_2(taps) >= 8 * 32 * num_warps


def _parts_fill(PARTS, BLOCK_P, BLOCK_C, inner, channels, device):
    """Parts that give a multiprocessor two to sixteen programs, or as many or as few as there can be."""
    tiles = cdiv(bucket(channels)[0], BLOCK_C)
    more = 2 * PARTS <= MOST_PARTS and 32 * PARTS * BLOCK_P <= next_power_of_2(inner)
    return (PARTS == 1 or tiles * PARTS <= 16 * device.sms) and (not more or tiles * PARTS >= 2 * device.sms)


def _parts_have_work(PARTS, BLOCK_P, inner):
    """Each part goes round its loop a few times."""
    return PARTS == 1 or 4 * PARTS * BLOCK_P <= next_power_of_2(inner)


DEPTHWISE_SPACE = Space(
    BLOCK_P=powers(1, 16384, default=32), BLOCK_C=powers(1, 128, default=64), num_warps=choices(1, 2, 4, 8, default=4),
    where=(_needed, _block),
)  # fmt: skip
DEPTHWISE_WEIGHT_SPACE = Space(
    BLOCK_P=powers(1, 65536, default=8), BLOCK_C=powers(1, 128, default=32), PARTS=powers(1, MOST_PARTS, default=32),
    num_warps=choices(2, 4, 8, default=4),
    where=(_weight_needed, _weight_block, _weight_lines, _weight_sums, _parts_have_work, _parts_fill),
)  # fmt: skip
