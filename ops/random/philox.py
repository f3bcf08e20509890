"""Philox 4x32-10, the counter-based random bits of every random op, as a kernel and in NumPy with equal bits.

Ten rounds of multiplications turn (seed, block number) into four 32-bit words. A draw starts at block `offset` and
takes its words in order, so what an element gets depends on the seed, the offset and its index, and on nothing else.
Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

from __future__ import annotations

import functools

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.runtime import tl

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_CHUNK = 16384  # blocks worked on at once on the host: few calls, and what they touch stays in the caches
_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@kernel
def philox(seed, block):
    """The four words of each block: `seed` is a uint64, `block` a tensor of uint64; gives four tensors of uint32."""
    a, b = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    c, d = a ^ a, a ^ a
    left, right = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        first, second = a.to(tl.uint64) * 0xD2511F53, c.to(tl.uint64) * 0xCD9E8D57
        a, c = (second >> 32).to(tl.uint32) ^ b ^ left, (first >> 32).to(tl.uint32) ^ d ^ right
        b, d = second.to(tl.uint32), first.to(tl.uint32)
        left, right = left + 0x9E3779B9, right + 0xBB67AE85
    return a, b, c, d


@kernel
def philox_words(seed, block):
    """The words of a 1-D tensor of blocks in order: four times as many uint32."""
    a, b, c, d = philox(seed, block)
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


def words(seed, offset, count):
    """`count` words from block `offset` on, as NumPy uint32, not to be written: the plain truth for `philox_words`.

    A small draw makes a window of words, at the price of its first few, and those after it find theirs there.
    """
    global _window
    if count > _WINDOW // 4:
        return _drawn(seed, offset, count)
    owner, start, found = _window
    first = 4 * (offset - start)
    if owner != seed or first < 0 or first + count > _WINDOW:
        found, first = _drawn(seed, offset, _WINDOW), 0
        _window = seed, offset, found
    return found[first : first + count]


_WINDOW = 4096
_window: tuple = (None, 0, None)


def _drawn(seed, offset, count):
    found = np.empty((cdiv(count, 4), 4), np.uint32)
    for start in range(0, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        _fill(part, seed, np.arange(start, start + len(part), dtype=np.uint64) + np.uint64(offset))  # wraps at 2^64
    found.flags.writeable = False
    return found.reshape(-1)[:count]


@functools.lru_cache(8)
def _keys(seed):
    """The key of each round, for words 2 and 0."""
    first, second = seed & 0xFFFFFFFF, seed >> 32
    return [
        np.array([[second + r * KEY_STEPS[1] & 0xFFFFFFFF], [first + r * KEY_STEPS[0] & 0xFFFFFFFF]], np.uint64)
        for r in range(ROUNDS)
    ]


_FACTORS = np.array(MULTIPLIERS, np.uint64)[:, None]


def _fill(found, seed, block):
    """Write the words of each block into a row of `found`: both multiplied words of a round are worked on at once."""
    multiplied, other = np.zeros((2, len(block)), np.uint64), np.zeros((2, len(block)), np.uint64)
    np.bitwise_and(block, _MASK, out=multiplied[0])  # words 0 and 2
    np.right_shift(block, _HALF, out=other[1])  # words 3 and 1
    product = np.empty_like(multiplied)
    for key in _keys(seed):
        np.multiply(multiplied, _FACTORS, out=product)
        np.right_shift(product, _HALF, out=multiplied)
        multiplied ^= other
        multiplied ^= key
        np.bitwise_and(product, _MASK, out=other)
        multiplied = multiplied[::-1]
    found[:, 0], found[:, 2] = multiplied
    found[:, 3], found[:, 1] = other


@kernel
def philox_doubles(seed, block):
    """The words of a 1-D tensor of blocks in order, joined by two: twice as many uint64."""
    a, b, c, d = philox(seed, block)
    first = a.to(tl.uint64) << 32 | b.to(tl.uint64)
    return tl.interleave(first, c.to(tl.uint64) << 32 | d.to(tl.uint64))


def doubles(seed, offset, count):
    """`count` pairs of words as NumPy uint64, the first word above the second: the truth for `philox_doubles`."""
    pairs = words(seed, offset, 2 * count).reshape(-1, 2)
    return pairs[:, 0].astype(np.uint64) << 32 | pairs[:, 1]
