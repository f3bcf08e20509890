"""Images whose channels lie innermost, of others: a tile is read along one of the two and written along the other."""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, choices, kernel, next_power_of_2, powers
from tritorch.ops.layout import as_contiguous, element_strides, empty_like
from tritorch.runtime import tl
from tritorch.runtime.transfer import is_contiguous


def turn_default(device, *, rows, columns):
    """Tiles of 64 by 64."""
    most = 1024 if device.kind == "interpreter" else 64
    return {"ROWS": min(next_power_of_2(rows), most), "COLUMNS": min(next_power_of_2(columns), most), "num_warps": 4}


def _tile(ROWS, COLUMNS, num_warps, rows, columns):
    """Up to 64 elements a thread, of no more rows and columns than there are."""
    return (
        ROWS * COLUMNS <= 64 * 32 * num_warps and ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)
    )


@kernel(
    space=Space(
        ROWS=powers(1, 1024, default=64), COLUMNS=powers(1, 1024, default=64), num_warps=choices(4, 8, default=4),
        where=_tile,
    ),
    default=turn_default,
)  # fmt: skip
def turn_kernel(
    x,  # contiguous: (batch, rows, columns)
    out,  # contiguous: (batch, columns, rows)
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    tile = tl.program_id(0) % (down * across)
    first = (tl.program_id(0) // (down * across)).to(tl.int64) * rows * columns
    row = (tile // across * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = (tile % across * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)
    value = tl.load(
        x + first + row[:, None] * columns + column[None, :], mask=(row < rows)[:, None] & (column < columns)[None, :]
    )
    tl.store(
        out + first + column[:, None] * rows + row[None, :], value.T,
        mask=(column < columns)[:, None] & (row < rows)[None, :],
    )  # fmt: skip


def _turned(x, batch, rows, columns, shape):
    out = empty_like(x, shape)
    if out.size:
        config = turn_kernel.config((x, out), rows=rows, columns=columns)
        tiles = cdiv(rows, config["ROWS"]) * cdiv(columns, config["COLUMNS"])
        turn_kernel[(batch * tiles,)](x, out, rows, columns, **config)
    return out


def innermost(array):
    """The view of (images, channels, *size) as (images, *size, channels)."""
    return array.transpose((0, *range(2, array.ndim), 1))


def outermost(array):
    """The view of (images, *size, channels) as (images, channels, *size)."""
    return array.transpose((0, array.ndim - 1, *range(1, array.ndim - 1)))


def channels_last(array):
    """The same elements, channels innermost and without gaps: the array itself where they lie so."""
    if is_contiguous(innermost(array)):
        return array
    array = as_contiguous(array)
    images, channels, *size = array.shape
    return outermost(_turned(array, images, channels, math.prod(size), (images, *size, channels)))


def channels_first(array):
    """The same elements in the order of indices, of an array whose channels lie innermost and without gaps."""
    if is_contiguous(array):
        return array
    images, channels, *size = array.shape
    return _turned(innermost(array), images, math.prod(size), channels, array.shape)


def channels_packed(array):
    """Whether the channels of an array lie next to each other."""
    return array.shape[1] == 1 or element_strides(array)[1] == 1
