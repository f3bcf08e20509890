"""The kernel that finds an extreme element of each row and where it is; laid out and staged as the reduction kernel.

A NaN is larger and smaller than everything, and of equal elements the first is taken.
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import (
    REDUCE_SPACE,
    combiner,
    computed_in,
    fold_by,
    is_wide,
    kept_and_gone,
    lies_along,
    line_of,
    reduce_default,
)
from tritorch.runtime import tl

_INT64 = np.dtype(np.int64)


@combiner
def larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@combiner
def smaller(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@combiner
def first_larger(a, i, b, j):
    nan_a, nan_b = a != a, b != b
    equal = (a == b) | (nan_a & nan_b)
    take = (nan_a & (nan_b == 0)) | ((nan_b == 0) & (a > b)) | (equal & (i < j))
    return tl.where(take, a, b), tl.where(take, i, j)


@combiner
def first_smaller(a, i, b, j):
    nan_a, nan_b = a != a, b != b
    equal = (a == b) | (nan_a & nan_b)
    take = (nan_a & (nan_b == 0)) | ((nan_b == 0) & (a < b)) | (equal & (i < j))
    return tl.where(take, a, b), tl.where(take, i, j)


def lowest(dtype):
    """A number that no element of a NumPy dtype is below."""
    return -math.inf if dtype.kind in "fV" else int(np.iinfo(computed_in(dtype)).min)


def highest(dtype):
    """A number that no element of a NumPy dtype is above."""
    return math.inf if dtype.kind in "fV" else int(np.iinfo(computed_in(dtype)).max)


def _few_each(ROWS, COLUMNS, num_warps):
    """Up to 16 elements for each thread, which keeps a number of 64 bits with each."""
    return ROWS * COLUMNS <= 16 * 32 * num_warps


SELECT_SPACE = Space(where=(*(each for each, _ in REDUCE_SPACE.conditions), _few_each), **REDUCE_SPACE.knobs)


@kernel(
    space=SELECT_SPACE, default=reduce_default, key=("CHOOSE", "VALUES", "NUMBER", "KEPT_RANK", "GONE_RANK", "WIDE")
)  # fmt: skip
def select_kernel(
    x,  # what is searched: rows by `kept`, columns by `gone` strides
    numbers,  # which column of the first stage a value comes from, laid out as x; None in the first stage
    values,  # the chosen elements: (SPLITS, rows), or None
    places,  # the column each comes from: (SPLITS, rows)
    rows,
    columns,
    kept,
    kept_strides,
    gone,
    gone_strides,
    CHOOSE: tl.constexpr,  # of two values with their columns, one
    FOLD: tl.constexpr,  # the columns of a tile to one
    IDENTITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    NUMBER: tl.constexpr,  # what columns are counted in
    LAST: tl.constexpr,  # its largest number
    KEPT_RANK: tl.constexpr,
    GONE_RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
    line = line_of(row, kept, kept_strides, 0, KEPT_RANK, ROWS)[:, None]
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    first = part * share
    last = tl.minimum(first + share, columns)
    best = tl.full([ROWS, COLUMNS], IDENTITY, COMPUTE)
    at = tl.full([ROWS, COLUMNS], LAST, NUMBER)
    for start in range(first, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        inside = (row < rows)[:, None] & (column < last)[None, :]
        offset = line + offsets_of(column, gone, gone_strides, 0, GONE_RANK)[None, :]
        value = tl.where(inside, tl.load(x + offset, mask=inside, other=0).to(COMPUTE), IDENTITY).to(COMPUTE)
        if numbers is None:
            number = column.to(NUMBER)[None, :] + tl.zeros([ROWS, COLUMNS], NUMBER)
        else:
            number = tl.load(numbers + offset, mask=inside, other=0).to(NUMBER)
        number = tl.where(inside, number, LAST).to(NUMBER)
        best, at = CHOOSE(best, at, value, number)
    best, at = FOLD((best, at))
    if values is not None:
        tl.store(values + part * rows + row, best.to(values.dtype.element_ty), mask=row < rows)
    tl.store(places + part * rows + row, at.to(tl.int64), mask=row < rows)


def launch_select(x, dim, choose, identity, want_values=True):
    """The chosen element along `dim` and its number, as flat arrays; `dim` None numbers all elements in order."""
    constants = {"CHOOSE": choose, "FOLD": fold_by(choose), "IDENTITY": identity}
    constants["COMPUTE"] = triton_dtype(computed_in(x.dtype))
    parts = kept_and_gone(x, dim, ordered=True)
    number = _INT64 if is_wide(*parts) else np.dtype(np.int32)
    constants |= {"NUMBER": triton_dtype(number), "LAST": int(np.iinfo(number).max)}
    return _stage(x, None, *parts, want_values, number, constants)


def _stage(x, numbers, kept, gone, want_values, number, constants):
    """One launch and, where it leaves parts of rows, the stages that choose among those."""
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    fixed = {"KEPT_RANK": len(kept[0]), "GONE_RANK": len(gone[0]), "WIDE": is_wide(kept, gone)}
    config = select_kernel.config(
        (x, numbers), rows=rows, columns=columns, along=lies_along(kept, gone), itemsize=max(x.dtype.itemsize, 4),
        CHOOSE=constants["CHOOSE"], VALUES=want_values, NUMBER=number, **fixed,
    )  # fmt: skip
    splits = config["SPLITS"]
    values = empty_like(x, (rows * splits,)) if want_values or splits > 1 else None
    places = empty_like(x, (rows * splits,), _INT64)
    if rows == 0:
        return values, places
    select_kernel[(cdiv(rows, config["ROWS"]), splits)](
        x, numbers, values, places, rows, columns, *kept, *gone, **fixed, **constants, **config
    )
    if splits == 1:
        return values, places
    return _stage(values, places, ((rows,), (1,)), ((splits,), (rows,)), want_values, number, constants)
