"""Elements picked and placed by index tensors: advanced indexing, its assignment, and their gradients.

An index tensor holds positions along one dimension, negative ones counted from the end. One kernel reads or writes
the picked elements, whichever dimensions they are picked from and wherever the index tensors' own stand in the result.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tritorch.autotune import cdiv
from tritorch.ops.base import TABLE, Op
from tritorch.ops.index.batched import picked, put
from tritorch.ops.index.kernels import move_kernel, move_rows_kernel, places_kernel
from tritorch.ops.index.segments import accumulate, add_rows, rest_layout
from tritorch.ops.layout import (
    broadcast_shape,
    broadcast_strides,
    element_strides,
    empty_like,
    inverse_of,
    merge,
    needs_64_bits,
)
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.runtime import transfer

_ROW = 32  # elements, from which on those that are picked together are moved as a row


class Pick(NamedTuple):
    """How picked elements lie: the result's shape, the array's strides under it, those of each index, and the steps;

    and whether negative positions count from the end, or are outside.
    """

    shape: tuple
    strides: tuple
    indices: tuple
    index_strides: list
    sizes: tuple
    steps: tuple
    wraps: bool = True


def pick(array, dims, indices):
    """The Pick of `array[..., indices, ...]`: the indices' dimensions stand where they are, or first if apart."""
    common = broadcast_shape("index", *[each.shape for each in indices])
    own = element_strides(array)
    first = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    rest, rest_strides = rest_layout(array, dims)
    spread = [(*(0,) * first, *broadcast_strides(each, common), *(0,) * (len(rest) - first)) for each in indices]
    return Pick(
        (*rest[:first], *common, *rest[first:]),
        (*rest_strides[:first], *(0,) * len(common), *rest_strides[first:]),
        indices,
        spread,
        tuple([array.shape[dim] for dim in dims]),
        tuple([own[dim] for dim in dims]),
    )


def picks_nothing(found):
    """Whether no element is picked, so that positions outside do no harm, as in PyTorch."""
    return 0 in found.shape and 0 not in found.sizes


def pick_along(array, dim, index):
    """The Pick of `gather`: each element of `index` picks along `dim` at its own place in the other dimensions."""
    own = element_strides(array)
    others = (*own[:dim], 0, *own[dim + 1 :])
    return Pick(index.shape, others, (index,), [element_strides(index)], (array.shape[dim],), (own[dim],), False)


def read_picked(array, found):
    """The picked elements, in one launch."""
    out = empty_like(array, found.shape)
    _launch_move(out, array, found, put=False)
    return out


def write_picked(array, values, found):
    """Write `values`, broadcast, over the picked elements, in one launch."""
    _launch_move(values, array, found, put=True)


