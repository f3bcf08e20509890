"""The kernels that combine sorted rows going to one place: in chunks, then what runs over several chunks comes to.

Each lane of a program walks over a chunk of the sorted rows. A run that begins and ends in a chunk is written at once;
of one that goes on, each chunk keeps what its part comes to, and a second launch combines the parts in their order. So
a place that all rows go to, as padding tokens do, takes no longer than others, and nothing depends on scheduling.
"""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.pointwise.family import offsets_of
from tritorch.runtime import tl

AT_ONCE = 8  # rows that a lane asks for before it combines them
JOINED = 2048  # elements of the parts of a run that are combined at once


def runs_default(device, *, count, width):
    """Threads along the row where it is wide, along chunks where it is narrow; short chunks while the GPU has room."""
    if device.kind == "interpreter":
        columns = min(next_power_of_2(width), 1024)
        lanes = min(next_power_of_2(cdiv(count, 4 * AT_ONCE)), max(65536 // columns, 1))
        return {"LANES": lanes, "COLUMNS": columns, "STEPS": AT_ONCE, "num_warps": 4}
    columns = min(next_power_of_2(width), 256)
    lanes, steps = max(256 // columns, 1), AT_ONCE
    while steps < 64 and cdiv(count, 2 * steps * lanes) * cdiv(width, columns) >= 4 * device.sms:
        steps *= 2
    return {"LANES": lanes, "COLUMNS": columns, "STEPS": steps, "num_warps": 2}


def _shared_out(LANES, COLUMNS, num_warps):
    """One to eight elements for each thread, which holds several rows of them."""
    return 32 * num_warps <= LANES * COLUMNS <= 256 * num_warps


def _in_lines(COLUMNS, width):
    """Threads along a row where it is wide."""
    return min(next_power_of_2(width), 32) <= COLUMNS <= next_power_of_2(width)


def _filled(LANES, COLUMNS, STEPS, count):
    """No more rows than there are, but for a block that fills a few warps."""
    return LANES * COLUMNS <= max(next_power_of_2(count) * COLUMNS, 256) and (
        STEPS == AT_ONCE or STEPS * LANES < 2 * count
    )


RUNS_SPACE = Space(
    LANES=powers(1, 256), COLUMNS=powers(1, 1024), STEPS=powers(AT_ONCE, 64), num_warps=warps(1, 8),
    where=(_shared_out, _in_lines, _filled),
)  # fmt: skip


@kernel(space=RUNS_SPACE, default=runs_default, key=("COMBINE", "RANK", "FRESH"))
def run_kernel(
    out,  # where rows go: number k to `k * place_step`, their elements by `shape` and `strides`
    rows,  # what is combined: (count, width), contiguous
    places,  # the number that each row goes to, sorted; `bound` and more for none: (count,)
    order,  # which row that is: (count,)
    touched,  # which numbers any row goes to, uint8: (bound,); None where `out` has values
    heads,  # what a chunk's part of a run that began before it comes to: (chunks, width)
    tails,  # what a chunk's part of a run that goes on after it comes to, if it began there: (chunks, width)
    count,
    width,
    bound,
    chunks,
    place_step,
    shape,
    strides,
    COMBINE: tl.constexpr,  # of two values
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    FRESH: tl.constexpr,  # `out` has no values yet: rows are not combined with them, and others are zero
    BARE: tl.constexpr,  # elements of these other rows, for each program
    AT_ONCE: tl.constexpr,
    LANES: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEPS: tl.constexpr,
):
    block = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    out += offsets_of(column, shape, strides, 0, RANK)
    summing = (chunks + LANES - 1) // LANES
    if block < summing:
        lane = block * LANES + tl.arange(0, LANES)[:, None]
        first = lane * STEPS
        before = tl.load(places + first - 1, mask=(first > 0) & (first < count), other=-1)
        key = tl.load(places + first, mask=first < count, other=bound)
        began = key != key
        total = tl.zeros([LANES, COLUMNS], COMPUTE)
        for start in range(0, STEPS, AT_ONCE):
            values, keys = (), (key,)
            for step in tl.static_range(AT_ONCE):
                at = first + start + step
                known = (at < count) & (keys[step] < bound)
                source = tl.load(order + at, mask=known, other=0).to(tl.int64)
                value = tl.load(rows + source * width + column, mask=known & (column < width), other=0)
                values = values + (value.to(COMPUTE),)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
                following = tl.load(places + at + 1, mask=at + 1 < count, other=bound)
                keys = keys + (following,)  # type: ignore  # noqa: RUF005
            for step in tl.static_range(AT_ONCE):
                new = keys[step] != before
                began = began | new
                alone = new | (start + step == 0)
                total = tl.where(alone, values[step], COMBINE(total, values[step]))
                ends = (keys[step] < bound) & (keys[step + 1] != keys[step])
                target = out + keys[step].to(tl.int64) * place_step
                whole = ends & began & (column < width)
                result = total
                if not FRESH:
                    result = COMBINE(tl.load(target, mask=whole, other=0).to(COMPUTE), total)
                tl.store(target, result.to(out.dtype.element_ty), mask=whole)
                tl.store(heads + lane * width + column, total, mask=ends & (began == 0) & (column < width))
                before = keys[step]
            key = keys[AT_ONCE]
        goes_on = (key < bound) & (key == before) & (column < width)
        tl.store(heads + lane * width + column, total, mask=goes_on & (began == 0))
        tl.store(tails + lane * width + column, total, mask=goes_on & began)
    elif FRESH:
        number = (block - summing) * (BARE // COLUMNS) + tl.arange(0, BARE // COLUMNS)[:, None]
        bare = tl.load(touched + number, mask=number < bound, other=1) == 0
        zero = tl.zeros([BARE // COLUMNS, COLUMNS], out.dtype.element_ty)
        tl.store(out + number * place_step, zero, mask=bare & (column < width))


@kernel
def join_kernel(
    out,  # as above
    places,
    heads,
    tails,
    count,
    width,
    bound,
    place_step,
    shape,
    strides,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,  # the parts of a tile to one
    IDENTITY: tl.constexpr,  # what changes nothing when it is combined
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    FRESH: tl.constexpr,
    STEPS: tl.constexpr,  # rows of a chunk
    PARTS: tl.constexpr,  # that are combined at once
    COLUMNS: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    end = (chunk + 1) * STEPS
    place = tl.load(places + end - 1)
    goes_on = (place < bound) & (tl.load(places + end) == place)
    if chunk > 0:
        goes_on = goes_on & (tl.load(places + chunk * STEPS - 1) != place)
    if goes_on:
        inside = column < width
        total = tl.load(tails + chunk * width + column, mask=inside, other=0)
        # The first chunk that does not begin with this place: a loop over numbers only, which every Triton compiles.
        last, high = chunk + 1, (chunk * 0 + count + STEPS - 1) // STEPS
        while last < high:
            middle = (last + high) // 2
            same = tl.load(places + middle * STEPS) == place
            last = tl.where(same, middle + 1, last)
            high = tl.where(same, high, middle)
        for first in range(chunk + 1, last, PARTS):
            part = first + tl.arange(0, PARTS)
            there = (part < last)[None, :] & inside[:, None]
            tile = tl.load(heads + part[None, :] * width + column[:, None], mask=there, other=IDENTITY)
            total = COMBINE(total, FOLD(tile))
        target = out + place.to(tl.int64) * place_step + offsets_of(column, shape, strides, 0, RANK)
        if not FRESH:
            total = COMBINE(tl.load(target, mask=inside, other=0).to(COMPUTE), total)
        tl.store(target, total.to(out.dtype.element_ty), mask=inside)
