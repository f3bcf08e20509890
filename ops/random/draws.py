"""Ops that draw random numbers: what they give is a function of `seed` and `offset`, the same on every device.

`offset` counts Philox blocks of four words. `blocks(count, dtype)` says how many a draw uses, so that the next one
starts behind it. float64 and wide integers take two words an element, everything else one.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.base import Op
from tritorch.ops.batching import leading
from tritorch.ops.creation import Creation
from tritorch.ops.layout import as_contiguous, empty_like
from tritorch.ops.random.philox import doubles, philox_doubles, philox_words, words
from tritorch.runtime import dtypes, tl, transfer

DOUBLE = np.dtype(np.float64)


def draw_default(device, *, count):
    """Blocks of 4 words a program: enough programs to fill a GPU, few large ones interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 32)), 256), 32768), "num_warps": 4}
    return {"BLOCK": 256, "num_warps": 4}


def _shared_out(BLOCK, num_warps):
    """One to eight blocks of words for each thread: ten rounds of multiplications each."""
    return 32 * num_warps <= BLOCK <= 256 * num_warps


def _filled(BLOCK, count):
    """No larger than what there is."""
    return 4 * BLOCK <= max(next_power_of_2(count), 1024)


DRAW = Space(BLOCK=powers(32, 2048, default=256), num_warps=warps(1, 8), where=(_shared_out, _filled))


def blocks(count, dtype):
    """How many Philox blocks `count` floating-point numbers of a NumPy dtype take."""
    return cdiv(count, 2 if dtype == DOUBLE else 4)


def digits_of(dtype):
    """How many random binary digits a uniform number of a dtype has: as many as it can hold below one."""
    return {np.dtype(np.float16): 11, dtypes.bfloat16.numpy: 8, DOUBLE: 53}.get(dtype, 24)


def unit(seed, offset, count, dtype):
    """`count` numbers in [0, 1), in float64 for float64 and in float32 for all else."""
    digits = digits_of(dtype)
    if dtype == DOUBLE:
        return (doubles(seed, offset, count) >> (64 - digits)) * 2.0**-digits
    found = (words(seed, offset, count) >> (32 - digits)).astype(np.float32)
    found *= np.float32(2.0**-digits)
    return found


