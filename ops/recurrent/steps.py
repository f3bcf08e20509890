"""The time steps of a recurrent layer: where each lies in memory, and what launches share.

All steps lie one after another in a matrix, (rows of all steps, features): step t has `batch_sizes[t]` rows, which
never grow (PyTorch's packed sequences), so row b of a step goes on in row b of its neighbours. Where steps differ in
size, `places` says where things lie (see `places_of`); it is None where every step has the whole batch.
"""

from __future__ import annotations

import itertools

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, stages, warps
from tritorch.ops.layout import as_contiguous
from tritorch.ops.matrix.kernel import dot_settings
from tritorch.runtime import tl


def walk(batch_sizes, reverse):
    """The rows of each step, as a slice, in the order in which a layer takes them."""
    ends = list(itertools.accumulate(batch_sizes))
    found = [slice(end - size, end) for end, size in zip(ends, batch_sizes, strict=True)]
    return found[::-1] if reverse else found


def places_of(batch_sizes, reverse):
    """Where steps begin and the last ends; for each row of all steps, its state before among (first states, states);

    and the row of the first step of each row of the batch: one array of int64, or None where all steps are alike.
    """
    batch = batch_sizes[0]
    if all(size == batch for size in batch_sizes):
        return None
    before, first = np.empty(sum(batch_sizes), np.int64), np.empty(batch, np.int64)
    starts = np.cumsum([0, *batch_sizes])
    there, there_size = 0, 0
    for rows in walk(batch_sizes, reverse):
        row = np.arange(rows.stop - rows.start)
        goes_on = row < there_size
        before[rows] = np.where(goes_on, batch + there + row, row)
        first[row[~goes_on]] = rows.start + row[~goes_on]
        there, there_size = rows.start, len(row)
    return np.concatenate((starts, before, first))


def with_places(op, *arguments):
    """The arguments of a recurrent op with the places that its batch sizes give, where it has places."""
    at = op.names.index("places")
    if arguments[at] is None:
        return arguments
    return *arguments[:at], places_of(*arguments[at + 1 : at + 3]), *arguments[at + 1 :]


def states_before(join, first, states, batch_sizes, reverse, places):
    """For each row of all steps the state that it starts from: arrays with np.concatenate as `join`, or Tensors."""
    batch, steps = batch_sizes[0], len(batch_sizes)
    if places is not None:
        return join((first, states))[places[steps + 1 : steps + 1 + states.shape[0]]]
    return join((states[batch:], first)) if reverse else join((first, states[: batch * (steps - 1)]))


def at_first_steps(rows, batch_sizes, reverse, places):
    """Of rows of all steps, those of the first step of each row of the batch."""
    batch = batch_sizes[0]
    if not reverse:
        return rows[:batch]
    return rows[rows.shape[0] - batch :] if places is None else rows[places[places.shape[0] - batch :]]


def plus(join, whole, part):
    """`whole` with the rows of `part` added to its first ones."""
    count = part.shape[0]
    return whole + part if count == whole.shape[0] else join((whole[:count] + part, whole[count:]))


def back_through_time(step, batch_sizes, reverse, join):
    """The results of step(rows, state) of all steps, last first, as a matrix; and the states left at the first ones.

    A state is what a step gives to the one before it, a list with no more rows than that has; None at the last.
    """
    found, state, left = {}, None, []
    for rows in reversed(walk(batch_sizes, reverse)):
        size = rows.stop - rows.start
        if state is not None and state[0].shape[0] > size:
            left.append([each[size:] for each in state])
            state = [each[:size] for each in state]
        found[rows.start], state = step(rows, state)
    left.append(state)
    whole = join([found[start] for start in sorted(found)])
    return whole, [join(parts[::-1]) for parts in zip(*left, strict=True)]


_ONE_LAUNCH = 128  # hidden units up to which a program goes through all steps, with all units of its rows


def steps_default(device, *, batch, hidden, tensor_cores=False):
    """Tiles of rows by hidden units, DEPTH of whose products are summed at a time."""
    if device.kind == "interpreter":
        side = max(16, min(next_power_of_2(hidden), 256))
        return {"ROWS": max(16, next_power_of_2(batch)), "UNITS": side, "DEPTH": side, "num_warps": 4, "num_stages": 1}
    rows = 16 if batch <= 64 or not tensor_cores else 32
    units = 16 if hidden <= 16 else 32
    depth = min(32, max(16, next_power_of_2(hidden)))  # more of rows that are not aligned do not fit the registers
    return {"ROWS": rows, "UNITS": units, "DEPTH": depth, "num_warps": 4, "num_stages": 1}


