"""What the kernels of recurrent layers share: tiles of states and weights, their products, and how programs meet.

A program has rows of the batch and, of every gate, the same hidden units, over one step or over all. Over all steps it
needs the states of all units from the step before: either it has them all, or the programs that share its rows run at
once and meet after each step. Then the weights of its units, which no step changes, can stay in shared memory.
Source of the latter: Diamos et al., "Persistent RNNs: stashing recurrent weights on-chip", 2016.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.runtime import tl

APART = tl.constexpr(32)  # numbers between the counts of two tiles of rows, which many look at all the time


@kernel
def span(starts, step, steps, batch, PACKED: tl.constexpr):
    """The first row of a step and how many it has: none where there is no such step."""
    exists = (step >= 0) & (step < steps)
    if PACKED:
        first = tl.load(starts + step, mask=exists, other=0)
        size = tl.load(starts + step + 1, mask=exists, other=0) - first
    else:
        first = step.to(tl.int64) * batch
        size = tl.where(exists, batch, 0).to(tl.int64)
    return first, size


@kernel
def direction_of(batch, steps, origin, direction, ROWS: tl.constexpr):
    """Of a program of two directions: its tile of rows, whether it is of the second, and that one's order of steps."""
    down = tl.cdiv(batch, ROWS)
    is_second = tl.program_id(0) >= down
    return (
        tl.program_id(0) - is_second.to(tl.int32) * down, is_second,
        tl.where(is_second, steps - 1 - origin, origin), tl.where(is_second, -direction, direction),
    )  # fmt: skip


@kernel
def load_units(x, line, inside, ACCUMULATE: tl.constexpr):
    """A tile, zero outside, in what is computed in."""
    return tl.load(x + line, mask=inside, other=0).to(ACCUMULATE)


@kernel
def store_units(out, line, inside, value):
    """Write a tile, narrowed to the dtype of `out`."""
    tl.store(out + line, value.to(out.dtype.element_ty), mask=inside)


@kernel
def rows_before(output, other, other_size, first_hidden, row, hidden, ALIGNED: tl.constexpr):
    """Where the states lie that rows of a step start from."""
    # One offset that changes with the step: what does not would be held from step to step, for every load of a row.
    is_later = row < other_size
    state = tl.where(is_later, output, first_hidden) + (tl.where(is_later, other, 0) + row) * hidden
    if ALIGNED:  # which Triton 3.9 does not see
        state = tl.multiple_of(state, 16)
    return state


@kernel
def arrive(arrivals):
    """After a step: what a program wrote its own threads may read in the next, and so may those that `meet` it."""
    tl.debug_barrier()
    if arrivals is not None:
        tl.atomic_add(arrivals + tl.program_id(0) * APART, 1, sem="release")


@kernel
def meet(arrivals, steps):
    """Wait until all programs with the same rows have arrived as often as there were steps."""
    if arrivals is not None:
        arrivals += tl.program_id(0) * APART
        while tl.atomic_add(arrivals, 0, sem="acquire") < steps * tl.num_programs(1):
            pass
        tl.debug_barrier()


