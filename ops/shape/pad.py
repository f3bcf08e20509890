"""Tensors padded or cut at their ends, by a constant or by their own elements, and the gradients."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from tritorch.autotune import cdiv, kernel
from tritorch.ops.base import Op
from tritorch.ops.creation import number_bits
from tritorch.ops.layout import (
    element_strides,
    empty_by,
    empty_like,
    format_order,
    in_order,
    merge,
    needs_64_bits,
    out_of_order,
)
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.parallel import for_each, pieces_of
from tritorch.ops.pointwise.family import block_space, pointwise_default, triton_dtype
from tritorch.ops.pooling.place import place_of, reciprocals
from tritorch.runtime import tl


@kernel
def constant_source(place, size):
    """Which element stands at `place` from the first element on: outside of the tensor, none."""
    return place


@kernel
def reflect_source(place, size):
    """Beyond an end, the element as far before it."""
    place = tl.maximum(place, -place)
    return size - 1 - tl.maximum(size - 1 - place, place - size + 1)


@kernel
def replicate_source(place, size):
    """Beyond an end, the last element."""
    return tl.minimum(tl.maximum(place, 0), size - 1)


@kernel
def circular_source(place, size):
    """Beyond an end, the elements from the other end on."""
    return tl.where(place < 0, place + size, tl.where(place >= size, place - size, place))


@kernel
def reflect_reader(place, turn, size, before, after):
    """The element itself, its image before the first one and its image behind the last one."""
    image = tl.where(turn == 1, -place, 2 * (size - 1) - place)
    own = ((turn == 1) & (place == 0)) | ((turn == 2) & (place == size - 1))  # not reflected: the axis
    return tl.where(turn == 0, place, tl.where(own, -before - 1, image))


@kernel
def replicate_reader(place, turn, size, before, after):
    """The element itself and, for the first and last one, all places beyond."""
    left = (place == 0) & (turn <= before)
    beyond = turn - tl.where(place == 0, tl.maximum(before, 0), 0)
    right = (place == size - 1) & (beyond > 0)
    return tl.where(turn == 0, place, tl.where(left, -turn, tl.where(right, size - 1 + beyond, -before - 1)))


@kernel
def circular_reader(place, turn, size, before, after):
    """The element itself, and itself one round earlier and one round later."""
    return place + tl.where(turn == 0, 0, tl.where(turn == 1, -size, size))


class _Mode(NamedTuple):
    """Where padding comes from: as kernels' functions, and as NumPy's arrays."""

    source: object  # which element stands at a place
    places: object  # likewise, for an array of places
    reader: object  # which places read an element
    turns: object  # how many may


def _reflected(place, size):
    place = np.abs(place)
    return size - 1 - np.abs(size - 1 - place)


MODES = {
    "constant": _Mode(constant_source, lambda place, size: place, None, None),
    "reflect": _Mode(reflect_source, _reflected, reflect_reader, lambda before, after: 3),
    "replicate": _Mode(
        replicate_source, lambda place, size: np.clip(place, 0, size - 1), replicate_reader,
        lambda before, after: 1 + max(before, 0) + max(after, 0),
    ),
    "circular": _Mode(circular_source, lambda place, size: place % size, circular_reader, lambda before, after: 3),
}  # fmt: skip


@kernel(space=block_space(), default=pointwise_default, key=("SOURCE", "RANK", "WIDE"))
def _pad(
    x,  # any shape of RANK dimensions by its strides
    out,  # contiguous: (*out_size)
    value,  # of the padding, as the bits of a float64 or as an int64
    count,
    size,  # of x
    out_size,
    before,  # how many elements are put before the first one; negative: how many are cut off
    strides,
    SOURCE: tl.constexpr,
    COMPUTE: tl.constexpr,
    FLOATING: tl.constexpr,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    rest, offset = index, index * 0
    for k in tl.static_range(RANK):
        at = rest % out_size[RANK - 1 - k] - before[RANK - 1 - k]
        source = SOURCE(at, size[RANK - 1 - k])
        inside = inside & (source >= 0) & (source < size[RANK - 1 - k])
        offset += source * strides[RANK - 1 - k]
        rest = rest // out_size[RANK - 1 - k]
    number = tl.full([BLOCK], value, tl.int64)
    if FLOATING:
        number = number.to(tl.float64, bitcast=True)
    found = tl.load(x + offset, mask=inside, other=0).to(COMPUTE)
    tl.store(out + index, tl.where(inside, found, number.to(COMPUTE)).to(out.dtype.element_ty), mask=index < count)


def padded_size(shape, widths):
    """The shape with what is put before and after each dimension."""
    return tuple([before + size + after for size, (before, after) in zip(shape, widths, strict=True)])


def _source_places(size, before, after, mode):
    """Which element stands at each place of a padded dimension; negative where none does."""
    place = MODES[mode].places(np.arange(-before, size + after), size)
    return np.where((place >= 0) & (place < size), place, -1)


def _regions(shape, widths):
    """Where the input lies in the result, and which part of the input that is."""
    inner, part = [], []
    for size, (before, after) in zip(shape, widths, strict=True):
        part.append(slice(max(-before, 0), max(size - max(-after, 0), max(-before, 0))))
        inner.append(slice(max(before, 0), max(before, 0) + part[-1].stop - part[-1].start))
    return tuple(inner), tuple(part)


def launch_pad(input, widths, mode, value):
    """The padded array, in one launch; dimensions in front that are not padded count as one."""
    out = empty_like(input, padded_size(input.shape, widths))
    if out.size:
        padded = next((dim for dim, pair in enumerate(widths) if pair != (0, 0)), input.ndim)
        strides = element_strides(input)
        front, (steps,) = merge(input.shape[:padded], [strides[:padded]])
        size, steps = (*front, *input.shape[padded:]), (*steps, *strides[padded:])
        before = (*(0,) * len(front), *(pair[0] for pair in widths[padded:]))
        wide = out.size >= 2**31 or needs_64_bits(size, [steps])
        facts = {"SOURCE": MODES[mode].source, "RANK": len(size), "WIDE": wide}
        config = _pad.config((input, out), count=out.size, **facts)
        _pad[(cdiv(out.size, config["BLOCK"]),)](
            input, out, number_bits(value, input.dtype), out.size, size, (*front, *out.shape[padded:]), before,
            steps, COMPUTE=_computed(input.dtype), FLOATING=input.dtype.kind in "fV", **facts, **config,
        )  # fmt: skip
    return out


class Pad(Op):
    """The tensor with elements put before and after each dimension, or cut off there where `widths` are negative.

    widths  (before, after) of each dimension
    mode    what is put there: "constant", the value; "reflect", "replicate" or "circular", the tensor's own elements
    """

    @staticmethod
    def reference(input, widths, mode, value):
        out, known = input, np.ones(input.shape, np.bool_)
        for dim, (size, (before, after)) in enumerate(zip(input.shape, widths, strict=True)):
            place = _source_places(size, before, after, mode)
            if not size:  # nothing to take
                shape = (*out.shape[:dim], len(place), *out.shape[dim + 1 :])
                out, known = np.zeros(shape, input.dtype), np.zeros(shape, np.bool_)
                continue
            there = (place >= 0).reshape(-1, *(1,) * (input.ndim - dim - 1))
            out, known = (np.take(each, np.maximum(place, 0), dim) for each in (out, known))
            known = known & there
        return np.where(known, out, np.asarray(value).astype(input.dtype))

    @staticmethod
    def host(input, widths, mode, value):
        """The input copied to the inside and, dimension after dimension, the padding copied from there."""
        order = format_order(input)
        if order is not None:
            return out_of_order(Pad.host(in_order(input, order), [widths[dim] for dim in order], mode, value), order)
        if mode != "constant" and min(min(pair) for pair in widths) < 0:
            return Pad.reference(input, widths, mode, value)
        shape = padded_size(input.shape, widths)
        inner, part = _regions(input.shape, widths)
        if mode == "constant":
            out = np.full(shape, value, input.dtype) if value else np.zeros(shape, input.dtype)
            out[inner] = input[part]
            return out
        out, whole = np.empty(shape, input.dtype), slice(None)
        front = next((dim for dim, pair in enumerate(widths) if pair != (0, 0)), input.ndim)
        number, inner = math.prod(shape[:front]), (whole, *inner[front:])  # NumPy copies fewer dimensions faster
        planes, padded = (each.reshape(number, *each.shape[front:]) for each in (input, out))
        borders = [list(_borders(size, *pair, mode)) for size, pair in zip(input.shape, widths, strict=True)][front:]

        def fill(piece):
            part = padded[piece]
            part[inner] = planes[piece]
            for dim, each in enumerate(borders, 1):
                rows = _rows(part, dim, inner)
                for place, source in each:
                    rows[place] = rows[source]

        for_each(fill, pieces_of(number, padded[:1].size))
        return out

    def forward(self, input, widths, mode, value):
        """One launch over the elements of the result."""
        order = format_order(input)
        if order is None:
            return launch_pad(input, widths, mode, value)
        turned = tuple([widths[dim] for dim in order])
        return out_of_order(launch_pad(in_order(input, order), turned, mode, value), order)

    def backward(self, grad):
        """The inside, and for other modes than "constant" also what was copied to the padding."""
        _, widths, mode, _ = self.inputs
        if mode != "constant":
            return (PadBackward.apply(grad, self.edges[0][2], widths, mode),)
        return (Pad.apply(grad, tuple([(-before, -after) for before, after in widths]), mode, 0),)

    @classmethod
    def batch(cls, call):
        """A batch of batches is a larger batch; else the batch is one more dimension that is not padded."""
        _, widths, *rest = call.args
        if widths and widths[0] == (0, 0):
            return call.unfolded(cls.apply(*call.folded(0), widths, *rest), call.shape(0)[0])
        return cls.apply(call.front(0), ((0, 0), *widths), *rest)

    @staticmethod
    def samples(draw):
        yield draw(2, 3), ((0, 0), (1, 2)), "constant", 0
        yield draw(3, 4, 5).T, ((1, 0), (-1, 2), (2, -2)), "constant", 2.5
        yield draw(2, 4, 3, 18).transpose(0, 3, 1, 2), ((0, 0), (0, 1), (1, 2), (-1, 2)), "constant", 2.5
        yield draw(2, 4, 3, 18).transpose(0, 3, 1, 2), ((0, 0), (0, 0), (1, 2), (2, 1)), "reflect", 0
        yield draw(), (), "constant", 0
        yield draw(0, 3), ((1, 1), (0, 2)), "constant", -1.5
        yield np.broadcast_to(draw(3, 1), (3, 4)), ((0, 0), (700, 0)), "constant", 0
        yield draw.integers(0, 9, 3, 4)[::-1], ((1, 1), (-1, 0)), "constant", 7
        yield draw.booleans(2, 3), ((0, 1), (1, 0)), "constant", True
        for shape, widths, mode in borders():
            yield draw(*shape), widths, mode, 0
        yield draw.integers(0, 9, 3, 4)[:, ::-1], ((0, 0), (3, 2)), "reflect", 0

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, padding=1):
        return draw(N, C, H, W), ((0, 0), (0, 0), *((padding, padding),) * 2), "constant", 0


def borders():
    """Shapes, widths and modes for the samples."""
    for mode in ("reflect", "replicate", "circular"):
        yield (2, 4), ((0, 0), (3, 2)), mode
        yield (2, 3, 4), ((0, 0), (2, 0), (1, 3)), mode
    yield (2, 3, 4, 5), ((0, 0), (0, 0), (-1, 2), (2, -2)), "reflect"
    yield (2, 4, 5), ((0, 0), (-1, 2), (1, -2)), "replicate"
    yield (1, 2, 2, 3, 2), ((0, 0), (0, 0), (1, 1), (0, 2), (0, 1)), "circular"
    yield (3, 4, 9, 9), ((0, 0), (0, 0), (1, 1), (2, 2)), "reflect"  # past a block of 1024
    yield (2, 1), ((0, 0), (4, 3)), "replicate"


def _computed(dtype):
    return triton_dtype(np.dtype(np.int8) if dtype.kind == "b" else accumulator(dtype))


def _borders(size, before, after, mode):
    """The places of a padded dimension outside of the input, each with the place of what stands there."""
    source = _source_places(size, before, after, mode) + before
    for place in itertools.chain(range(before), range(before + size, before + size + after)):
        yield place, source[place]


def _rows(padded, dim, inner):
    """The part of a padded tensor that padding dimension `dim` reads and writes, that dimension first."""
    return np.moveaxis(padded[(*(slice(None),) * (dim + 1), *inner[dim + 1 :])], dim, 0)


def _five(values, missing, order):
    """What each of five dimensions has, `missing` standing for those that are not there, of an image or before it."""
    first = 0 if order is None else 2
    return (*values[:first], *(missing,) * (5 - len(values)), *values[first:])


@kernel(space=block_space(most=16), default=pointwise_default, key=("READER", "turns", "INNERMOST", "WIDE"))
def _pad_backward(
    grad,  # of the padded tensor, five dimensions by grad_strides: (images, channels, *out_size)
    out,  # as INNERMOST says: (images, channels, *size)
    count,
    channels,
    size,  # of the last three dimensions
    out_size,
    before,
    after,
    turns,  # how many places at most read an element, along each of them
    grad_strides,
    by,  # what `place_of` divides by
    READER: tl.constexpr,
    INNERMOST: tl.constexpr,  # the channels of the result lie innermost
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    image, channel, layer, row, column = place_of(index, channels, size, by, INNERMOST, WIDE)
    grad += image * grad_strides[0] + channel * grad_strides[1]
    total = tl.zeros([BLOCK], COMPUTE)
    for i in range(turns[0]):
        back = READER(layer, i, size[0], before[0], after[0]) + before[0]
        for j in range(turns[1]):
            down = READER(row, j, size[1], before[1], after[1]) + before[1]
            line = (index < count) & (back >= 0) & (back < out_size[0]) & (down >= 0) & (down < out_size[1])
            for k in range(turns[2]):
                across = READER(column, k, size[2], before[2], after[2]) + before[2]
                there = line & (across >= 0) & (across < out_size[2])
                offset = back * grad_strides[2] + down * grad_strides[3] + across * grad_strides[4]
                total += tl.load(grad + offset, mask=there, other=0).to(COMPUTE)
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


class PadBackward(Op):
    """The gradient of Pad by a tensor of `size`, at most the last three of whose five dimensions are padded."""

    widens = True

    @staticmethod
    def reference(grad, size, widths, mode):
        for dim, (wanted, (before, after)) in enumerate(zip(size, widths, strict=True)):
            place = _source_places(wanted, before, after, mode)
            out = np.zeros((wanted, *grad.shape[:dim], *grad.shape[dim + 1 :]), grad.dtype)
            np.add.at(out, place, np.moveaxis(grad, dim, 0))
            grad = np.moveaxis(out, 0, dim)
        return grad

    @staticmethod
    def fast(grad, size, widths, mode):
        """The padding added to what it was copied from, dimension after dimension; then the inside."""
        order = format_order(grad)
        if order is not None:
            turned = [tuple([each[dim] for dim in order]) for each in (size, widths)]
            return out_of_order(PadBackward.fast(in_order(grad, order), *turned, mode), order)
        if min(min(pair) for pair in widths) < 0:
            return PadBackward.reference(grad, size, widths, mode)
        inner, _ = _regions(size, widths)
        out = grad.copy()
        for dim in reversed(range(len(size))):
            rows = _rows(out, dim, inner)
            for place, source in _borders(size[dim], *widths[dim], mode):
                rows[source] += rows[place]
        return out[inner].copy()

    def forward(self, grad, size, widths, mode):
        """One launch over the elements of the result, each of which adds up the places that read it."""
        order = None if widths[1:2] != ((0, 0),) else format_order(grad)
        out = empty_by(grad, tuple(size), order)
        if out.size:
            (_, channels, *inner), pairs = _five(size, 1, order), _five(widths, (0, 0), order)
            turns = [1 if pair == (0, 0) else MODES[mode].turns(*pair) for pair in pairs[2:]]
            wide = out.size >= 2**31 or needs_64_bits(grad.shape, [element_strides(grad)])
            facts = {"READER": MODES[mode].reader, "INNERMOST": order is not None, "WIDE": wide}
            config = _pad_backward.config((grad, out), count=out.size, turns=math.prod(turns), **facts)
            _pad_backward[(cdiv(out.size, config["BLOCK"]),)](
                grad, out, out.size, channels, tuple(inner), _five(grad.shape, 1, order)[2:],
                tuple([pair[0] for pair in pairs[2:]]), tuple([pair[1] for pair in pairs[2:]]), tuple(turns),
                _five(element_strides(grad), 0, order), reciprocals(channels, tuple(inner)),
                COMPUTE=_computed(grad.dtype), **facts, **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """The new gradient, padded."""
        _, _, widths, mode = self.inputs
        return (Pad.apply(grad, widths, mode, 0),)

    @classmethod
    def batch(cls, call):
        """As Pad's."""
        _, size, widths, mode = call.args
        if widths and widths[0] == (0, 0):
            found = cls.apply(*call.folded(0), (call.size * size[0], *size[1:]), widths, mode)
            return call.unfolded(found, size[0])
        return cls.apply(call.front(0), (call.size, *size), ((0, 0), *widths), mode)

    @staticmethod
    def samples(draw):
        for shape, widths, mode in borders():
            yield draw(*padded_size(shape, widths)), shape, widths, mode
        yield draw(5, 9, 2).transpose(2, 0, 1), (2, 3, 4), ((0, 0), (1, 1), (2, 3)), "reflect"
        last = (0, 0), (0, 0), (1, 1), (2, 0)
        yield draw(2, 5, 6, 19).transpose(0, 3, 1, 2), (2, 19, 3, 4), last, "replicate"
        yield draw(1, 2, 5, 6, 3).transpose(0, 4, 1, 2, 3), (1, 3, 2, 3, 4), ((0, 0), *last), "circular"

    @staticmethod
    def sized(draw, N=32, C=64, H=56, W=56, padding=1):
        widths = ((0, 0), (0, 0), *((padding, padding),) * 2)
        return draw(N, C, H + 2 * padding, W + 2 * padding), (N, C, H, W), widths, "reflect"
