"""Ops that make tensors from nothing: filled, counted, spaced."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.layout import out_of_order, strides_of_copy, with_strides
from tritorch.ops.pointwise.family import block_space, pointwise_default
from tritorch.runtime import memory_format, tl, transfer


def lying(shape, strides, make):
    """The tensor that `make` gives for a size, of `shape` and with these strides, which leave no gaps.

    It is filled as it lies in memory. Strides of None are those of indices.
    """
    if strides is None:
        return make(shape)
    order = memory_format.iteration_order(shape, strides)
    made = make(tuple([shape[dim] for dim in order]))
    made.array = with_strides(out_of_order(made.array, order), strides)
    return made


def strides_of_like(op, input, format):
    """The strides of a tensor made like another, in its own or in a memory format; None for those of indices."""
    format = memory_format.preserve_format if format is None else format
    memory_format.check_format(op, format)
    return None if input.level is not None else strides_of_copy(input.array, format)


def strides_of_format(op, format, shape):
    """The strides of a tensor of `shape` that is made in a memory format."""
    memory_format.check_format(op, format)
    memory_format.check_rank(format, len(shape))
    if format is memory_format.preserve_format:
        raise RuntimeError("unsupported memory format Preserve")
    return memory_format.strides_in(format, shape)


class Creation(Op, abstract=True):
    """An op without tensor arguments. `reference(size, ..., dtype)` gets a NumPy dtype; `forward` the device too."""

    creates = True


@kernel(space=block_space(), default=pointwise_default)
def _fill(
    out,  # what is filled, contiguous: (count,)
    value,  # the number, as the bits of a float64 or as an int64
    count,
    FLOATING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    number = tl.full([BLOCK], value, tl.int64)
    if FLOATING:
        number = number.to(tl.float64, bitcast=True)
    tl.store(out + index, number.to(out.dtype.element_ty), mask=index < count)


def number_bits(value, dtype):
    """How a number travels to a kernel: the bits of a float64 for floating dtypes, else an integer."""
    return int(np.float64(value).view(np.int64)) if dtype.kind in "fV" else int(value)


class Full(Creation):
    """A tensor of `size` filled with one value."""

    @staticmethod
    def reference(size, value, dtype):
        return np.full(size, value, dtype) if value else np.zeros(size, dtype)

    def forward(self, size, value, dtype, device):
        """One launch that writes the value."""
        out = transfer.empty(size, dtype, device)
        if out.size:
            config = _fill.config((out,), count=out.size)
            floating = dtype.kind in "fV"
            grid = (cdiv(out.size, config["BLOCK"]),)
            _fill[grid](out, number_bits(value, dtype), out.size, FLOATING=floating, **config)
        return out

    @staticmethod
    def samples(draw):
        for dtype in (np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_):
            yield (5, 7), 1, np.dtype(dtype)
        yield (), 2.5, np.dtype(np.float32)
        yield (0, 3), 2.5, np.dtype(np.float32)
        yield (1025,), -0.1, np.dtype(np.float64)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (M, N), 1.5, draw.dtype


@kernel(space=block_space(), default=pointwise_default)
def _arange(
    out,  # what is counted: (count,)
    start,  # the first number, as the bits of a float64 or as an int64
    step,  # likewise
    count,
    FLOATING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    first, by = tl.full([BLOCK], start, tl.int64), tl.full([BLOCK], step, tl.int64)
    if FLOATING:
        first, by = first.to(tl.float64, bitcast=True), by.to(tl.float64, bitcast=True)
        number = first + index.to(tl.float64) * by
        tl.store(out + index, number.to(out.dtype.element_ty), mask=index < count)
    else:
        tl.store(out + index, (first + index * by).to(out.dtype.element_ty), mask=index < count)


class Arange(Creation):
    """start, start + step, start + 2 step, ...: `count` numbers, computed in float64 or int64."""

    @staticmethod
    def reference(start, step, count, dtype):
        wide = np.float64 if dtype.kind in "fV" else np.int64
        return (wide(start) + np.arange(count, dtype=wide) * wide(step)).astype(dtype)

    def forward(self, start, step, count, dtype, device):
        """One launch."""
        out = transfer.empty((count,), dtype, device)
        if count:
            config = _arange.config((out,), count=count)
            bits = [number_bits(each, dtype) for each in (start, step)]
            grid = (cdiv(count, config["BLOCK"]),)
            _arange[grid](out, *bits, count, FLOATING=dtype.kind in "fV", **config)
        return out

    @staticmethod
    def samples(draw):
        yield 0, 1, 5, np.dtype(np.int64)
        yield 3, -2, 1025, np.dtype(np.int32)
        yield 0.5, 0.25, 7, np.dtype(np.float32)
        yield 0, 1, 0, np.dtype(np.float32)

    @staticmethod
    def sized(draw, N=1 << 24):
        return 0, 1, N, draw.dtype
