"""The kernel of the reduction family: rows of what is kept by columns of what goes, whatever dimensions and strides.

The kept and the reduced dimensions are merged as far as the memory allows, and nothing is transposed: a row and a
column number become an offset by two tuples of strides. Few rows of many columns are reduced in two stages, each of
which combines in a fixed order, so the same input always gives the same bits.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.runtime import tl

SMALL = 1 << 15  # elements that are not worth a second launch
FEW = 1 << 20  # elements of which a multiprocessor gets few
LEAST = 128  # elements of a tile, if there are so many: four for each thread of a warp


def reduce_default(device, *, rows, columns, along, itemsize=4):
    """Tiles of 8 to 16 KiB, wide where memory is, split until the GPU is full; few large ones interpreted.

    What is on its way to a multiprocessor at once should be 32 KiB at least: three tiles and more. A sum of few parts
    is not split once more.
    """
    if device.kind == "interpreter":
        splits = 2 if rows < 8 and columns > 512 else 1
        width = min(next_power_of_2(cdiv(columns, splits)), 32768)
        height = min(next_power_of_2(cdiv(rows, 8)), max(131072 // width, 1))
        return {"ROWS": height, "COLUMNS": width, "SPLITS": splits, "num_warps": 4}
    enough, tile = 3 * device.sms, min(16384 // itemsize, 8192)
    if along:
        width = min(next_power_of_2(columns), tile)
        height = min(next_power_of_2(rows), max(tile // 2 // width, 1), 256)
        while height > 1 and height * width > LEAST and cdiv(rows, height) < enough:
            height //= 2
    else:
        height = min(next_power_of_2(rows), 256 if itemsize < 4 else 128)
        tile = tile if rows * columns <= FEW else tile // 2
        while (
            height > 32
            and height * next_power_of_2(columns) > LEAST
            and cdiv(rows, height) * cdiv(columns, 4 * (tile // height)) < enough
        ):
            height //= 2
        width = min(next_power_of_2(columns), tile // height)
    splits = 1
    if rows * columns > SMALL:
        while splits < 512 and cdiv(rows, height) * splits < enough and columns > 4 * width * splits:
            splits *= 2
    warps = 8 if width * height > 2048 else 4 if width * height > 256 else 1
    return {"ROWS": height, "COLUMNS": width, "SPLITS": splits, "num_warps": warps}


def _shared_out(ROWS, COLUMNS, num_warps):
    """Four to 32 elements for each thread, of many warps eight to 16 and of a single one fewer."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= (32 if num_warps <= 8 else 16) and (num_warps == 1 or each >= (4 if num_warps <= 4 else 8))


# Conditions look at sizes by the next power of two, which all sizes of a bucket have in common.


def needed(ROWS, COLUMNS, rows, columns):
    """A tile no larger than what there is, and no smaller than a warp's."""
    height, width = next_power_of_2(rows), next_power_of_2(columns)
    return ROWS <= height and COLUMNS <= width and ROWS * COLUMNS >= min(height * width, LEAST)


def in_lines(ROWS, COLUMNS, rows, columns, along):
    """Whether a tile goes so far along memory that whole lines of the caches are read."""
    length, size = (COLUMNS, columns) if along else (ROWS, rows)
    return length >= min(next_power_of_2(size), 32)


