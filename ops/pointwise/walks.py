"""How a kernel walks over arrays under one shape: flat, element by element, or in tiles of two of their dimensions.

Flat, an array that is contiguous is read by the number of an element, and for others that number is divided by sizes.
In tiles nothing is divided for an element. Columns are the dimension in which the result is contiguous. Rows are the
one in which an operand that is transposed is contiguous, so that what is read and what is written go along memory
(Triton turns the tile in shared memory), else the one before; the other dimensions are the number of a tile. What is
repeated along rows or columns is read once for all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import needs_64_bits
from tritorch.runtime import tl
from tritorch.runtime.strides import contiguous_strides

LEAST_COLUMNS = 32  # with fewer, what lies flat is better read flat
LEAST_CROSSED = 16  # rows and columns, where an operand is transposed


class Flat(NamedTuple):
    """A walk element by element under merged dimensions; of the strides, the first are the result's."""

    shape: tuple[int, ...]
    strides: list[tuple[int, ...]]

    @property
    def tiled(self):
        """Whether the kernel of tiles takes it."""
        return False

    @property
    def facts(self):
        """What kernels are compiled by; in FLAT and SINGLE, bit i stands for array i."""
        whole = contiguous_strides(self.shape, 1)
        flat = sum(1 << at for at, own in enumerate(self.strides) if own == whole)
        single = sum(1 << at for at, own in enumerate(self.strides) if not any(own)) & ~flat
        rank = 0 if flat | single == (1 << len(self.strides)) - 1 else len(self.shape)
        odd, wide = self.sizes["count"] % 16 != 0, needs_64_bits(self.shape, self.strides)
        return {"RANK": rank, "FLAT": flat, "SINGLE": single, "ODD": odd, "WIDE": wide}

    @property
    def sizes(self):
        return {"count": math.prod(self.shape)}

    def arguments(self, facts):
        """What kernels take behind the arrays."""
        layout = (self.shape, sum(self.strides, ())) if facts["RANK"] else ((), ())
        return self.sizes["count"], *layout

    def grid(self, config):
        return (cdiv(self.sizes["count"], config["BLOCK"]),)


class Tiles(NamedTuple):
    """A walk in tiles; strides are those of the outer dimensions, then of rows and columns, first the result's."""

    outer: tuple[int, ...]  # sizes
    rows: int
    columns: int
    strides: list[tuple[int, ...]]
    crossed: bool  # whether an array is contiguous along rows

    @property
    def tiled(self):
        """Whether the kernel of tiles takes it."""
        return True

    @property
    def facts(self):
        """What kernels are compiled by; in STILL_ROWS and STILL_COLUMNS, bit i stands for array i."""
        reach = [abs(row) * (self.rows - 1) + abs(column) * (self.columns - 1) for *_, row, column in self.strides]
        return {
            "RANK": len(self.outer) + 2, "STILL_ROWS": self._still(-2), "STILL_COLUMNS": self._still(-1),
            "WIDE": max(reach) >= 2**31,
        }  # fmt: skip

    def _still(self, at):
        return sum(1 << number for number, own in enumerate(self.strides) if own[at] == 0)

    @property
    def sizes(self):
        outer = math.prod(self.outer)
        return {"outer": outer, "rows": self.rows, "columns": self.columns, "crossed": self.crossed}

    def arguments(self, facts):
        """What kernels take behind the arrays."""
        return self.outer, self.rows, self.columns, sum(self.strides, ())

    def grid(self, config):
        down, across = cdiv(self.rows, config["ROWS"]), cdiv(self.columns, config["COLUMNS"])
        return (math.prod(self.outer) * down * across,)


def walk_of(shape, strides):
    """How to walk under merged dimensions; the first strides are the result's."""
    rank = len(shape)
    if rank < 2:
        return Flat(shape, strides)
    turned = [dim for own in strides for dim in range(rank - 1) if own[dim] == 1 and own[-1] not in (0, 1)]
    crossed = bool(turned) and min(shape[turned[0]], shape[-1]) >= LEAST_CROSSED
    if not crossed and shape[-1] < LEAST_COLUMNS:
        return Flat(shape, strides)
    row = turned[0] if crossed else rank - 2
    order = [dim for dim in range(rank - 1) if dim != row] + [row, rank - 1]
    steps = [tuple([own[dim] for dim in order]) for own in strides]
    return Tiles(tuple([shape[dim] for dim in order[:-2]]), shape[row], shape[-1], steps, crossed)


def widest(arrays):
    """The size of the largest element of arrays, some of which may be None."""
    return max(each.dtype.itemsize for each in arrays if each is not None)


