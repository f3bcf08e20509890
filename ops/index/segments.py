"""Sums of rows that go to the same place, in a fixed order: gradients of indexing without atomics.

The places are sorted (stably), then runs of equal places are summed in the order in which their rows came
(`runs.py`). The result does not depend on scheduling.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import cdiv
from tritorch.ops.index.runs import AT_ONCE, JOINED, join_kernel, run_kernel
from tritorch.ops.layout import element_strides, empty_like, merge
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.family import add
from tritorch.ops.reduction.kernel import computed_in, fold_by
from tritorch.ops.sort.kernel import sort_numbers

_BARE = 2048  # elements of rows that become zero, for each program


def accumulate(out, rows, places, bound, place_step=1, shape=None, strides=None, combine=add, touched=None, identity=0):
    """Combine `rows`, contiguous of (count, ...), with `out` at the numbers `places`, each `place_step` elements on.

    shape, strides  lay out one row's elements, which by default lie one after the other
    bound           what numbers lie below; rows of others are left out
    combine         of two values, in whatever order: their sum, or another, whose `identity` changes nothing
    touched         which numbers there are, where `out` has no values yet: it becomes zero elsewhere
    """
    count = places.size
    width = rows.size // count if count else 0
    if not width:
        return
    flat, steps = ((width,), [(1,)]) if shape is None else merge(shape, [strides])
    places, order = sort_numbers(places, bound)
    kind = computed_in(out.dtype)
    fixed = {"COMBINE": combine, "RANK": len(flat), "COMPUTE": triton_dtype(kind), "FRESH": touched is not None}
    config = run_kernel.config(
        (out, rows, places, order), count=count, width=width, COMBINE=combine, RANK=len(flat), FRESH=touched is not None
    )
    chunks, columns = cdiv(count, config["STEPS"]), config["COLUMNS"]
    heads, tails = (empty_like(out, (chunks, width), kind) for _ in range(2))
    bare = 0 if touched is None else cdiv(bound, _BARE // columns)
    run_kernel[cdiv(chunks, config["LANES"]) + bare, cdiv(width, columns)](
        out, rows, places, order, touched, heads, tails, count, width, bound, chunks, place_step, flat, steps[0],
        BARE=_BARE, AT_ONCE=AT_ONCE, **fixed, **config,
    )  # fmt: skip
    if chunks > 1:
        columns = min(columns, 64)
        join_kernel[chunks - 1, cdiv(width, columns)](
            out, places, heads, tails, count, width, bound, place_step, flat, steps[0], FOLD=fold_by(combine),
            IDENTITY=identity, STEPS=config["STEPS"], PARTS=JOINED // columns, COLUMNS=columns, num_warps=4, **fixed,
        )  # fmt: skip


NARROW = 8  # rows of fewer elements are quicker to add one by one


def add_rows(result, keys, rows):
    """On the host: result[key] += row for each, repeated keys too."""
    if keys.size == 0 or math.prod(result.shape[1:]) < NARROW:
        np.add.at(result, keys, rows)
        return
    keys, rows = summed_rows(keys, rows)
    result[keys] += rows


def summed_rows(keys, rows):
    """On the host: the different keys, in order, and the sum of the rows of each; there is at least one.

    Most keys come once, so first rows are taken at once, and only the others are added up.
    """
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.concatenate(([True], keys[1:] != keys[:-1]))
    sums = rows.take(order[first], 0)
    if len(sums) < len(keys):
        rest = ~first
        _add_sorted(sums, np.cumsum(first)[rest] - 1, rows.take(order[rest], 0))
    return keys[first], sums


def _add_sorted(sums, keys, rows):
    """sums[key] += row for each of sorted keys; rows of one key are summed in pairs, in place."""
    while True:
        count = len(keys)
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        if len(starts) == count:
            sums[keys] += rows
            return
        rank = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
        odd = np.flatnonzero(rank & 1)
        rows[odd - 1] += rows[odd]
        even = np.flatnonzero((rank & 1) == 0)
        keys, rows = keys[even], rows[even]


def rest_layout(array, dims):
    """The shape and element strides of an array without the dimensions `dims`."""
    steps = element_strides(array)
    rest = [dim for dim in range(array.ndim) if dim not in dims]
    return tuple([array.shape[dim] for dim in rest]), tuple([steps[dim] for dim in rest])
