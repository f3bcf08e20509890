"""Sorting in NumPy: the plain stable order, which is the truth, and faster ways to the same."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.parallel import by_items

_TINY = 256  # elements of a row, up to which calls of NumPy take longer than ordering
_SMALL = 2048  # elements, up to which ordering all is quicker than looking for the first
_MANY = 1 << 14  # integers, from which on ordering them by their digits is quicker
_PARTS = 8  # of a row for each of the first elements that are looked for
_MOST = 16  # times as many candidates as are looked for, up to which they are ordered


def order_along(input, dim, descending):
    """The stable order of an array along `dim`, NaN as the largest: the index of the first element, the second, ..."""
    if not descending:
        return np.argsort(input, dim, kind="stable")
    last = input.shape[dim] - 1
    return np.flip(last - np.argsort(np.flip(input, dim), dim, kind="stable"), dim)


def _descending(row):
    """The stable order of a row from its largest element on."""
    return row.size - 1 - row[::-1].argsort(kind="stable")[::-1]


def first(dim, keep):
    """The key of the first `keep` along `dim`."""
    return (*(slice(None),) * dim, slice(keep))


def packed(input, dim, descending):
    """int64s no two of which are equal, of an array's stable order along `dim`, with the index in the lower half.

    As in the kernels: for elements of 32 bits at most. NumPy sorts and partitions them several times faster than it
    finds an order.
    """
    if input.dtype.kind == "f":
        bits = input.astype(np.float32, copy=False).view(np.int32)
        keys = np.where(input == 0, 0, bits ^ (bits >> 31 & 0x7FFFFFFF))
        keys = np.where(input != input, 0x7FFFFFFF, keys)
    else:
        keys = input.astype(np.int32)
    if descending:
        keys = ~keys
    number = np.arange(input.shape[dim]).reshape((-1,) + (1,) * (input.ndim - 1 - dim))
    return keys.astype(np.int64) << 32 | number


def narrowed(input):
    """64-bit integers that are close together as 32-bit ones of the same order; anything else as it is."""
    if input.dtype == np.int64 and input.size:
        low = input.min()
        if int(input.max()) - int(low) < 2**31:
            return (input - low).astype(np.int32)
    return input


def first_along(input, dim, keep, descending):
    """The first `keep` of an array's elements in order along `dim`, and the index of each."""
    if input.ndim == 1 and input.size <= _TINY:
        order = (_descending(input) if descending else input.argsort(kind="stable"))[:keep]
        return input[order], order
    if not dim:
        return _first_along(input, dim, keep, descending)
    shape = (*input.shape[:dim], keep, *input.shape[dim + 1 :])
    return by_items(
        lambda part: _first_along(part, dim, keep, descending), input, (shape, input.dtype), (shape, np.int64)
    )


def _first_along(input, dim, keep, descending):
    order = None
    if 0 < keep < input.shape[dim] // 2 and input.size > _SMALL:
        order = _few(np.moveaxis(input, dim, -1), keep, descending)
        order = order if order is None else np.moveaxis(order, -1, dim)
    elif input.ndim == 1 and input.size >= _MANY and input.dtype.kind in "iu":
        order = _by_digits(input, descending)
    if order is None:
        keys = narrowed(input)
        if keys.itemsize == 8:
            order = order_along(input, dim, descending)[first(dim, keep)]
        else:
            order = np.sort(packed(keys, dim, descending), dim)[first(dim, keep)] & 0xFFFFFFFF
    return np.take_along_axis(input, order, dim), order


def _few(rows, keep, descending):
    """The order of the first `keep` along the last dimension, without ordering the others; None where that fails.

    Nothing behind the `keep`th of the extremes of parts of a row can be among its first `keep`.
    """
    size, lead = rows.shape[-1], rows.shape[:-1]
    parts = min(_PARTS * keep, size // 2)
    if parts < keep:
        return None
    rows = rows.reshape(math.prod(lead), size)
    spread = rows[:, : size // parts * parts].reshape(len(rows), -1, parts)
    extremes = spread.max(1) if descending else spread.min(1)
    place = parts - keep if descending else keep - 1
    limit = np.partition(extremes, place, -1)[:, place, None]
    found = np.flatnonzero(rows >= limit if descending else rows <= limit)
    if len(found) > _MOST * keep * len(rows) or np.isnan(rows.max(-1) if descending else rows.min(-1)).any():
        return None
    row, column = np.divmod(found, size)
    values = rows.reshape(-1)[found]
    if descending:
        values = ~values if values.dtype.kind in "iu" else -values
    order = np.lexsort((values, row))  # stable, so that the first of equal ones comes first
    starts = np.searchsorted(row, np.arange(len(rows)))  # rows are in order already
    return column[order[starts[:, None] + np.arange(keep)]].reshape(*lead, keep)


def _by_digits(row, descending):
    """The stable order of integers by 16 bits after 16, which NumPy counts; None where they are far apart."""
    low, high = int(row.min()), int(row.max())
    if high - low >= 1 << 48:
        return None
    keys = row.astype(np.int64, copy=False)
    keys = high - keys if descending else keys - low
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    for shift in range(16, (high - low).bit_length(), 16):
        order = order[np.argsort((keys >> shift).astype(np.uint16)[order], kind="stable")]
    return order
