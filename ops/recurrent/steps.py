"""The time steps of a recurrent layer: where each lies in memory, and what launches share.

All steps lie one after another in a matrix, (rows of all steps, features): step t has `batch_sizes[t]` rows, which
never grow (PyTorch's packed sequences), so row b of a step goes on in row b of its neighbours. Where steps differ in
size, `places` says where things lie (see `places_of`); it is None where every step has the whole batch.
"""

from __future__ import annotations

import itertools
import warnings
from typing import NamedTuple

import numpy as np

from tritorch.autotune import cdiv, device_of, kernel
from tritorch.ops.layout import as_contiguous, empty_like
from tritorch.ops.matrix.kernel import dot_settings
from tritorch.ops.recurrent.tiles import APART
from tritorch.runtime import tl, transfer
from tritorch.runtime.kernel import Kernel


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


@kernel
def clear_kernel(arrivals, NUMBERS: tl.constexpr):
    """No program has arrived yet."""
    tl.store(arrivals + tl.program_id(0) * NUMBERS + tl.arange(0, NUMBERS), tl.zeros([NUMBERS], tl.int32))


_REFUSED = 720, 801  # CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, CUDA_ERROR_NOT_SUPPORTED


class Way(NamedTuple):
    """How a kernel is launched over all steps."""

    kernel: Kernel
    hidden: int  # units
    dtype: np.dtype  # of the weights
    inner: int  # terms of each sum
    gated: bool
    back: bool = False  # whether it gives gradients
    functions: dict = {}  # formulas of the kernel by name  # noqa: RUF012 - never changed


def launch_steps(way, arrays, starts, batch_sizes, reverse, others=()):
    """Run a kernel over all steps in time, or back where `reverse`: in one launch, or one for each step.

    In one launch, each program goes through all steps with its rows of the batch: with all hidden units, or beside
    others with the rest of them, which it meets between steps. `others` are the arrays of a second direction, in the
    same launch: where that does not fit, nothing runs. Gives whether all was run.
    """
    kernel, hidden, dtype, inner, gated, back, functions = way
    steps, batch, directions = len(batch_sizes), batch_sizes[0], 2 if others else 1
    dots, sizes = dot_settings(dtype)
    arrays = (*arrays, starts, *(others or [None] * len(arrays)))
    arrays = [None if each is None else as_contiguous(each) for each in arrays]
    aligned = hidden % 16 == 0 and not any(transfer.pointer(each) % 16 for each in arrays if each is not None)
    config = kernel.config(
        arrays, batch=directions * batch, hidden=hidden, itemsize=dtype.itemsize, tensor_cores=sizes["tensor_cores"],
        gated=gated, back=back, aligned=aligned, PRECISION=dots["PRECISION"], **functions,
    )  # fmt: skip
    options = dict(config) if back else config | {"ALIGNED": aligned}
    together, kept = options.pop("TOGETHER"), options.pop("KEPT")
    parts = cdiv(inner, config["DEPTH"]) if kept else 0
    down, across = directions * cdiv(batch, config["ROWS"]), cdiv(hidden, config["UNITS"])
    if directions > 1 and across > 1 and steps > 1 and down * across > device_of(arrays[0]).sms:
        return False
    origin, direction = (steps - 1, -1) if reverse else (0, 1)

    def launch(first, last, parts, arrivals=None, **more):
        kernel[(down, across)](
            *arrays, arrivals, steps, batch, hidden, origin, direction, first, last,
            ACCUMULATE=dots["ACCUMULATE"], PRECISION=dots["PRECISION"], PACKED=starts is not None,
            PARTS=parts, **functions, **options, **more,
        )  # fmt: skip

    if across == 1 or steps == 1:
        launch(0, steps, parts)
    elif not (together and _launched_together(launch, arrays[0], steps, parts, down)):
        if directions > 1:
            return False
        for step in range(steps):
            launch(step, step + 1, 0)
    return True


def launch_both(way, arrays, others, batch_sizes, reverse):
    """Run a kernel for two directions, the second the other way, over steps of the whole batch: at once if it fits."""
    if not launch_steps(way, arrays, None, batch_sizes, reverse, others):
        launch_steps(way, arrays, None, batch_sizes, reverse)
        launch_steps(way, others, None, batch_sizes, not reverse)


def _launched_together(launch, array, steps, parts, down):
    """Launch programs that meet after each step; gives whether the device took them."""
    arrivals = empty_like(array, (down, APART.value), np.dtype(np.int32))
    clear_kernel[(down,)](arrivals, NUMBERS=APART.value)
    try:
        launch(0, steps, parts, arrivals, launch_cooperative_grid=True)
    except RuntimeError as error:
        if getattr(error, "code", None) not in _REFUSED:
            raise
        warnings.warn(f"a recurrent layer takes a launch for each step: {error}", stacklevel=2)
        return False
    return True
