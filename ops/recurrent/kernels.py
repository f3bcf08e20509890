"""The forward kernels of recurrent layers: a program has rows of the batch, which never meet, and goes through time.

Source: Elman, "Finding structure in time", 1990; Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cho
et al., "Learning phrase representations using RNN encoder-decoder", 2014.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.formula import formula, sigmoid, tanh, where
from tritorch.ops.recurrent.steps import STEPS_SPACE, load_units, span, steps_default, store_units, weighed
from tritorch.runtime import tl


@formula
def rectified(x):
    return where(x <= 0, x * 0, x)


@formula
def rectified_slope(y):
    return where(y > 0, y * 0 + 1, y * 0)


@formula
def tanh_slope(y):
    return 1 - y * y


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION", "ACTIVATION"))
def rnn_kernel(
    x,  # the input's part of each unit: (rows of all steps, hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (hidden, hidden)
    output,  # states: (rows of all steps, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    steps,
    batch,
    hidden,
    origin,  # the first step that is worked on
    direction,  # 1, or -1 back in time
    first_step,  # of those that this launch works on, counted from the first
    last_step,
    ACTIVATION: tl.constexpr,
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
        begins = inside & (row >= other_size)
        there, first = (other + row) * hidden, row.to(tl.int64) * hidden
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            total = load_units(x, line, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight, unit, known, hidden, hidden, 1,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            store_units(output, line, tile, ACTIVATION(total))
        tl.debug_barrier()  # what a program wrote in this step it reads in the next


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",))
def lstm_kernel(
    x,  # the input's part of each gate: (rows of all steps, 4 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    first_cell,  # cells before the first step: (batch, hidden)
    weight,  # of the states: (4 hidden, hidden)
    output,  # states: (rows of all steps, hidden)
    cells,  # the same of the cells: (rows of all steps, hidden)
    gates,  # input, forget, candidate and output gate: (rows of all steps, 4 hidden)
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
        begins = inside & (row >= other_size)
        there, first = (other + row) * hidden, row.to(tl.int64) * hidden
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
            square = hidden * hidden
            entering = load_units(x, place, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight, unit, known, hidden, hidden, 1,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            kept = load_units(x, place + hidden, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight + square, unit, known, hidden, hidden, 1,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            candidate = load_units(x, place + 2 * hidden, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight + 2 * square, unit, known, hidden, hidden,
                1, ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            leaving = load_units(x, place + 3 * hidden, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight + 3 * square, unit, known, hidden, hidden,
                1, ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            entering, kept, candidate, leaving = sigmoid(entering), sigmoid(kept), tanh(candidate), sigmoid(leaving)
            cell = load_units(cells, there[:, None] + unit[None, :], goes_on[:, None] & known[None, :], ACCUMULATE)
            cell += load_units(first_cell, first[:, None] + unit[None, :], begins[:, None] & known[None, :], ACCUMULATE)
            cell = kept * cell + entering * candidate
            store_units(gates, place, tile, entering)
            store_units(gates, place + hidden, tile, kept)
            store_units(gates, place + 2 * hidden, tile, candidate)
            store_units(gates, place + 3 * hidden, tile, leaving)
            store_units(cells, line, tile, cell)
            store_units(output, line, tile, leaving * tanh(cell))
        tl.debug_barrier()  # what a program wrote in this step it reads in the next


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",))
def gru_kernel(
    x,  # the input's part of each gate: (rows of all steps, 3 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (3 hidden, hidden)
    bias,  # of the states: (3 hidden,), or None
    output,  # states: (rows of all steps, hidden)
    gates,  # reset gate, update gate, candidate, and the state's part of it: (rows of all steps, 4 hidden)
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
        begins = inside & (row >= other_size)
        there, first = (other + row) * hidden, row.to(tl.int64) * hidden
        for part in range(ACROSS):
            unit = (tl.program_id(1) * ACROSS + part) * UNITS + tl.arange(0, UNITS)
            known = unit < hidden
            tile = inside[:, None] & known[None, :]
            line = (start + row)[:, None] * hidden + unit[None, :]
            place = (start + row)[:, None] * (3 * hidden) + unit[None, :]
            square = hidden * hidden
            reset = load_units(x, place, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight, unit, known, hidden, hidden, 1,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            update = load_units(x, place + hidden, tile, ACCUMULATE) + weighed(
                output + there, goes_on, first_hidden + first, begins, weight + square, unit, known, hidden, hidden, 1,
                ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            inner = weighed(
                output + there, goes_on, first_hidden + first, begins, weight + 2 * square, unit, known, hidden, hidden,
                1, ACCUMULATE, PRECISION, ROWS, UNITS, DEPTH,
            )  # fmt: skip
            if bias is not None:
                reset += load_units(bias, unit, known, ACCUMULATE)[None, :]
                update += load_units(bias, unit + hidden, known, ACCUMULATE)[None, :]
                inner += load_units(bias, unit + 2 * hidden, known, ACCUMULATE)[None, :]
            reset, update = sigmoid(reset), sigmoid(update)
            candidate = tanh(load_units(x, place + 2 * hidden, tile, ACCUMULATE) + reset * inner)
            state = load_units(output, there[:, None] + unit[None, :], goes_on[:, None] & known[None, :], ACCUMULATE)
            state += load_units(
                first_hidden, first[:, None] + unit[None, :], begins[:, None] & known[None, :], ACCUMULATE
            )
            place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
            store_units(gates, place, tile, reset)
            store_units(gates, place + hidden, tile, update)
            store_units(gates, place + 2 * hidden, tile, candidate)
            store_units(gates, place + 3 * hidden, tile, inner)
            store_units(output, line, tile, candidate + update * (state - candidate))
        tl.debug_barrier()  # what a program wrote in this step it reads in the next