def split_where_few(ROWS, COLUMNS, SPLITS, rows, columns, device):
    """Long rows are split where there are too few programs for the GPU, until there are two to 16 for each SM."""
    programs = max(next_power_of_2(rows) // ROWS, 1) * SPLITS
    blocks = next_power_of_2(columns) // (COLUMNS * SPLITS)
    if SPLITS > 1 and (programs >= 16 * device.sms or blocks < 4):
        return False
    return programs >= 2 * device.sms or blocks <= 4 or rows * columns <= SMALL


REDUCE_SPACE = Space(
    ROWS=powers(1, 256), COLUMNS=powers(1, 8192), SPLITS=powers(1, 1024, default=1), num_warps=warps(1, 16),
    where=(_shared_out, needed, in_lines, split_where_few),
)  # fmt: skip


@kernel
def widen(value, COMPUTE: tl.constexpr):
    return value.to(COMPUTE)


@kernel
def nonzero(value, COMPUTE: tl.constexpr):
    return (value != 0).to(COMPUTE)


@kernel
def whole(total, number):
    """What a reduction comes to by itself."""
    return total


@kernel
def divided(total, number):
    return total / number


@functools.cache
def fold_by(combine):
    """The function that reduces the columns of a tile: Triton takes `combine` from a closure, not from a constant."""

    @kernel
    def fold(tile):
        return tl.reduce(tile, 1, combine)

    return fold


def combiner(fn):
    """Make a kernel that combines two values, and its fold with it: Triton must see both before the first launch."""
    combine = kernel(fn)
    fold_by(combine)
    return combine


@kernel
def line_of(row, kept, strides, FIRST: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr):
    """Where each row begins. One row begins at zero, which is aligned as the number of a program is not known to be."""
    if RANK == 0:
        return tl.zeros([ROWS], row.dtype)
    return offsets_of(row, kept, strides, FIRST, RANK)


@kernel(
    space=REDUCE_SPACE, default=reduce_default,
    key=("COMBINE", "PREPARE", "COMPUTE", "FINISH", "RESULT", "KEPT_RANK", "GONE_RANK", "WIDE"),
)  # fmt: skip
def reduce_kernel(
    x,  # what is reduced: rows by `kept`, columns by `gone` strides
    out,  # results: (SPLITS, rows)
    rows,
    columns,
    kept,
    kept_strides,
    gone,
    gone_strides,
    number,  # an integer: how many a mean is of
    COMBINE: tl.constexpr,  # two values to one
    FOLD: tl.constexpr,  # the columns of a tile to one
    PREPARE: tl.constexpr,  # an element to a value of type COMPUTE
    IDENTITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    FINISH: tl.constexpr,  # what a row comes to, and `number`, to the result
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
    line = x + line_of(row, kept, kept_strides, 0, KEPT_RANK, ROWS)[:, None]
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    first = part * share
    last = tl.minimum(first + share, columns)
    total = tl.full([ROWS, COLUMNS], IDENTITY, COMPUTE)
    for start in range(first, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        inside = (row < rows)[:, None] & (column < last)[None, :]
        place = line + offsets_of(column, gone, gone_strides, 0, GONE_RANK)[None, :]
        value = PREPARE(tl.load(place, mask=inside, other=0), COMPUTE)
        total = COMBINE(total, tl.where(inside, value, IDENTITY).to(COMPUTE))
    result = FINISH(FOLD(total), tl.full([ROWS], number, tl.int64).to(COMPUTE))
    tl.store(out + part * rows + row, result.to(out.dtype.element_ty), mask=row < rows)


def kept_and_gone(array, dim, ordered=False):
    """The kept and the reduced dimensions, each merged: (shape, strides) twice.

    Unless the order matters, reduced dimensions are taken from the largest stride to the smallest, which merges more.
    """
    strides = element_strides(array)
    dims = as_dims(dim, array.ndim)
    gone = list(dims) if ordered else sorted(dims, key=lambda each: -abs(strides[each]))
    kept = [each for each in range(array.ndim) if each not in dims]
    parts = []
    for group in (kept, gone):
        shape, (steps,) = merge(tuple(array.shape[d] for d in group), [tuple(strides[d] for d in group)])
        parts.append((shape, steps))
    return parts


def as_dims(dim, ndim):
    """All dimensions for None, else a tuple of them."""
    if dim is None:
        return tuple(range(ndim))
    return dim if isinstance(dim, tuple) else (dim,)


def reduced_shape(shape, dim, keepdim):
    """The shape that is left of `shape`."""
    dims = as_dims(dim, len(shape))
    if keepdim:
        return tuple([1 if each in dims else size for each, size in enumerate(shape)])
    return tuple([size for each, size in enumerate(shape) if each not in dims])


def lies_along(kept, gone):
    """Whether neighbours in memory are neighbours in a row, rather than in a column."""
    return min(map(abs, gone[1]), default=1) <= min((abs(step) for step in kept[1] if step), default=1 << 62)


def is_wide(kept, gone):
    """Whether an offset can pass 2^31."""
    return needs_64_bits((*kept[0], *gone[0]), [(*kept[1], *gone[1])])


def launch_reduce(x, dim, result, compute, combine, identity, prepare=widen, finish=whole):
    """Reduce `dim` of an array to a flat array of dtype `result`, computing in `compute`, in stages where useful."""
    kept, gone = kept_and_gone(x, dim)
    columns = math.prod(gone[0])
    if columns == 0:
        gone = (0,), (0,)
    constants = {"COMBINE": combine, "FOLD": fold_by(combine), "IDENTITY": identity, "COMPUTE": triton_dtype(compute)}
    return _stage(x, kept, gone, columns, result, compute, prepare, finish, constants)


def _stage(x, kept, gone, number, result, compute, prepare, finish, constants):
    """One launch and, where it leaves parts of rows, the stages that combine those."""
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    fixed = {"PREPARE": prepare, "KEPT_RANK": len(kept[0]), "GONE_RANK": len(gone[0]), "WIDE": is_wide(kept, gone)}
    config = reduce_kernel.config(
        (x,), rows=rows, columns=columns, along=lies_along(kept, gone), itemsize=x.dtype.itemsize,
        COMBINE=constants["COMBINE"], COMPUTE=compute, FINISH=finish, RESULT=result, **fixed,
    )  # fmt: skip
    splits = config["SPLITS"]
    out = empty_like(x, (rows * splits,), compute if splits > 1 else result)
    if rows == 0:
        return out
    reduce_kernel[(cdiv(rows, config["ROWS"]), splits)](
        x, out, rows, columns, *kept, *gone, number, FINISH=finish if splits == 1 else whole, **fixed, **constants,
        **config,
    )  # fmt: skip
    if splits == 1:
        return out
    parts = ((rows,), (1,)), ((splits,), (rows,))
    return _stage(out, *parts, number, result, compute, widen, finish, constants)


def computed_in(dtype):
    """What elements of a NumPy dtype are combined in: 32 bits at least."""
    if dtype.kind in "fV":
        return np.dtype(np.float64) if dtype.itemsize == 8 else np.dtype(np.float32)
    return np.dtype(np.int64) if dtype.itemsize == 8 else np.dtype(np.int32)