def tile_default(device, *, outer, rows, columns, crossed, itemsize=4):
    """8 KiB a tile and at least 8 waves where there is enough to do, wide unless an array is read across."""
    if device.kind == "interpreter":
        width = min(next_power_of_2(columns), 4096)
        return {"ROWS": min(next_power_of_2(cdiv(rows, 2)), 65536 // width, 256), "COLUMNS": width, "num_warps": 4}
    tile = min(8192 // itemsize, 4096)
    width = min(next_power_of_2(columns), 64 if crossed else 512)
    while not crossed and width > 128 and cdiv(columns, width) * width > columns + columns // 8:
        width //= 2
    height, least = min(next_power_of_2(rows), tile // width, 256), max(32 if crossed else 1, 256 // width)
    while height > least and outer * cdiv(rows, height) * cdiv(columns, width) < 8 * device.sms:
        height //= 2
    each = max(height * width * itemsize // 512, 1)
    return {"ROWS": height, "COLUMNS": width, "num_warps": min(1 << each.bit_length() - 1, 8)}


def _shared_out(ROWS, COLUMNS, num_warps):
    """Up to 32 elements for each thread, and one for each at least unless a single warp is too many."""
    return ROWS * COLUMNS <= 32 * 32 * num_warps and (num_warps == 1 or ROWS * COLUMNS >= 32 * num_warps)


def _needed(ROWS, COLUMNS, rows, columns):
    """A tile no larger than what there is."""
    return ROWS <= next_power_of_2(rows) and COLUMNS <= next_power_of_2(columns)


def _in_lines(ROWS, COLUMNS, rows, columns, crossed):
    """Whether a tile goes so far along memory that whole lines of the caches are read."""
    across = COLUMNS >= min(next_power_of_2(columns), 32)
    return across and (not crossed or ROWS >= min(next_power_of_2(rows), 16))


TILE_SPACE = Space(
    ROWS=powers(1, 256), COLUMNS=powers(1, 4096, default=256), num_warps=warps(1, 8),
    where=(_shared_out, _needed, _in_lines),
)  # fmt: skip


@kernel
def far_offset(outer, shape, strides, FIRST: tl.constexpr, RANK: tl.constexpr):
    """Where the tiles of number `outer` of an array begin, in 64 bits, by `strides[FIRST : FIRST + RANK]`."""
    offset = tl.zeros([], tl.int64)
    for k in tl.static_range(RANK):
        if k < RANK - 1:
            offset += (outer % shape[RANK - 1 - k]).to(tl.int64) * strides[FIRST + RANK - 1 - k]
            outer = outer // shape[RANK - 1 - k]
        else:
            offset += outer.to(tl.int64) * strides[FIRST]
    return offset


@kernel
def place_of(pointer, outer, row, column, shape, strides, AT: tl.constexpr, RANK: tl.constexpr):
    """Pointers to a tile of array number AT, for rows and columns under which it has RANK dimensions."""
    begin = pointer + far_offset(outer, shape, strides, AT * RANK, RANK - 2)
    return begin + row * strides[AT * RANK + RANK - 2] + column * strides[AT * RANK + RANK - 1]


@kernel
def load_tile(
    pointer, outer, row, column, rows, columns, shape, strides, AT: tl.constexpr, RANK: tl.constexpr,
    STILL_ROWS: tl.constexpr, STILL_COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of array number AT; bit AT of the switches tells whether one row, one column stands for all."""
    inside = (row < rows) & (column < columns)
    if STILL_ROWS & STILL_COLUMNS & (1 << AT):
        value = tl.load(pointer + far_offset(outer, shape, strides, AT * RANK, RANK - 2))
        value = tl.full(inside.shape, value, value.dtype)
    elif STILL_ROWS & (1 << AT):
        place = place_of(pointer, outer, tl.zeros([1, 1], tl.int32), column, shape, strides, AT, RANK)
        value = tl.load(place, mask=column < columns, other=0)
    elif STILL_COLUMNS & (1 << AT):
        place = place_of(pointer, outer, row, tl.zeros([1, 1], tl.int32), shape, strides, AT, RANK)
        value = tl.load(place, mask=row < rows, other=0)
    else:
        value = tl.load(place_of(pointer, outer, row, column, shape, strides, AT, RANK), mask=inside, other=0)
    return tl.broadcast_to(value, inside.shape)


@kernel
def tile_number(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """The outer number, the rows and the columns of this program's tile."""
    across, down = tl.cdiv(columns, COLUMNS), tl.cdiv(rows, ROWS)
    tile = tl.program_id(0)
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    first_row, first_column = (tile // across) % down * ROWS, tile % across * COLUMNS
    if WIDE:
        return tile // across // down, first_row.to(tl.int64) + row, first_column.to(tl.int64) + column
    return tile // across // down, first_row + row, first_column + column
