"""Random permutations without sorting: each index is enciphered, and a cipher is a permutation.

A Feistel network of twelve rounds, whose keys are Philox words, permutes all numbers of so many bits; those that land
outside of the range are enciphered again until they land inside, which keeps it a permutation (cycle walking).
Source: Mitchell, Stokes, Frank, Holmes, "Bandwidth-optimal random shuffling for GPUs", 2021.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.creation import Creation
from tritorch.ops.pointwise.family import block_space
from tritorch.ops.random.philox import philox, words
from tritorch.runtime import tl, transfer

ROUNDS = 12
BLOCKS = cdiv(ROUNDS, 4)  # of Philox words, whatever the count


def permutation_default(device, *, count):
    """Few large blocks interpreted; on a GPU small ones, since a program walks until its slowest index is inside."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    return {"BLOCK": 256, "num_warps": 4}


@kernel
def _mixed(x, key):
    x = x ^ key
    x = (x ^ (x >> 16)) * 0x85EBCA6B
    x = (x ^ (x >> 13)) * 0xC2B2AE35
    return x ^ (x >> 16)


@kernel
def _enciphered(x, seed, offset, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    left, right = x >> RIGHT, x & ((1 << RIGHT) - 1)
    for group in tl.static_range(3):
        a, b, c, d = philox(seed, offset + group)
        left = left ^ (_mixed(right, a) & ((1 << LEFT) - 1))
        right = right ^ (_mixed(left, b) & ((1 << RIGHT) - 1))
        left = left ^ (_mixed(right, c) & ((1 << LEFT) - 1))
        right = right ^ (_mixed(left, d) & ((1 << RIGHT) - 1))
    return left << RIGHT | right


@kernel(
    space=block_space(least=1, most=8),
    default=permutation_default,
    key=("LEFT", "RIGHT"),
    do_not_specialize=("seed", "offset"),
)
def _permutation(
    out,  # the permuted numbers: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    LEFT: tl.constexpr,
    RIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    # Lanes past the end walk from 0: from outside of the range a walk may never come in.
    value = _enciphered(tl.where(index < count, index, 0).to(tl.uint32), seed, offset, LEFT, RIGHT)
    outside = value.to(tl.int64) >= count
    while tl.max(outside.to(tl.int32), 0) > 0:
        value = tl.where(outside, _enciphered(value, seed, offset, LEFT, RIGHT), value)
        outside = value.to(tl.int64) >= count
    tl.store(out + index, value.to(out.dtype.element_ty), mask=index < count)


def halves(count):
    """The bits of the left and right half: together they count past `count`, and never below 16."""
    bits = max(4, count.bit_length())
    return bits // 2, bits - bits // 2


class RandomPermutation(Creation):
    """The numbers below `count` in a random order, `count` at most 2^32 - 1. Equal on every device."""

    @staticmethod
    def reference(count, dtype, seed, offset):
        left, right = halves(count)
        keys = words(seed, offset, ROUNDS)
        found = _encipher(np.arange(count, dtype=np.uint32), keys, left, right)
        outside = np.flatnonzero(found >= count)
        while outside.size:
            found[outside] = _encipher(found[outside], keys, left, right)
            outside = outside[found[outside] >= count]
        return found.astype(dtype)

    def forward(self, count, dtype, seed, offset, device):
        """One launch."""
        out = transfer.empty((count,), dtype, device)
        if count:
            left, right = halves(count)
            config = _permutation.config((out,), count=count, LEFT=left, RIGHT=right)
            grid = (cdiv(count, config["BLOCK"]),)
            _permutation[grid](out, count, seed, offset, LEFT=left, RIGHT=right, **config)
        return out

    @staticmethod
    def samples(draw):
        for count in (0, 1, 2, 16, 17, 1025, 4096):
            yield count, np.dtype(np.int64), 3, 17
        yield 100, np.dtype(np.float32), 2**63 + 1, 2**40

    @staticmethod
    def sized(draw, N=1 << 20):
        return N, np.dtype(np.int64), 3, 17


def _encipher(x, keys, left_bits, right_bits):
    left, right = x >> right_bits, x & np.uint32((1 << right_bits) - 1)
    for number, key in enumerate(keys):
        if number % 2:
            right = right ^ _mix(left, key, right_bits)
        else:
            left = left ^ _mix(right, key, left_bits)
    return left << right_bits | right


def _mix(x, key, bits):
    x = x ^ key
    x ^= x >> 16
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> 13
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> 16
    x &= np.uint32((1 << bits) - 1)
    return x
