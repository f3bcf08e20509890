"""The gradient kernels of recurrent layers: back through the steps, each from the one that was worked on before it.

They give the gradient by what enters the activations of each step, from which those of weights are matrix products over
all steps, and what is left at the first step of each row.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.formula import tanh
from tritorch.ops.recurrent.steps import STEPS_SPACE, load_units, span, steps_default, store_units, weighed
from tritorch.runtime import tl


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION", "SLOPE"))
def rnn_gradient_kernel(
    grad_output,  # of the states: (rows of all steps, hidden)
    output,  # states: (rows of all steps, hidden)
    weight,  # of the states: (hidden, hidden)
    out,  # the gradient by what enters the activation: (rows of all steps, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    steps,
    batch,
    hidden,
    origin,  # the first step that is worked on
    direction,  # 1, or -1 back in time
    first_step,  # of those that this launch works on, counted from the first
    last_step,
    SLOPE: tl.constexpr,  # of the activation, by its result
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    PACKED: tl.constexpr,  # steps differ in size
    ACROSS: tl.constexpr,  # tiles of units to a program
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            grad = load_units(grad_output, line, tile, ACCUMULATE)
            grad += weighed(
                out + (other + row) * hidden, goes_on, None, None, weight, unit, known, 1, hidden, hidden,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            store_units(out, line, tile, grad * SLOPE(load_units(output, line, tile, ACCUMULATE)))
        tl.debug_barrier()  # what a program wrote in this step it reads in the next


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",))
def lstm_gradient_kernel(
    grad_output,  # of the states: (rows of all steps, hidden), or None
    grad_cells,  # of the cells: (rows of all steps, hidden), or None
    grad_gates,  # of the gates: (rows of all steps, 4 hidden), or None
    cells,  # (rows of all steps, hidden)
    gates,  # input, forget, candidate and output gate: (rows of all steps, 4 hidden)
    first_cell,  # cells before the first step: (batch, hidden)
    weight,  # of the states: (4 hidden, hidden)
    out,  # the gradient by what enters the gates: (rows of all steps, 4 hidden)
    carry,  # by each row's cell before the steps worked on so far: (batch, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    steps,
    batch,
    hidden,
    origin,  # the first step that is worked on
    direction,  # 1, or -1 back in time
    first_step,  # of those that this launch works on, counted from the first
    last_step,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    PACKED: tl.constexpr,  # steps differ in size
    ACROSS: tl.constexpr,  # tiles of units to a program
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        # The step before in the layer's order comes after here.
        before, before_size = span(starts, time + direction, steps, batch, PACKED)
        had, begins = inside & (row < before_size), inside & (row >= before_size)
        before, first = (before + row) * hidden, row.to(tl.int64) * hidden
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
            own = first[:, None] + unit[None, :]
            grad = weighed(
                out + (other + row) * (4 * hidden), goes_on, None, None, weight, unit, known, 1, 4 * hidden, hidden,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            if grad_output is not None:
                grad += load_units(grad_output, line, tile, ACCUMULATE)
            by_cell = load_units(carry, own, goes_on[:, None] & known[None, :], ACCUMULATE)
            if grad_cells is not None:
                by_cell += load_units(grad_cells, line, tile, ACCUMULATE)
            entering, kept = (
                load_units(gates, place, tile, ACCUMULATE),
                load_units(gates, place + hidden, tile, ACCUMULATE),
            )
            candidate = load_units(gates, place + 2 * hidden, tile, ACCUMULATE)
            leaving = load_units(gates, place + 3 * hidden, tile, ACCUMULATE)
            bent = tanh(load_units(cells, line, tile, ACCUMULATE))
            cell = load_units(cells, before[:, None] + unit[None, :], had[:, None] & known[None, :], ACCUMULATE)
            cell += load_units(first_cell, own, begins[:, None] & known[None, :], ACCUMULATE)
            by_cell += grad * leaving * (1 - bent * bent)
            by_entering, by_kept, by_candidate, by_leaving = (
                by_cell * candidate,
                by_cell * cell,
                by_cell * entering,
                grad * bent,
            )
            if grad_gates is not None:
                by_entering += load_units(grad_gates, place, tile, ACCUMULATE)
                by_kept += load_units(grad_gates, place + hidden, tile, ACCUMULATE)
                by_candidate += load_units(grad_gates, place + 2 * hidden, tile, ACCUMULATE)
                by_leaving += load_units(grad_gates, place + 3 * hidden, tile, ACCUMULATE)
            store_units(carry, own, tile, by_cell * kept)
            store_units(out, place, tile, by_entering * entering * (1 - entering))
            store_units(out, place + hidden, tile, by_kept * kept * (1 - kept))
            store_units(out, place + 2 * hidden, tile, by_candidate * (1 - candidate * candidate))
            store_units(out, place + 3 * hidden, tile, by_leaving * leaving * (1 - leaving))
        tl.debug_barrier()  # what a program wrote in this step it reads in the next


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",))
def gru_gradient_kernel(
    grad_output,  # of the states: (rows of all steps, hidden), or None
    grad_gates,  # of the gates: (rows of all steps, 4 hidden), or None
    output,  # states: (rows of all steps, hidden)
    gates,  # reset gate, update gate, candidate, and the state's part of it: (rows of all steps, 4 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (3 hidden, hidden)
    out,  # the gradient by what enters the gates, and by the state's part: (rows of all steps, 4 hidden)
    carry,  # by each row's state before the steps worked on so far, but for the weights: (batch, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    steps,
    batch,
    hidden,
    origin,  # the first step that is worked on
    direction,  # 1, or -1 back in time
    first_step,  # of those that this launch works on, counted from the first
    last_step,
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    PACKED: tl.constexpr,  # steps differ in size
    ACROSS: tl.constexpr,  # tiles of units to a program
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        # The step before in the layer's order comes after here.
        before, before_size = span(starts, time + direction, steps, batch, PACKED)
        had, begins = inside & (row < before_size), inside & (row >= before_size)
        before, first = (before + row) * hidden, row.to(tl.int64) * hidden
        there = out + (other + row) * (4 * hidden)
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
            own = first[:, None] + unit[None, :]
            grad = weighed(
                there, goes_on, None, None, weight, unit, known, 1, 2 * hidden, hidden,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            grad += weighed(
                there + 3 * hidden, goes_on, None, None, weight + 2 * hidden * hidden, unit, known, 1, hidden, hidden,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            grad += load_units(carry, own, goes_on[:, None] & known[None, :], ACCUMULATE)
            if grad_output is not None:
                grad += load_units(grad_output, line, tile, ACCUMULATE)
            reset, update = (
                load_units(gates, place, tile, ACCUMULATE),
                load_units(gates, place + hidden, tile, ACCUMULATE),
            )
            candidate = load_units(gates, place + 2 * hidden, tile, ACCUMULATE)
            inner = load_units(gates, place + 3 * hidden, tile, ACCUMULATE)
            state = load_units(output, before[:, None] + unit[None, :], had[:, None] & known[None, :], ACCUMULATE)
            state += load_units(first_hidden, own, begins[:, None] & known[None, :], ACCUMULATE)
            by_update, by_candidate = grad * (state - candidate), grad * (1 - update)
            if grad_gates is not None:
                by_update += load_units(grad_gates, place + hidden, tile, ACCUMULATE)
                by_candidate += load_units(grad_gates, place + 2 * hidden, tile, ACCUMULATE)
            by_candidate *= 1 - candidate * candidate
            by_reset, by_inner = by_candidate * inner, by_candidate * reset
            if grad_gates is not None:
                by_reset += load_units(grad_gates, place, tile, ACCUMULATE)
                by_inner += load_units(grad_gates, place + 3 * hidden, tile, ACCUMULATE)
            store_units(carry, own, tile, grad * update)
            store_units(out, place, tile, by_reset * reset * (1 - reset))
            store_units(out, place + hidden, tile, by_update * update * (1 - update))
            store_units(out, place + 2 * hidden, tile, by_candidate)
            store_units(out, place + 3 * hidden, tile, by_inner)
        tl.debug_barrier()  # what a program wrote in this step it reads in the next