def _no_larger(ROWS, UNITS, DEPTH, batch, hidden):
    """Tiles of the rows and units there are."""
    width = max(16, next_power_of_2(hidden))
    return max(16, next_power_of_2(batch)) >= ROWS and width >= UNITS and width >= DEPTH


def _operands_in_registers(ROWS, UNITS, DEPTH, num_warps):
    """Rows are not aligned: what is multiplied passes through registers."""
    return (ROWS + UNITS) * DEPTH <= 32 * 32 * num_warps


def _sums_in_registers(ROWS, UNITS, num_warps, tensor_cores):
    """Up to four gates with a sum each, and what they are made of."""
    return ROWS * UNITS <= (16 if tensor_cores else 8) * 32 * num_warps


def _warps_have_work(ROWS, UNITS, num_warps):
    return num_warps <= 4 or ROWS * UNITS >= 1024


def _stages_have_loops(DEPTH, num_stages, hidden):
    return num_stages == 1 or num_stages * DEPTH <= next_power_of_2(hidden)


STEPS_SPACE = Space(
    ROWS=powers(16, 64, default=16), UNITS=powers(16, 64, default=32), DEPTH=powers(16, 128, default=32),
    num_warps=warps(2, 8), num_stages=stages(1, 3, default=1),
    where=(_no_larger, _operands_in_registers, _sums_in_registers, _warps_have_work, _stages_have_loops),
)  # fmt: skip


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
def weighed(
    x, x_inside, other, other_inside, weight, unit, unit_inside, unit_step, inner, inner_step,
    ACCUMULATE: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The product of rows with a matrix: a row is read at `x`, or at `other`, or is zero.

    Element k of unit u of the matrix lies at `u unit_step + k inner_step`.
    """
    total = tl.zeros([ROWS, UNITS], ACCUMULATE)
    for first in range(0, inner, DEPTH):
        k = first + tl.arange(0, DEPTH)
        k_inside = k < inner
        left = tl.load(x[:, None] + k[None, :], mask=x_inside[:, None] & k_inside[None, :], other=0)
        if other is not None:
            # Where one is read the other is zero.
            left += tl.load(other[:, None] + k[None, :], mask=other_inside[:, None] & k_inside[None, :], other=0)
        right = tl.load(
            weight + (unit * unit_step)[None, :] + (k * inner_step)[:, None],
            mask=unit_inside[None, :] & k_inside[:, None], other=0,
        )  # fmt: skip
        total = tl.dot(left, right, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
    return total


@kernel
def load_units(x, line, inside, ACCUMULATE: tl.constexpr):
    """A tile, zero outside, in what is computed in."""
    return tl.load(x + line, mask=inside, other=0).to(ACCUMULATE)


@kernel
def store_units(out, line, inside, value):
    """Write a tile, narrowed to the dtype of `out`."""
    tl.store(out + line, value.to(out.dtype.element_ty), mask=inside)


def launch_steps(kernel, arrays, starts, batch_sizes, hidden, reverse, dtype, **functions):
    """Run a kernel over all steps in time, or back where `reverse`: in one launch, or one for each step.

    In one launch a program goes through all steps with its rows of the batch and all hidden units. In many, a program
    has a tile of rows and units of one step.
    """
    steps, batch = len(batch_sizes), batch_sizes[0]
    dots, sizes = dot_settings(dtype)
    arrays = [None if each is None else as_contiguous(each) for each in (*arrays, starts)]
    config = kernel.config(
        arrays, batch=batch, hidden=hidden, tensor_cores=sizes["tensor_cores"], PRECISION=dots["PRECISION"], **functions
    )
    down, across = cdiv(batch, config["ROWS"]), cdiv(hidden, config["UNITS"])
    together = hidden <= _ONE_LAUNCH or config["UNITS"] >= hidden
    origin, direction = (steps - 1, -1) if reverse else (0, 1)
    for first, last in [(0, steps)] if together else itertools.pairwise(range(steps + 1)):
        kernel[(down, 1 if together else across)](
            *arrays, steps, batch, hidden, origin, direction, first, last,
            ACCUMULATE=dots["ACCUMULATE"], PRECISION=dots["PRECISION"], PACKED=arrays[-1] is not None,
            ACROSS=across if together else 1, **functions, **config,
        )  # fmt: skip
