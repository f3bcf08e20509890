"""Copies: to another dtype, to memory of their own, over another tensor."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.base import Op, export
from tritorch.ops.batching import leading
from tritorch.ops.layout import (
    broadcast_shape,
    broadcast_strides,
    element_strides,
    empty_cast,
    empty_like,
    empty_preserved,
    empty_strided,
    merge,
    result_order,
    strides_of_copy,
)
from tritorch.ops.pointwise.kernel import block_space, load_elements, offsets_of, pointwise_default
from tritorch.ops.pointwise.walks import TILE_SPACE, load_tile, place_of, tile_default, tile_number, walk_of, widest
from tritorch.runtime import tl
from tritorch.runtime.cuda.copies import set_copy_kernel
from tritorch.runtime.memory_format import check_format, contiguous_format, lies_in, preserve_format


@kernel
def as_copied(value, BOOLEAN: tl.constexpr, NARROW: tl.constexpr):
    """What is read on its way to another dtype."""
    if BOOLEAN:
        value = value != 0
    if NARROW:
        value = value.to(tl.float32).to(tl.int64)
    return value


@kernel(space=block_space(), default=pointwise_default, key=("RANK", "FLAT", "SINGLE", "ODD", "WIDE"))
def _copy(
    out,  # what is written: `shape` by the first RANK strides
    x,  # what is read: `shape` by the last RANK strides
    count,
    shape,
    strides,
    RANK: tl.constexpr,  # 0: both are contiguous, or one element is read
    FLAT: tl.constexpr,  # bit 0: what is written, bit 1: what is read is contiguous
    SINGLE: tl.constexpr,  # bit 1: one element is read for all
    ODD: tl.constexpr,  # the count is no multiple of 16: all blocks but the last go without a mask
    BOOLEAN: tl.constexpr,  # the result is bool: whether the element is not zero
    NARROW: tl.constexpr,  # floating to an integer of fewer than 32 bits, which goes through int64 and wraps
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK
    if WIDE:
        first = tl.program_id(0).to(tl.int64) * BLOCK
    index = first + tl.arange(0, BLOCK)
    inside = index < count
    place = out + (index if FLAT & 1 else offsets_of(index, shape, strides, 0, RANK))
    if ODD and first + BLOCK <= count:
        value = load_elements(x, index, inside, shape, strides, 1, RANK, FLAT, SINGLE, False)
        tl.store(place, as_copied(value, BOOLEAN, NARROW).to(out.dtype.element_ty))
    else:
        value = load_elements(x, index, inside, shape, strides, 1, RANK, FLAT, SINGLE, True)
        tl.store(place, as_copied(value, BOOLEAN, NARROW).to(out.dtype.element_ty), mask=inside)


@kernel(space=TILE_SPACE, default=tile_default, key=("RANK", "STILL_ROWS", "STILL_COLUMNS", "WIDE"))
def _copy_tiles(
    out,  # what is written: (*shape, rows, columns) by the first RANK strides
    x,  # what is read: likewise, by the last RANK strides
    shape,  # the outer dimensions
    rows,
    columns,
    strides,
    RANK: tl.constexpr,
    STILL_ROWS: tl.constexpr,  # bit 1: one row is read for all
    STILL_COLUMNS: tl.constexpr,
    BOOLEAN: tl.constexpr,  # as above
    NARROW: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    outer, row, column = tile_number(rows, columns, ROWS, COLUMNS, WIDE)
    value = load_tile(x, outer, row, column, rows, columns, shape, strides, 1, RANK, STILL_ROWS, STILL_COLUMNS)
    place = place_of(out, outer, row, column, shape, strides, 0, RANK)
    value = as_copied(value, BOOLEAN, NARROW).to(out.dtype.element_ty)
    tl.store(place, value, mask=(row < rows) & (column < columns))


def copy_elements(source, destination):
    """Copy between arrays of one shape on one device, of any strides and dtypes, in one launch."""
    if not destination.size:
        return
    whole = tuple(destination.shape)
    steps = [broadcast_strides(each, whole) for each in (destination, source)]
    shape, strides = merge(whole, steps, result_order(whole, (destination,)))
    arrays, to = (destination, source), destination.dtype
    fixed = {"BOOLEAN": to.kind == "b", "NARROW": _is_narrow(source.dtype, to)}
    walk = walk_of(shape, strides)
    facts, launched = walk.facts, _copy_tiles if walk.tiled else _copy
    config = launched.config(arrays, **walk.sizes, itemsize=widest(arrays), **facts)
    launched[walk.grid(config)](*arrays, *walk.arguments(facts), **fixed, **facts, **config)


set_copy_kernel(copy_elements)


def _is_narrow(source, to):
    return source.kind in "fV" and to.kind in "iu" and to.itemsize < 4


def _cast_on_host(x, dtype):
    # C leaves open what a float becomes in a small integer it does not fit; PyTorch's way is to wrap it from int64.
    wide = np.dtype(np.int64) if _is_narrow(x.dtype, dtype) else dtype
    if not isinstance(x, np.ndarray):
        return np.asarray(x).astype(wide).astype(dtype, copy=False)
    out = empty_cast(x, dtype)
    out[...] = x.astype(wide, copy=False)
    return out


class Cast(Op):
    """The elements in another dtype (a NumPy dtype): floats lose their fraction as integers; bool is "not zero"."""

    batch = leading
    shown_as = "ToCopy"
    reference = staticmethod(_cast_on_host)

    def forward(self, x, dtype):
        """One launch."""
        out = empty_cast(x, dtype)
        copy_elements(x, out)
        return out

    def backward(self, grad):
        """The gradient; the engine casts it back."""
        return (grad,)

    @staticmethod
    def differentiable_at(x, dtype):
        """Only where nothing is rounded, also of a small step."""
        return dtype == np.float64

    @staticmethod
    def samples(draw):
        names = (np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.int8, np.bool_)
        for dtype in map(np.dtype, names):
            yield draw.uniform(-3, 3, 5, 7), dtype
        yield draw(1025)[::-1], np.dtype(np.float16)
        yield draw(6, 4).T, np.dtype(np.float64)
        yield draw(0, 3), np.dtype(np.int64)
        yield draw.integers(-300, 300, 5, 5), np.dtype(np.uint8)
        yield draw.integers(-2, 2, 9), np.dtype(np.bool_)
        yield draw.booleans(9), np.dtype(np.float32)
        yield np.asarray(draw.uniform(-3, 3)), np.dtype(np.int64)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), np.dtype(np.float16 if draw.dtype == np.float32 else np.float32)


class Clone(Op):
    """The elements in memory of their own: with the given strides, which leave no gaps, or in the order of indices."""

    @staticmethod
    def reference(input, strides=None):
        if strides is None:
            return input.copy()
        out = empty_strided(input, input.shape, strides)
        out[...] = input
        return out

    def forward(self, input, strides=None):
        """One launch."""
        out = empty_like(input) if strides is None else empty_strided(input, tuple(input.shape), strides)
        copy_elements(input, out)
        return out

    @classmethod
    def batch(cls, call):
        """In the order of indices: examples show nothing of how they lie."""
        return cls.apply(call.front(0))

    def backward(self, grad):
        """The gradient itself."""
        return (grad,)

    @staticmethod
    def samples(draw):
        for shape in ((), (1,), (0, 3), (5, 7), (1025,)):
            yield (draw(*shape),)
        yield (draw(6, 4).T,)
        yield (np.broadcast_to(draw(3, 1), (3, 4)),)
        yield (draw.booleans(9)[::-2],)
        yield draw(2, 3, 4, 5), (60, 1, 15, 3)
        yield draw(2, 4, 5, 3).transpose(0, 3, 1, 2), (60, 1, 15, 3)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return (draw(M, N).T,)


@export("clone", "Tensor.clone")
def clone(input, *, memory_format=preserve_format):
    """A copy of the tensor in memory of its own, by default with the strides it has, as far as they leave no gaps."""
    return _copied("clone", input, preserve_format if memory_format is None else memory_format)


@export("Tensor.contiguous")
def contiguous(self, *, memory_format=contiguous_format):
    """The tensor itself where its elements lie as the memory format says, else a copy in which they do."""
    check_format("contiguous", memory_format)
    if _lies_in(self, memory_format):
        return self
    if memory_format is preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return _copied("contiguous", self, memory_format)


@export("Tensor.is_contiguous")
def is_contiguous(self, *, memory_format=contiguous_format):
    """Whether the elements lie as the memory format says, by default in the order of their indices, without gaps."""
    check_format("is_contiguous", memory_format)
    return _lies_in(self, memory_format)


def _lies_in(tensor, format):
    array = tensor.array
    if format in (contiguous_format, preserve_format) or tensor.level is not None:
        return array.flags.c_contiguous
    return lies_in(format, tuple(array.shape), element_strides(array))


def _copied(op, tensor, format):
    check_format(op, format)
    if tensor.level is not None:  # a batch of examples shows nothing of how they lie
        return Clone.apply(tensor)
    return Clone.apply(tensor, strides_of_copy(tensor.array, format))


class OverwrittenBy(Op):
    """`source`, broadcast to the shape and cast to the dtype of `self`: what `self.copy_(source)` writes."""

    exports = ("Tensor._overwritten_by",)

    @staticmethod
    def reference(self, source):
        if source.dtype != self.dtype:
            source = _cast_on_host(source, self.dtype)
        return source if source.shape == self.shape else _expand(source, self.shape)

    def forward(self, array, source):
        """Nothing where shape and dtype are right already, else one launch."""
        if source.shape == array.shape and source.dtype == array.dtype:
            return source
        _check_expands(source.shape, array.shape)
        out = empty_preserved(array)
        copy_elements(source, out)
        return out

    def backward(self, grad):
        """Zero for what was overwritten, the gradient for the source."""
        return None if self.edges[0] is None else grad.new_zeros(self.edges[0][2]), grad

    @classmethod
    def batch(cls, call):
        """What is written over has the batch too: `vmap` refuses to write a batch over one example."""
        return cls.apply(call.front(0), call.padded(1, max(call.rank(0), call.rank(1))))

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(5, 7)
        yield draw(5, 7), draw(7)
        yield draw(5, 7).T, draw(7, 1)
        yield draw(5, 7), np.asarray(draw())
        yield draw(5, 7).astype(np.float64), draw(5, 7)
        yield draw.integers(0, 5, 5, 7), draw.uniform(-3, 3, 5, 7)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), draw(N)


def _expand(source, shape):
    _check_expands(source.shape, shape)
    return np.broadcast_to(source, shape)


def _check_expands(own, shape):
    """Refuse a source that does not broadcast to `shape`."""
    found = broadcast_shape("copy_", shape, own)
    if found != shape:
        raise RuntimeError(f"output with shape {list(shape)} doesn't match the broadcast shape {list(found)}")
