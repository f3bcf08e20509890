"""Which image, channel and place an element is, from its number, without dividing.

A division by a number that is the same for all elements is a product with its reciprocal, kept in 32 bits, and a shift
(Granlund and Montgomery, "Division by invariant integers using multiplication", 1994): 3 instructions instead of 25.
"""

from __future__ import annotations

import functools

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.runtime import tl


@functools.lru_cache(maxsize=4096)
def reciprocals(channels, size):
    """What `place_of` divides by: for width, height, depth and channels the reciprocal and the shift."""
    found = []
    for divisor in (*reversed(size), channels):
        shift = (divisor - 1).bit_length()
        found += [-(-(1 << (31 + shift)) // divisor), shift]
    return tuple(found)


def windows_default(device, *, count):
    """Four elements for each thread, which knows the place of each; few large blocks interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    block = 1024
    while block > 256 and cdiv(count, block) < 8 * device.sms:
        block //= 2
    return {"BLOCK": block, "num_warps": block // 128}


@kernel
def _divided(number, reciprocal, shift):
    """number // divisor, for numbers from 0 to 2^31 - 1."""
    double = number.to(tl.uint32) << 1
    return (tl.umulhi(double, reciprocal.to(tl.uint32) + double * 0) >> shift).to(tl.int32)


@kernel
def place_of(index, channels, size, by, INNERMOST: tl.constexpr, WIDE: tl.constexpr):
    """The image, the channel and the place along each dimension of element `index` of (images, channels, *size).

    Elements are numbered as they lie in memory: contiguous, or with the channels INNERMOST. `by` are the reciprocals.
    """
    if INNERMOST or WIDE:  # the compiler knows what neighbours have in common after a division, not after a product
        if INNERMOST:
            channel = index % channels
            index = index // channels
        image = index // (size[0] * size[1] * size[2])
        if not INNERMOST:
            image, channel = image // channels, image % channels
        across = index % size[2]
        down = index // size[2] % size[1]
        back = index // (size[1] * size[2]) % size[0]
    else:
        rest = _divided(index, by[0], by[1])
        across = index - rest * size[2]
        plane = _divided(rest, by[2], by[3])
        down = rest - plane * size[1]
        channel = _divided(plane, by[4], by[5])
        back = plane - channel * size[0]
        image = _divided(channel, by[6], by[7])
        channel -= image * channels
    return image, channel, back, down, across
