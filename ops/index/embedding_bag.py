"""Bags of rows of a table: their sums, means or maxima, without the rows ever being stored."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.base import Op
from tritorch.ops.index.embedding import Embedding, EmbeddingBackward, by_frequency_of
from tritorch.ops.layout import as_contiguous, element_strides, empty_like
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import tl


def bags_default(device, *, count, width):
    """Threads along the row; several bags a program where rows are narrow; few large tiles interpreted."""
    if device.kind == "interpreter":
        columns = min(next_power_of_2(width), 1024)
        return {"ROWS": min(next_power_of_2(cdiv(count, 4)), 65536 // columns), "COLUMNS": columns, "num_warps": 4}
    columns = min(next_power_of_2(width), 256)
    return {"ROWS": max(128 // columns, 1), "COLUMNS": columns, "num_warps": 4}


def _shared_out(ROWS, COLUMNS, num_warps):
    """One to eight elements for each thread: all wait until the longest bag of a program ends."""
    return 32 * num_warps <= ROWS * COLUMNS <= 256 * num_warps


def _in_lines(COLUMNS, width):
    """Threads along a row where it is wide."""
    return min(next_power_of_2(width), 32) <= COLUMNS <= next_power_of_2(width)


def _filled(ROWS, COLUMNS, count):
    """No more bags than there are, but for a block that fills a few warps."""
    return ROWS * COLUMNS <= max(next_power_of_2(count) * COLUMNS, 256)


BAG_SPACE = Space(
    ROWS=powers(1, 256), COLUMNS=powers(1, 1024), num_warps=warps(1, 8), where=(_shared_out, _in_lines, _filled)
)


@kernel(space=BAG_SPACE, default=bags_default, key=("MEAN", "LARGEST"))
def _bags(
    weight,  # the table: (count, width) by `row_step` and `column_step`
    indices,  # the rows of all bags, one after the other: (length,)
    offsets,  # where each bag begins: (places,), at least `bags`
    scales,  # what each row is multiplied with, or None: (length,)
    out,  # a row for each bag: (bags, width)
    found,  # how many rows each bag has, int64, (bags,); or for a maximum which row it is from, (bags, width)
    bags,
    width,
    count,
    length,
    places,
    padding,  # the number of a row that does not count, or -1
    row_step,
    column_step,
    MEAN: tl.constexpr,
    LARGEST: tl.constexpr,
    COMPUTE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    valid = bag < bags
    writes = valid & (column < width)
    at = tl.load(offsets + bag, mask=valid, other=0).to(tl.int64)
    end = tl.load(offsets + bag + 1, mask=valid & (bag + 1 < places), other=0).to(tl.int64)
    end = tl.where(bag + 1 < places, end, length)
    tl.device_assert((at >= 0) & (end <= length), "index out of bounds", mask=valid)
    at, end = tl.maximum(at, 0), tl.minimum(end, length)
    total = tl.zeros([ROWS, COLUMNS], COMPUTE)
    number = tl.zeros([ROWS, 1], tl.int64)
    which = tl.full([ROWS, COLUMNS], -1, tl.int64)
    active = valid & (at < end)
    while tl.max(active.to(tl.int32)) > 0:
        index = tl.load(indices + at, mask=active, other=0).to(tl.int64)
        used = active & (index != padding)
        known = (index >= 0) & (index < count)
        tl.device_assert(known, "index out of bounds", mask=used)
        inside = used & known & (column < width)
        value = tl.load(weight + index * row_step + column * column_step, mask=inside, other=0).to(COMPUTE)
        if LARGEST:
            better = inside & ((which < 0) | (value > total))
            total = tl.where(better, value, total)
            which = tl.where(better, index, which)
        else:
            if scales is not None:
                value = value * tl.load(scales + at, mask=used, other=0).to(COMPUTE)
            total += value
        number += used.to(tl.int64)
        at += 1
        active = valid & (at < end)
    if MEAN:
        total = total / tl.maximum(number, 1).to(COMPUTE)
    tl.store(out + bag * width + column, total.to(out.dtype.element_ty), mask=writes)
    if LARGEST:
        tl.store(found + bag * width + column, which, mask=writes)
    else:
        tl.store(found + bag + column * 0, number + column * 0, mask=valid & (column == 0))


def _launch(weight, indices, offsets, scales, bags, padding, mean=False, largest=False):
    width = weight.shape[1]
    out = empty_like(weight, (bags, width))
    found = empty_like(weight, (bags, width) if largest else (bags,), np.dtype(np.int64))
    if not bags:
        return out, found
    indices, offsets = as_contiguous(indices), as_contiguous(offsets)
    scales = None if scales is None else as_contiguous(scales)
    config = _bags.config(
        (weight, indices, offsets, scales, out, found), count=bags, width=width, MEAN=mean, LARGEST=largest
    )
    _bags[cdiv(bags, config["ROWS"]), max(cdiv(width, config["COLUMNS"]), 1)](
        weight, indices, offsets, scales, out, found, bags, width, weight.shape[0], indices.shape[0],
        offsets.shape[0], padding, *element_strides(weight),
        MEAN=mean, LARGEST=largest, COMPUTE=triton_dtype(computed_in(weight.dtype)), **config,
    )  # fmt: skip
    return out, found


def _members(indices, offsets, bags, padding):
    """For each bag where its rows that count stand in `indices`."""
    ends = np.append(offsets, len(indices))[1:]
    for start, end in zip(offsets[:bags], ends, strict=False):
        own = np.arange(start, end)
        yield own[indices[own] != padding]


class EmbeddingBag(Op):
    """For each bag the sum (or `mean`) of weight[indices] times `scales`, from its offset to the next; and its length.

    The last bag ends where the indices do, or where the offset after it says. Row `padding` does not count. With
    `by_frequency` the gradient of a row is divided by how often it is named.
    """

    saves = ("weight", "indices", "offsets", "scales", "output")
    saved_results = (1,)
    widens = True

    @staticmethod
    def reference(weight, indices, offsets, scales, bags, mean, padding, by_frequency):
        out, lengths = np.zeros((bags, weight.shape[1]), weight.dtype), np.zeros(bags, np.int64)
        for bag, own in enumerate(_members(indices, offsets, bags, padding)):
            rows = weight[indices[own]]
            rows = rows if scales is None else rows * scales[own, None]
            out[bag], lengths[bag] = rows.sum(0) / (max(len(own), 1) if mean else 1), len(own)
        return out, lengths

    @staticmethod
    def fast(weight, indices, offsets, scales, bags, mean, padding, by_frequency):
        """All rows at once, summed where bags begin."""
        ends = np.append(offsets, len(indices))[1 : bags + 1]
        rows, used = weight.take(indices, 0), indices != padding
        if scales is not None:
            rows *= scales[:, None]
        if padding >= 0:
            rows[~used] = 0
        out, lengths = np.zeros((bags, weight.shape[1]), weight.dtype), np.zeros(bags, np.int64)
        some = np.flatnonzero(offsets[:bags] < ends)
        if len(some):
            last = ends[some[-1]]
            starts = offsets[some]
            out[some] = np.add.reduceat(rows[:last], starts, 0)
            lengths[some] = np.add.reduceat(used[:last], starts, dtype=np.int64)
        return out / np.maximum(lengths, 1)[:, None].astype(out.dtype) if mean else out, lengths

    def forward(self, weight, indices, offsets, scales, bags, mean, padding, by_frequency):
        """One launch."""
        return _launch(weight, indices, offsets, scales, bags, padding, mean=mean)

    def backward(self, grad, _=None):
        """The gradient of its bag for each row, added up by number; for the scales its product with the row."""
        weight, indices, offsets, scales, bags, mean, padding, by_frequency = self.inputs
        if mean:
            grad = grad / self.outputs[0].clamp_min(1).unsqueeze(-1).to(grad.dtype)
        bag = BagNumbers.apply(indices, offsets, bags)
        rows = (
            Embedding.apply(grad, bag.clamp_min(0), -1, False) if bags else grad.new_zeros((*bag.shape, grad.shape[1]))
        )
        if offsets.array.shape[0] > bags:  # what comes after the last bag
            rows = rows * (bag >= 0).to(rows.dtype).unsqueeze(-1)
        slope = of_scales = None
        if self.edges[0] is not None:
            scaled, count = rows if scales is None else rows * scales.unsqueeze(-1), self.edges[0][2][0]
            scaled = by_frequency_of(scaled, indices, count) if by_frequency else scaled
            slope = EmbeddingBackward.apply(scaled, indices, count, padding)
        if scales is not None and self.edges[3] is not None:
            of_scales = (rows * Embedding.apply(weight, indices, -1, False)).sum(-1)
            of_scales = of_scales * (indices != padding).to(of_scales.dtype)
        return slope, None, None, of_scales

    @staticmethod
    def samples(draw):
        offsets = np.array([0, 3, 3, 4])
        yield draw(5, 3), draw.integers(0, 5, 9), offsets, None, 4, False, -1, False
        yield draw(5, 3), draw.integers(0, 5, 9), offsets.astype(np.int32), None, 4, True, 2, False
        yield draw(5, 3), draw.integers(0, 5, 9, dtype=np.int32), np.append(offsets, 8), draw(9), 4, False, 1, False
        yield draw(33, 6).T, draw.integers(0, 6, 40), np.arange(0, 40, 2), draw(40), 20, False, -1, False
        yield draw(5, 300), draw.integers(0, 5, 7), np.array([0, 7]), None, 2, True, -1, False
        yield draw(5, 3), draw.integers(0, 5, 0), np.array([0, 0]), None, 2, False, -1, False
        yield draw(5, 3), draw.integers(0, 5, 0), np.array([], np.int64), None, 0, False, -1, False

    @staticmethod
    def sized(draw, V=50304, D=768, bags=8192, length=16):
        indices = draw.integers(0, V, bags * length)
        return draw(V, D), indices, np.arange(bags) * length, None, bags, False, -1, False


class EmbeddingBagMax(Op):
    """For each bag the largest elements of weight[indices], zero without any; and which row each is from, or -1."""

    saves = ("output",)
    saved_results = (1,)

    @staticmethod
    def reference(weight, indices, offsets, bags, padding):
        out = np.zeros((bags, weight.shape[1]), weight.dtype)
        which = np.full(out.shape, -1, np.int64)
        for bag, own in enumerate(_members(indices, offsets, bags, padding)):
            if len(own):
                rows = weight[indices[own]]
                out[bag], which[bag] = rows.max(0), indices[own][rows.argmax(0)]
        return out, which

    def forward(self, weight, indices, offsets, bags, padding):
        """One launch."""
        return _launch(weight, indices, offsets, None, bags, padding, largest=True)

    def backward(self, grad, _=None):
        """The gradient of each bag at the row that its element is from."""
        which = self.outputs[0]
        held = grad * (which >= 0).to(grad.dtype)
        return (grad.new_zeros(self.edges[0][2]).scatter_add(0, which.clamp_min(0), held),)

    @staticmethod
    def samples(draw):
        for padding in (-1, 1):
            yield draw.apart(5, 3), draw.integers(0, 5, 9), np.array([0, 3, 3, 4]), 4, padding
        yield draw.apart(6, 33), draw.integers(0, 6, 40, dtype=np.int32), np.arange(0, 40, 2), 19, -1
        yield draw.apart(5, 3), draw.integers(0, 5, 0), np.array([0, 0]), 2, -1

    @staticmethod
    def sized(draw, V=50304, D=768, bags=8192, length=16):
        return draw(V, D), draw.integers(0, V, bags * length), np.arange(bags) * length, bags, -1


@kernel
def _bag_numbers(
    indices,  # what bags consist of: (length,)
    offsets,  # where bags begin: (places,)
    out,  # int64: (length,)
    length,
    bags,
    places,
    ROUNDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    low = at * 0
    high = low + places
    for _ in range(ROUNDS):
        middle = (low + high) // 2
        begins = tl.load(offsets + middle, mask=inside & (low < high), other=0).to(tl.int64)
        before = (low < high) & (begins <= at)
        high = tl.where((low < high) & (begins > at), middle, high)
        low = tl.where(before, middle + 1, low)
    number = low - 1
    tl.store(out + at, tl.where(number < bags, number, -1), mask=inside)


class BagNumbers(Op):
    """The bag that each place of the indices is in: the last one that begins there or before; -1 after all bags."""

    @staticmethod
    def reference(indices, offsets, bags):
        number = np.searchsorted(offsets, np.arange(len(indices)), "right") - 1
        return np.where(number < bags, number, -1).astype(np.int64)

    def forward(self, indices, offsets, bags):
        """One launch: a binary search each."""
        out = empty_like(indices, dtype=np.dtype(np.int64))
        if out.size:
            places, block = offsets.shape[0], min(next_power_of_2(out.size), 1024)
            _bag_numbers[(cdiv(out.size, block),)](
                indices, as_contiguous(offsets), out, out.size, bags, places, ROUNDS=places.bit_length() + 1,
                BLOCK=block, num_warps=4,
            )  # fmt: skip
        return out

    @staticmethod
    def samples(draw):
        yield np.zeros(9, np.int64), np.array([0, 3, 3, 4]), 4
        yield np.zeros(9, np.int32), np.array([0, 3, 3, 4, 8], np.int32), 4
        yield np.zeros(1025, np.int64), np.arange(0, 1025, 2), 513
        yield np.zeros(0, np.int64), np.array([0, 0]), 2
        yield np.zeros(2, np.int64), np.array([0]), 0