@kernel
def gate_columns(hidden, GATES: tl.constexpr, SLOTS: tl.constexpr, UNITS: tl.constexpr):
    """Where in the weights (GATES hidden, hidden) of a program's gates the columns begin, and which there are."""
    column = tl.arange(0, SLOTS * UNITS)
    unit = tl.program_id(1) * UNITS + column % UNITS
    return (column // UNITS * hidden + unit).to(tl.int64) * hidden, (unit < hidden) & (column < GATES * UNITS)


@kernel
def load_weights(
    weight, column, known, first, inner, inner_step, DEPTH: tl.constexpr, FLIPPED: tl.constexpr, SPLIT: tl.constexpr
):  # fmt: skip
    """DEPTH rows of a matrix from the `first` on, as `product` takes them; column c begins at `column[c]`."""
    weight += tl.full([], 1, tl.int64) * first * inner_step
    if SPLIT > 1:
        k = (tl.arange(0, SPLIT) * (DEPTH // SPLIT))[:, None] + tl.arange(0, DEPTH // SPLIT)[None, :]
        at, inside = weight + (k * inner_step)[:, :, None] + column[None, None, :], (first + k < inner)[:, :, None]
        found = tl.load(at, mask=inside & known[None, None, :], other=0)
    elif FLIPPED:
        k = tl.arange(0, DEPTH)
        at, inside = weight + (k * inner_step)[None, :] + column[:, None], (first + k < inner)[None, :]
        found = tl.load(at, mask=inside & known[:, None], other=0)
    else:
        k = tl.arange(0, DEPTH)
        at, inside = weight + (k * inner_step)[:, None] + column[None, :], (first + k < inner)[:, None]
        found = tl.load(at, mask=inside & known[None, :], other=0)
    return found


@kernel
def load_rows(row, known, first, inner, DEPTH: tl.constexpr, FLIPPED: tl.constexpr, SPLIT: tl.constexpr):
    """DEPTH elements of rows, from the `first` on, as `product` takes them; others wrote them in this launch."""
    if SPLIT > 1:
        k = first + (tl.arange(0, SPLIT) * (DEPTH // SPLIT))[:, None] + tl.arange(0, DEPTH // SPLIT)[None, :]
        at, inside = row[None, :, None] + k[:, None, :], (k < inner)[:, None, :] & known[None, :, None]
    elif FLIPPED:
        k = first + tl.arange(0, DEPTH)
        at, inside = row[None, :] + k[:, None], (k < inner)[:, None] & known[None, :]
    else:
        k = first + tl.arange(0, DEPTH)
        at, inside = row[:, None] + k[None, :], (k < inner)[None, :] & known[:, None]
    # What lies in a multiprocessor's own cache may be older than what others wrote.
    return tl.load(at, mask=inside, other=0, cache_modifier=".cg")


@kernel
def keep_weights(
    weight, column, known, inner, inner_step,
    PARTS: tl.constexpr, DEPTH: tl.constexpr, FLIPPED: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """All weights of a program, in PARTS tiles, which the compiler leaves in shared memory; none for PARTS of 0."""
    kept = ()
    for part in tl.static_range(PARTS):
        tile = load_weights(weight, column, known, part * DEPTH, inner, inner_step, DEPTH, FLIPPED, SPLIT)
        kept = kept + (tile,)  # type: ignore[assignment]  # noqa: RUF005 - Triton has no other way
    return kept


@kernel
def multiplied(
    row, weights, total, known, first, inner,
    PRECISION: tl.constexpr, DEPTH: tl.constexpr, FLIPPED: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """`total` with the product of DEPTH elements of rows and as many rows of weights."""
    rows = load_rows(row, known, first, inner, DEPTH, FLIPPED, SPLIT)
    if FLIPPED:
        left, right = weights, rows
    else:
        left, right = rows, weights
    return tl.dot(left, right, total, input_precision=PRECISION, out_dtype=total.dtype)


@kernel
def summed(total, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr):
    """The sum of SPLIT parts, 4 or 8: (SPLIT, ROWS, COLUMNS), of which each thread has a few numbers.

    Every warp would have all numbers of a reduction along the first axis, and would go on with all of them.
    """
    if SPLIT == 4:
        parts = tl.permute(tl.reshape(total, [2, 2, ROWS, COLUMNS]), (2, 3, 0, 1))
    else:
        parts = tl.permute(tl.reshape(total, [2, 2, 2, ROWS, COLUMNS]), (3, 4, 0, 1, 2))
    for _ in tl.static_range(SPLIT.bit_length() - 1):
        one, other = tl.split(parts)
        parts = one + other
    return parts


@kernel
def product(
    row, row_known, kept, weight, column, column_known, inner, inner_step,
    ACCUMULATE: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr,
    DEPTH: tl.constexpr, FLIPPED: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """The product of rows with a matrix: (ROWS, COLUMNS), or (COLUMNS, ROWS) where FLIPPED.

    FLIPPED lets few rows be multiplied by the instruction that takes 64 or more on its left. Else SPLIT groups of warps
    take a part of each sum each, where there are so few rows and columns that warps would have nothing to do.
    """
    if SPLIT > 1:
        total = tl.zeros([SPLIT, ROWS, COLUMNS], ACCUMULATE)
    elif FLIPPED:
        total = tl.zeros([COLUMNS, ROWS], ACCUMULATE)
    else:
        total = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
    if PARTS > 0:
        for part in tl.static_range(PARTS):
            total = multiplied(row, kept[part], total, row_known, part * DEPTH, inner, PRECISION, DEPTH, FLIPPED, SPLIT)
    else:
        for first in range(0, inner, DEPTH):
            tile = load_weights(weight, column, column_known, first, inner, inner_step, DEPTH, FLIPPED, SPLIT)
            total = multiplied(row, tile, total, row_known, first, inner, PRECISION, DEPTH, FLIPPED, SPLIT)
    if SPLIT > 1:
        total = summed(total, ROWS, COLUMNS, SPLIT)
    return total


@kernel
def upright(total, FLIPPED: tl.constexpr):
    """A product as (ROWS, COLUMNS)."""
    if FLIPPED:
        total = tl.trans(total)
    return total


@kernel
def gates_of(total, ROWS: tl.constexpr, UNITS: tl.constexpr, FLIPPED: tl.constexpr):
    """The four gates of units, each (ROWS, UNITS), of a product with the columns of one gate after those of another."""
    if FLIPPED:
        four = tl.permute(tl.reshape(total, [2, 2, UNITS, ROWS]), (3, 2, 0, 1))
    else:
        four = tl.permute(tl.reshape(total, [ROWS, 2, 2, UNITS]), (0, 3, 1, 2))
    even, odd = tl.split(four)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth
