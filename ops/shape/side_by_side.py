"""Arrays copied side by side into one, many in a launch: each program copies a tile of one of them."""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.runtime import tl

_MOST = 16  # arrays of a launch: code grows with them


def tiles_default(device, *, rows, width):
    """Tiles of 2048 elements, as wide as the widest array; large ones interpreted."""
    most = 32768 if device.kind == "interpreter" else 2048
    columns = min(next_power_of_2(width), most)
    rows = min(next_power_of_2(rows), max(most // columns, 1))
    return {"ROWS": rows, "COLUMNS": columns, "num_warps": min(max(rows * columns // 256, 1), 8)}


def _shared_out(ROWS, COLUMNS, num_warps):
    """Two to 32 elements for each thread, of one warp fewer."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= 32 and (num_warps == 1 or each >= 2)


def _needed(ROWS, COLUMNS, rows, width):
    """No more rows and columns than there are, and threads along a row."""
    return ROWS <= next_power_of_2(rows) and min(next_power_of_2(width), 256) <= COLUMNS <= next_power_of_2(width)


TILE_SPACE = Space(ROWS=powers(1, 2048), COLUMNS=powers(1, 4096), num_warps=warps(1, 8), where=(_shared_out, _needed))


@kernel(space=TILE_SPACE, default=tiles_default, key=("COUNT",))
def side_by_side_kernel(
    out,  # what is written: (rows, out_width)
    arrays,  # tuple of what is read: (rows, widths[i]) by row_steps[i]
    rows,
    out_width,
    widths,  # of each array
    row_steps,  # likewise
    places,  # the column of `out` that each begins at
    starts,  # the first program of each
    COUNT: tl.constexpr,  # of arrays
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    here = tl.program_id(0)
    for i in tl.static_range(COUNT):
        blocks = (widths[i] + COLUMNS - 1) // COLUMNS
        number = here - starts[i]
        if (number >= 0) & (number < blocks * ((rows + ROWS - 1) // ROWS)):
            row = ((number // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
            column = ((number % blocks).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
            inside = (row < rows) & (column < widths[i])
            value = tl.load(arrays[i] + row * row_steps[i] + column, mask=inside)
            tl.store(out + row * out_width + places[i] + column, value, mask=inside)


def copy_side_by_side(out, dim, arrays, places):
    """Copy arrays into the contiguous `out`, each to where along `dim` it begins; those of one layout together."""
    inner = math.prod(out.shape[dim + 1 :])
    alike = []
    for array, place in zip(arrays, places, strict=True):
        step = _row_step(array, dim) if array.dtype == out.dtype else None
        if step is None:
            copy_elements(array, out[(*(slice(None),) * dim, slice(place, place + array.shape[dim]))])
        elif array.size:
            alike.append((array, step, array.shape[dim] * inner, place * inner))
    rows = math.prod(out.shape[:dim])
    for first in range(0, len(alike), _MOST):
        chosen, steps, widths, begins = zip(*alike[first : first + _MOST], strict=True)
        config = side_by_side_kernel.config((out, *chosen), rows=rows, width=max(widths), COUNT=len(chosen))
        starts, programs = [], 0
        for width in widths:
            starts.append(programs)
            programs += cdiv(width, config["COLUMNS"]) * cdiv(rows, config["ROWS"])
        side_by_side_kernel[(programs,)](
            out, chosen, rows, out.shape[dim] * inner, widths, steps, begins, tuple(starts), COUNT=len(chosen), **config
        )


def _row_step(array, dim):
    """How far apart the parts of an array are along the dimensions before `dim`; None where that is not one number, or
    a part has gaps."""
    shape, strides = array.shape, element_strides(array)
    reach = 1
    for at in range(array.ndim - 1, dim - 1, -1):
        if shape[at] != 1 and strides[at] != reach:
            return None
        reach *= shape[at]
    step = length = None
    for at in range(dim - 1, -1, -1):
        if shape[at] == 1:
            continue
        if step is None:
            step, length = strides[at], strides[at] * shape[at]
        elif strides[at] != length:
            return None
        else:
            length *= shape[at]
    return reach if step is None else step
