"""The kernels of indexing: picked elements read or written, one by one or by rows, and the numbers of their places."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.pointwise.family import block_space, offsets_of, pointwise_default
from tritorch.runtime import tl


@kernel
def picked_offset(index, inside, indices, shape, strides, sizes, steps,
            KEYS: tl.constexpr, RANK: tl.constexpr, WRAPS: tl.constexpr):  # fmt: skip
    """The offset of the picked element, where its other dimensions put it plus a step for each index tensor; whether
    all its positions are inside. What is outside is left alone, and stops a kernel built for debugging."""
    place = offsets_of(index, shape, strides, 0, RANK)
    for k in tl.static_range(KEYS):
        at = tl.load(indices[k] + offsets_of(index, shape, strides, (k + 1) * RANK, RANK), mask=inside, other=0)
        at = at.to(tl.int64)
        if WRAPS:
            at = tl.where(at < 0, at + sizes[k], at)
        valid = (at >= 0) & (at < sizes[k])
        tl.device_assert(valid, "index out of bounds", mask=inside)
        place += at * steps[k]
        inside = inside & valid
    return place, inside


@kernel(space=block_space(), default=pointwise_default, key=("PUT", "RANK", "WRAPS", "WIDE"))
def move_kernel(
    plain,  # the elements in the order of the result: `shape` by the last RANK strides
    picked,  # where they are picked from or put: `shape` by the first RANK strides, plus steps by index
    indices,  # tuple of int64 or int32: `shape` by their strides
    count,
    shape,
    strides,
    sizes,  # of the dimensions that are indexed
    steps,  # the stride of each in `picked`
    PUT: tl.constexpr,  # write to `picked` instead of reading
    KEYS: tl.constexpr,
    RANK: tl.constexpr,
    WRAPS: tl.constexpr,  # negative positions count from the end
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    place, valid = picked_offset(index, inside, indices, shape, strides, sizes, steps, KEYS, RANK, WRAPS)
    there = picked + place
    here = plain + offsets_of(index, shape, strides, (KEYS + 1) * RANK, RANK)
    if PUT:
        tl.store(there, tl.load(here, mask=valid).to(picked.dtype.element_ty), mask=valid)
    else:
        tl.store(here, tl.load(there, mask=valid, other=0), mask=inside)


def rows_default(device, *, count, width):
    """Tiles of 2048 elements, smaller until the GPU is full, as wide as leaves few threads idle; large interpreted."""
    columns = min(next_power_of_2(width), 1024)
    if device.kind == "interpreter":
        rows = min(next_power_of_2(cdiv(count, 4)), 65536 // columns)
        return {"ROWS": rows, "COLUMNS": columns, "num_warps": 4}
    while columns > 256 and cdiv(width, columns) * columns > 1.07 * width:
        columns //= 2
    rows = min(max(2048 // columns, 1), 64, next_power_of_2(count))
    while rows * columns > 512 and rows > 1 and cdiv(count, rows) * cdiv(width, columns) < 8 * device.sms:
        rows //= 2
    return {"ROWS": rows, "COLUMNS": columns, "num_warps": min(max(rows * columns // 256, 1), 8)}


def _rows_shared_out(ROWS, COLUMNS, num_warps):
    """Two to 32 elements for each thread, of one warp fewer."""
    each = ROWS * COLUMNS // (32 * num_warps)
    return each <= 32 and (num_warps == 1 or each >= 2)


def _rows_needed(ROWS, COLUMNS, count, width):
    """No more rows and columns than there are, and threads along a row."""
    return ROWS <= next_power_of_2(count) and min(next_power_of_2(width), 256) <= COLUMNS <= next_power_of_2(width)


ROWS_SPACE = Space(
    ROWS=powers(1, 64), COLUMNS=powers(1, 2048), num_warps=warps(1, 8), where=(_rows_shared_out, _rows_needed)
)


@kernel(space=ROWS_SPACE, default=rows_default, key=("PUT", "RANK", "WRAPS", "WIDE"))
def move_rows_kernel(
    plain,  # rows in the order of the result: `shape` by the last RANK strides, elements `plain_step` apart
    picked,  # where they are picked from or put: `shape` by the first RANK strides, plus steps by index
    indices,  # tuple of int64 or int32: `shape` by their strides
    count,  # of rows
    width,
    shape,
    strides,
    sizes,  # of the dimensions that are indexed
    steps,  # the stride of each in `picked`
    plain_step,
    picked_step,
    PUT: tl.constexpr,  # write to `picked` instead of reading
    KEYS: tl.constexpr,
    RANK: tl.constexpr,
    WRAPS: tl.constexpr,  # negative positions count from the end
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    index = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    known = index < count
    place, valid = picked_offset(index, known, indices, shape, strides, sizes, steps, KEYS, RANK, WRAPS)
    there = picked + place[:, None] + column * picked_step
    here = plain + offsets_of(index, shape, strides, (KEYS + 1) * RANK, RANK)[:, None] + column * plain_step
    inside = valid[:, None] & (column < width)
    if PUT:
        tl.store(there, tl.load(here, mask=inside).to(picked.dtype.element_ty), mask=inside)
    else:
        tl.store(here, tl.load(there, mask=inside, other=0), mask=known[:, None] & (column < width))


@kernel(space=block_space(), default=pointwise_default, key=("RANK", "WRAPS"))
def places_kernel(
    out,  # the number of each picked element's place, `bound` for one outside: (count,)
    touched,  # becomes 1 for each number there is, uint8: (bound,); or None
    indices,  # tuple of int64 or int32: `shape` by their strides
    count,
    bound,
    padding,  # a number that counts as outside, or -1
    shape,
    strides,
    sizes,
    steps,
    KEYS: tl.constexpr,
    RANK: tl.constexpr,
    WRAPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    place, valid = picked_offset(index, inside, indices, shape, strides, sizes, steps, KEYS, RANK, WRAPS)
    valid = valid & (place != padding)
    tl.store(out + index, tl.where(valid, place, bound).to(out.dtype.element_ty), mask=inside)
    if touched is not None:
        tl.store(touched + place, tl.full([BLOCK], 1, tl.uint8), mask=valid)  # by whichever: all write the same