@kernel(space=DRAW, default=draw_default, do_not_specialize=("seed", "offset"))
def _uniform(
    out,  # the numbers: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    low: tl.float64,
    span: tl.float64,
    DIGITS: tl.constexpr,
    UNIT: tl.constexpr,  # 2 ** -DIGITS
    DOUBLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if DOUBLE:
        index = tl.program_id(0).to(tl.int64) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
        bits = philox_doubles(seed, block.to(tl.uint64) + offset)
        value = (bits >> (64 - DIGITS)).to(tl.float64) * UNIT * span + low
    else:
        index = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
        bits = philox_words(seed, block.to(tl.uint64) + offset)
        value = (bits >> (32 - DIGITS)).to(tl.float32) * UNIT * span.to(tl.float32) + low.to(tl.float32)
    tl.store(out + index, value.to(out.dtype.element_ty), mask=index < count)


class Uniform(Creation):
    """low + u (high - low) with u uniform in [0, 1), with as many digits as the dtype holds. Equal bits everywhere."""

    passed = ("seed", "offset")

    @staticmethod
    def reference(size, low, high, dtype, seed, offset):
        found = unit(seed, offset, math.prod(size), dtype)
        if high - low != 1:
            found *= found.dtype.type(high - low)
        if low:
            found += found.dtype.type(low)
        return found.astype(dtype, copy=False).reshape(size)

    def forward(self, size, low, high, dtype, seed, offset, device):
        """One launch; multiplications and additions are not fused, so that rounding is the host's."""
        out = transfer.empty(size, dtype, device)
        if out.size:
            config = _uniform.config((out,), count=out.size)
            digits = digits_of(dtype)
            _uniform[(cdiv(blocks(out.size, dtype), config["BLOCK"]),)](
                out, out.size, seed, offset, float(low), float(high - low), DIGITS=digits, UNIT=2.0**-digits,
                DOUBLE=dtype == DOUBLE, enable_fp_fusion=False, **config,
            )  # fmt: skip
        return out

    @staticmethod
    def samples(draw):
        for dtype in FLOATING:
            yield (5, 7), 0, 1, dtype, 3, 17
        yield (), -2.5, 4, FLOATING[0], 2**63 + 5, 2**40
        yield (0, 3), 0, 1, FLOATING[0], 0, 0
        yield (1025,), -0.1, 0.1, FLOATING[0], 1, 2**32 - 3

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (M, N), 0, 1, draw.dtype, 3, 17


FLOATING = tuple(np.dtype(kind) for kind in (np.float32, np.float64, np.float16, dtypes.bfloat16.numpy))


@kernel(space=DRAW, default=draw_default, do_not_specialize=("seed", "offset"))
def _normal(
    out,  # the numbers: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    mean: tl.float64,
    std: tl.float64,
    DOUBLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block = (tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint64) + offset
    if DOUBLE:
        index = tl.program_id(0).to(tl.int64) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
        first, second = tl.split(tl.reshape(philox_doubles(seed, block), [BLOCK, 2]))
        radius = tl.sqrt(-2 * tl.log(((first >> 11).to(tl.float64) + 1) * 1.1102230246251565e-16))
        angle = (second >> 11).to(tl.float64) * 6.975736996017264e-16  # 2 pi 2^-53
        value = tl.interleave(radius * tl.cos(angle), radius * tl.sin(angle)) * std + mean
    else:
        index = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
        first, second = tl.split(tl.reshape(philox_words(seed, block), [2 * BLOCK, 2]))
        radius = tl.sqrt(-2 * tl.log((first.to(tl.float32) + 1) * 2.3283064365386963e-10))
        angle = second.to(tl.float32) * 1.4629180792671596e-09  # 2 pi 2^-32
        value = tl.interleave(radius * tl.cos(angle), radius * tl.sin(angle))
        value = value * std.to(tl.float32) + mean.to(tl.float32)
    tl.store(out + index, value.to(out.dtype.element_ty), mask=index < count)


class Normal(Creation):
    """mean + std n with n standard normal, by Box and Muller: sqrt(-2 log u) cos(2 pi v) and sin(2 pi v) of one (u, v).

    The bits are equal everywhere, the numbers up to the rounding of log, sin and cos.
    """

    passed = ("seed", "offset")

    @staticmethod
    def reference(size, mean, std, dtype, seed, offset):
        count = math.prod(size)
        pairs = cdiv(count, 2)
        if dtype == DOUBLE:
            raw = doubles(seed, offset, 2 * pairs).reshape(-1, 2) >> 11
            radius, angle = (raw[:, 0] + 1.0) * 2.0**-53, raw[:, 1] * (2 * math.pi * 2.0**-53)
        else:
            raw = words(seed, offset, 2 * pairs).reshape(-1, 2)
            radius, angle = raw[:, 0].astype(np.float32), raw[:, 1].astype(np.float32)
            radius += np.float32(1)
            radius *= np.float32(2.0**-32)
            angle *= np.float32(2 * math.pi * 2.0**-32)
        np.log(radius, out=radius)
        radius *= -2
        np.sqrt(radius, out=radius)
        found = np.empty((pairs, 2), radius.dtype)
        np.multiply(radius, np.cos(angle), out=found[:, 0])
        np.multiply(radius, np.sin(angle), out=found[:, 1])
        if std != 1:
            found *= found.dtype.type(std)
        if mean:
            found += found.dtype.type(mean)
        return found.reshape(-1)[:count].astype(dtype, copy=False).reshape(size)

    def forward(self, size, mean, std, dtype, seed, offset, device):
        """One launch."""
        out = transfer.empty(size, dtype, device)
        if out.size:
            config = _normal.config((out,), count=out.size)
            _normal[(cdiv(blocks(out.size, dtype), config["BLOCK"]),)](
                out, out.size, seed, offset, float(mean), float(std), DOUBLE=dtype == DOUBLE, **config
            )
        return out

    @staticmethod
    def samples(draw):
        for dtype in FLOATING:
            yield (5, 7), 0, 1, dtype, 3, 17
        yield (), -2.5, 4, FLOATING[0], 2**63 + 5, 2**40
        yield (0, 3), 0, 1, FLOATING[0], 0, 0
        yield (1025,), 0.5, 0.1, FLOATING[1], 1, 2**32 - 3

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (M, N), 0, 1, draw.dtype, 3, 17


@kernel(space=DRAW, default=draw_default, key=("PAIRS",), do_not_specialize=("seed", "offset", "low", "span"))
def _integers(
    out,  # the numbers: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    low: tl.int64,
    span: tl.uint64,  # 0 stands for 2^64
    PAIRS: tl.constexpr,  # two words a number
    BLOCK: tl.constexpr,
):
    block = (tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint64) + offset
    if PAIRS:
        index = tl.program_id(0).to(tl.int64) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
        bits = philox_doubles(seed, block)
        value = tl.where(span == 0, bits, bits % tl.maximum(span, 1))
    else:
        index = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
        value = philox_words(seed, block).to(tl.uint64) * span >> 32
    tl.store(out + index, (value.to(tl.int64) + low).to(out.dtype.element_ty), mask=index < count)


class RandomIntegers(Creation):
    """low + an integer below `high - low`: the upper word of word times span, or two words modulo a span above 2^32."""

    passed = ("seed", "offset")

    @staticmethod
    def blocks(count, span):
        """How many Philox blocks `count` integers below `span` take."""
        return cdiv(count, 2 if span > 2**32 else 4)

    @staticmethod
    def reference(size, low, high, dtype, seed, offset):
        span, count = high - low, math.prod(size)
        if span > 2**32:
            found = doubles(seed, offset, count)
            found = found if span == 2**64 else found % np.uint64(span)
        else:
            found = words(seed, offset, count) * np.uint64(span) >> 32
        return (found.view(np.int64) + np.int64(low)).astype(dtype, copy=False).reshape(size)

    def forward(self, size, low, high, dtype, seed, offset, device):
        """One launch."""
        out = transfer.empty(size, dtype, device)
        if out.size:
            span = high - low
            pairs = span > 2**32
            config = _integers.config((out,), count=out.size, PAIRS=pairs)
            _integers[(cdiv(self.blocks(out.size, span), config["BLOCK"]),)](
                out, out.size, seed, offset, low, span % 2**64, PAIRS=pairs, **config
            )
        return out

    @staticmethod
    def samples(draw):
        yield (5, 7), 0, 10, np.dtype(np.int64), 3, 17
        yield (), -5, 2**31, np.dtype(np.int32), 2**63 + 5, 2**40
        yield (0, 3), 0, 1, np.dtype(np.int64), 0, 0
        yield (1025,), 0, 2**63 - 1, np.dtype(np.int64), 1, 2**32 - 3
        yield (33,), -(2**63), 2**63, np.dtype(np.int64), 1, 0
        yield (33,), 0, 2, np.dtype(np.bool_), 1, 0
        yield (33,), 0, 256, np.dtype(np.uint8), 1, 0
        yield (33,), 0, 10, np.dtype(np.float32), 1, 0

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (M, N), 0, 1000, np.dtype(np.int64), 3, 17


@kernel(space=DRAW, default=draw_default, do_not_specialize=("seed", "offset"))
def _bernoulli(
    probability,  # chance of a one: (count,)
    out,  # zeros and ones: (count,)
    count,
    seed: tl.uint64,
    offset: tl.uint64,
    BLOCK: tl.constexpr,
):
    block = (tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint64) + offset
    index = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
    chance = (philox_words(seed, block) >> 8).to(tl.float32) * 5.9604644775390625e-08
    wanted = tl.load(probability + index, mask=index < count, other=0).to(tl.float32)
    tl.store(out + index, (chance < wanted).to(out.dtype.element_ty), mask=index < count)


class Bernoulli(Op):
    """1 with the probability that `input` has, else 0, in the dtype of `input`."""

    passed = ("seed", "offset")
    batch = leading

    @staticmethod
    def reference(input, seed, offset):
        chance = unit(seed, offset, input.size, np.dtype(np.float32)).reshape(input.shape)
        return (chance < input.astype(np.float32)).astype(input.dtype)

    def forward(self, input, seed, offset):
        """One launch over the elements in order."""
        input, out = as_contiguous(input), empty_like(input)
        if out.size:
            config = _bernoulli.config((input, out), count=out.size)
            grid = (cdiv(blocks(out.size, np.dtype(np.float32)), config["BLOCK"]),)
            _bernoulli[grid](input, out, out.size, seed, offset, **config)
        return out

    def backward(self, grad):
        """Nothing flows through a choice: zeros."""
        return (grad.new_zeros(self.edges[0][2]),)

    @staticmethod
    def samples(draw):
        for shape in ((), (0, 3), (5, 7), (1025,)):
            yield draw.booleans(*shape).astype(draw.dtype), 3, 17

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw.uniform(0, 1, M, N), 3, 17