def _launch_move(plain, array, found, put):
    steps = [found.strides, *found.index_strides, broadcast_strides(plain, found.shape)]
    shape, strides = merge(found.shape, steps)
    count = math.prod(shape)
    if not count:
        return
    steps = zip((*strides[0], *found.steps), (*shape, *found.sizes), strict=True)
    farthest = sum(abs(step) * (size - 1) for step, size in steps)
    wide = farthest >= 2**31 or needs_64_bits(shape, strides)
    arrays, given = (plain, array, *found.indices), (plain, array, tuple(found.indices))
    facts = {"PUT": put, "WRAPS": found.wraps, "WIDE": wide}
    if shape and shape[-1] >= _ROW and not any(own[-1] for own in strides[1:-1]):  # rows are picked whole
        *outer, width = shape
        facts["RANK"] = len(outer)
        config = move_rows_kernel.config(arrays, count=count // width, width=width, **facts)
        move_rows_kernel[cdiv(count // width, config["ROWS"]), cdiv(width, config["COLUMNS"])](
            *given, count // width, width, tuple(outer), sum([own[:-1] for own in strides], ()), found.sizes,
            found.steps, strides[-1][-1], strides[0][-1], KEYS=len(found.indices), **facts, **config,
        )  # fmt: skip
        return
    facts["RANK"] = len(shape)
    config = move_kernel.config(arrays, count=count, **facts)
    move_kernel[(cdiv(count, config["BLOCK"]),)](
        *given, count, shape, sum(strides, ()), found.sizes, found.steps, KEYS=len(found.indices), **facts, **config
    )  # fmt: skip


def places_of(found, like, size, padding=-1, touched=None):
    """The numbers of picked elements' places in an array of `size` elements, in the order of the result; what they lie
    below; and how many elements a number stands for. Numbers are small, as those who sort them like it."""
    step = math.gcd(*found.strides, *found.steps) or 1
    bound = cdiv(size, step)
    out = empty_like(like, (math.prod(found.shape),), np.dtype(np.int32 if bound < 2**31 - 1 else np.int64))
    if not out.size:
        return out, bound, step
    strides, steps = ([each // step for each in own] for own in (found.strides, found.steps))
    shape, strides = merge(found.shape, [strides, *found.index_strides])
    facts = {"RANK": len(shape), "WRAPS": found.wraps}
    config = places_kernel.config((out, touched, *found.indices), count=out.size, **facts)
    places_kernel[(cdiv(out.size, config["BLOCK"]),)](
        out, touched, tuple(found.indices), out.size, bound, padding, shape, sum(strides, ()), found.sizes,
        tuple(steps), KEYS=len(found.indices), **facts, **config,
    )  # fmt: skip
    return out, bound, step


def add_picked(array, values, dims, indices):
    """Add `values`, broadcast, to the contiguous `array[..., indices, ...]`; repeated indices add up."""
    found = pick(array, dims, indices)
    common = broadcast_shape("index_put_", *[each.shape for each in indices])
    rest, rest_strides = rest_layout(array, dims)
    first = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    # The values as rows: the index tensors' dimensions first, the others after them.
    count, whole = len(common), (*rest[:first], *common, *rest[first:])
    behind = (*range(first, first + count), *range(first), *range(first + count, len(whole)))
    spread = [broadcast_strides(each, common) for each in indices]
    keys = places_of(Pick(common, (0,) * count, indices, spread, found.sizes, found.steps), array, array.size)
    accumulate(array, as_rows(values, whole, behind, array), *keys, rest, rest_strides)


def as_rows(values, shape, order, like):
    """Values broadcast to `shape`, contiguous with their dimensions in this order: themselves, or a copy."""
    turned = tuple([shape[dim] for dim in order])
    if tuple(values.shape) == shape:
        there = values.transpose(order)
        if transfer.is_contiguous(there):
            return there
    rows = empty_like(like, turned)
    copy_elements(values, rows.transpose(inverse_of(order)))
    return rows


def numpy_key(ndim, dims, indices):
    """The key that says the same to NumPy."""
    key = [slice(None)] * ndim
    for dim, index in zip(dims, indices, strict=True):
        key[dim] = index
    return tuple(key)


def out_of_bounds(error):
    """NumPy's IndexError in PyTorch's words."""
    return IndexError(str(error).replace("for axis", "for dimension"))


class Index(Op):
    """input[..., indices, ...]: the elements at the given positions of the dimensions `dims`."""

    batch = picked
    saves = ("indices",)

    @staticmethod
    def reference(input, dims, *indices):
        try:
            return input[numpy_key(input.ndim, dims, indices)]
        except IndexError as error:
            found = pick(input, dims, indices)
            if picks_nothing(found):
                return np.empty(found.shape, input.dtype)
            raise out_of_bounds(error) from None

    @classmethod
    def host(cls, input, dims, *indices):
        """NumPy's `take` where one tensor indexes: it is quicker."""
        if len(dims) > 1:
            return cls.reference(input, dims, *indices)
        try:
            return input.take(indices[0], dims[0])
        except IndexError:
            return cls.reference(input, dims, *indices)

    def forward(self, input, dims, *indices):
        """One launch."""
        return read_picked(input, pick(input, dims, indices))

    def backward(self, grad):
        """The gradient added up at the positions, on zeros."""
        dims, indices = self.inputs[1], self.inputs[2:]
        if grad.level is None:
            return (TABLE["collect"].apply(grad, self.edges[0][2], dims, *indices),)
        return (IndexPut.apply(grad.new_zeros(self.edges[0][2]), grad, True, dims, *indices),)

    @staticmethod
    def samples(draw):
        yield draw(5, 3), (0,), draw.integers(-5, 5, 4)
        yield draw(5, 3), (1,), draw.integers(0, 3, 2, 4)
        yield draw(5, 3, 4), (0, 2), draw.integers(0, 5, 6), draw.integers(0, 4, 2, 1)
        yield draw(5, 3, 4), (1, 2), draw.integers(0, 3, 6), draw.integers(0, 4, 6)
        yield draw(4, 6).T, (0,), draw.integers(0, 6, 1025)
        yield draw(5, 3), (0,), draw.integers(0, 5, 0)
        yield draw(5), (0,), draw.integers(0, 5, dtype=np.int32)
        yield draw(5, 3, 40), (1,), draw.integers(-3, 3, 2, 4)  # rows
        yield draw(70, 9).T, (0,), draw.integers(0, 9, 7)

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        return draw(M, N), (0,), draw.integers(0, M, K)


class IndexPut(Op):
    """input with `values`, broadcast, written or (accumulate) added at the given positions of the dimensions `dims`.

    Where positions repeat, sums are taken in a fixed order; which of several written values stays is open on a GPU.
    """

    batch = put
    saves = ("indices",)
    widens = True

    @staticmethod
    def reference(input, values, accumulate, dims, *indices):
        result, key = input.copy(), numpy_key(input.ndim, dims, indices)
        try:
            if accumulate:
                np.add.at(result, key, values.astype(result.dtype, copy=False))
            else:
                result[key] = values
        except IndexError as error:
            if not picks_nothing(pick(input, dims, indices)):
                raise out_of_bounds(error) from None
        return result

    @classmethod
    def fast(cls, input, values, accumulate, dims, *indices):
        """Rows of repeated positions summed in pairs, where one tensor indexes the first dimension."""
        whole = (*indices[0].shape, *input.shape[1:])
        if not accumulate or dims != (0,) or values.shape != whole or not values.size:
            return cls.reference(input, values, accumulate, dims, *indices)
        keys = indices[0].reshape(-1)
        result = input.copy()
        if keys.size and keys.min() < 0:
            keys = np.where(keys < 0, keys + input.shape[0], keys)
        add_rows(result, keys, values.reshape(keys.size, *input.shape[1:]).astype(result.dtype, copy=False))
        return result

    def forward(self, input, values, accumulate, dims, *indices):
        """A copy, and one launch that writes; or the sorted sums."""
        result = empty_like(input)
        copy_elements(input, result)
        if accumulate:
            add_picked(result, values, dims, indices)
        else:
            write_picked(result, values, pick(result, dims, indices))
        return result

    def backward(self, grad):
        """For the input what was not overwritten, for the values what is at the positions."""
        accumulate, dims, indices = self.inputs[2], self.inputs[3], self.inputs[4:]
        kept = picked = None
        if self.edges[0] is not None:
            kept = grad if accumulate else IndexPut.apply(grad, grad.new_zeros(()), False, dims, *indices)
        if self.edges[1] is not None:
            picked = Index.apply(grad, dims, *indices)
        return kept, picked

    @staticmethod
    def samples(draw):
        yield draw(5, 3), draw(4, 3), True, (0,), draw.integers(-5, 5, 4)
        yield draw(5, 3), draw(3), True, (0,), draw.integers(0, 5, 7)
        yield draw(5, 9), draw(40, 9), True, (0,), draw.integers(0, 5, 40)
        yield draw(5, 3, 4), draw(2, 6, 3), True, (0, 2), draw.integers(0, 5, 6), draw.integers(0, 4, 2, 1)
        yield draw(2, 5, 3, 4), draw(2, 6, 4), True, (1, 2), draw.integers(0, 5, 6), draw.integers(0, 3, 6)
        yield draw(4, 6).T, draw(3, 4), False, (0,), np.array([5, 0, -4])
        yield draw(5, 3), draw(1), False, (1,), np.array([2, 0])
        yield draw(9, 40), draw(40), False, (0,), np.array([[5, 0], [-3, 2]])
        yield draw(5, 3, 4), draw(3, 3), False, (0, 2), np.array([0, 4, 1]), np.array([1, 1, 3])
        yield draw(2100), draw(3000), True, (0,), draw.integers(0, 2100, 3000)
        yield draw(5, 3), draw(0, 3), True, (0,), draw.integers(0, 5, 0)

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        return draw(M, N), draw(K, N), True, (0,), draw.integers(0, M, K)
