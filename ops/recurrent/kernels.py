"""The forward kernels of recurrent layers: a program has rows of the batch, which never meet, and goes through time.

Source: Elman, "Finding structure in time", 1990; Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cho
et al., "Learning phrase representations using RNN encoder-decoder", 2014.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.formula import formula, sigmoid, tanh, where
from tritorch.ops.recurrent.space import CHANGING, STEPS_SPACE, steps_default
from tritorch.ops.recurrent.tiles import (
    arrive,
    direction_of,
    gate_columns,
    gates_of,
    keep_weights,
    load_units,
    meet,
    product,
    rows_before,
    span,
    store_units,
    upright,
)
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


@kernel(
    space=STEPS_SPACE,
    default=steps_default,
    key=(
        "PRECISION",
        "ACTIVATION",
    ),
    do_not_specialize=CHANGING,
)
def rnn_kernel(
    x,  # the input's part of each unit: (rows of all steps, hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (hidden, hidden)
    output,  # states: (rows of all steps, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    second_x,  # the same of a second direction, whose last step is the first one here; or None
    second_hidden,
    second_weight,
    second_output,
    arrivals,  # of programs after each step, for each tile of rows: (tiles, 32), or None
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
    ALIGNED: tl.constexpr,  # rows begin at multiples of 16 bytes
    PARTS: tl.constexpr,  # tiles of weights that are kept from step to step
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    FLIPPED: tl.constexpr,
    SPLIT: tl.constexpr,
):
    tile_of_rows = tl.program_id(0)
    if second_weight is not None:
        tile_of_rows, is_second, origin, direction = direction_of(batch, steps, origin, direction, ROWS)
        x = tl.where(is_second, second_x, x)
        first_hidden = tl.where(is_second, second_hidden, first_hidden)
        weight = tl.where(is_second, second_weight, weight)
        output = tl.where(is_second, second_output, output)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known = unit < hidden
    column, column_known = gate_columns(hidden, 1, 1, UNITS)
    kept = keep_weights(weight, column, column_known, hidden, 1, PARTS, DEPTH, FLIPPED, SPLIT)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside = row < size
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        entering = load_units(x, line, tile, ACCUMULATE)
        meet(arrivals, step - first_step)
        state = rows_before(output, other, other_size, first_hidden, row, hidden, ALIGNED)
        total = product(
            state, inside, kept, weight, column, column_known, hidden, 1,
            ACCUMULATE, PRECISION, ROWS, UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        store_units(output, line, tile, ACTIVATION(entering + upright(total, FLIPPED)))
        arrive(arrivals)


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",), do_not_specialize=CHANGING)
def lstm_kernel(
    x,  # the input's part of each gate: (rows of all steps, 4 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    first_cell,  # cells before the first step: (batch, hidden)
    weight,  # of the states: (4 hidden, hidden)
    output,  # states: (rows of all steps, hidden)
    cells,  # the same of the cells: (rows of all steps, hidden)
    gates,  # input, forget, candidate and output gate: (rows of all steps, 4 hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    second_x,  # the same of a second direction, whose last step is the first one here; or None
    second_hidden,
    second_cell,
    second_weight,
    second_output,
    second_cells,
    second_gates,
    arrivals,  # of programs after each step, for each tile of rows: (tiles, 32), or None
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
    ALIGNED: tl.constexpr,  # rows begin at multiples of 16 bytes
    PARTS: tl.constexpr,  # tiles of weights that are kept from step to step
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    FLIPPED: tl.constexpr,
    SPLIT: tl.constexpr,
):
    tile_of_rows = tl.program_id(0)
    if second_weight is not None:
        tile_of_rows, is_second, origin, direction = direction_of(batch, steps, origin, direction, ROWS)
        x, weight = tl.where(is_second, second_x, x), tl.where(is_second, second_weight, weight)
        first_hidden = tl.where(is_second, second_hidden, first_hidden)
        first_cell = tl.where(is_second, second_cell, first_cell)
        output, cells = tl.where(is_second, second_output, output), tl.where(is_second, second_cells, cells)
        gates = tl.where(is_second, second_gates, gates)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known, own = unit < hidden, row.to(tl.int64)[:, None] * hidden + unit[None, :]
    column, column_known = gate_columns(hidden, 4, 4, UNITS)
    kept = keep_weights(weight, column, column_known, hidden, 1, PARTS, DEPTH, FLIPPED, SPLIT)
    other, other_size = span(starts, origin + direction * (first_step - 1), steps, batch, PACKED)
    begins = (row >= other_size) & (row < batch)
    cell = load_units(cells, other * hidden + own, (row < other_size)[:, None] & known[None, :], ACCUMULATE)
    cell += load_units(first_cell, own, begins[:, None] & known[None, :], ACCUMULATE)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside = row < size
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
        entering, keeping = (
            load_units(x, place, tile, ACCUMULATE),
            load_units(x, place + hidden, tile, ACCUMULATE),
        )
        candidate = load_units(x, place + 2 * hidden, tile, ACCUMULATE)
        leaving = load_units(x, place + 3 * hidden, tile, ACCUMULATE)
        meet(arrivals, step - first_step)
        state = rows_before(output, other, other_size, first_hidden, row, hidden, ALIGNED)
        total = product(
            state, inside, kept, weight, column, column_known, hidden, 1,
            ACCUMULATE, PRECISION, ROWS, 4 * UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        by_entering, by_keeping, by_candidate, by_leaving = gates_of(total, ROWS, UNITS, FLIPPED)
        entering, keeping = sigmoid(entering + by_entering), sigmoid(keeping + by_keeping)
        candidate, leaving = tanh(candidate + by_candidate), sigmoid(leaving + by_leaving)
        cell = tl.where(inside[:, None], keeping * cell + entering * candidate, cell)
        store_units(output, line, tile, leaving * tanh(cell))
        arrive(arrivals)
        store_units(cells, line, tile, cell)
        store_units(gates, place, tile, entering)
        store_units(gates, place + hidden, tile, keeping)
        store_units(gates, place + 2 * hidden, tile, candidate)
        store_units(gates, place + 3 * hidden, tile, leaving)


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",), do_not_specialize=CHANGING)
def gru_kernel(
    x,  # the input's part of each gate: (rows of all steps, 3 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (3 hidden, hidden)
    bias,  # of the states: (3 hidden,), or None
    output,  # states: (rows of all steps, hidden)
    gates,  # reset gate, update gate, candidate, and the state's part of it: (rows of all steps, 4 hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    second_x,  # the same of a second direction, whose last step is the first one here; or None
    second_hidden,
    second_weight,
    second_bias,
    second_output,
    second_gates,
    arrivals,  # of programs after each step, for each tile of rows: (tiles, 32), or None
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
    ALIGNED: tl.constexpr,  # rows begin at multiples of 16 bytes
    PARTS: tl.constexpr,  # tiles of weights that are kept from step to step
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    FLIPPED: tl.constexpr,
    SPLIT: tl.constexpr,
):
    tile_of_rows = tl.program_id(0)
    if second_weight is not None:
        tile_of_rows, is_second, origin, direction = direction_of(batch, steps, origin, direction, ROWS)
        x = tl.where(is_second, second_x, x)
        first_hidden = tl.where(is_second, second_hidden, first_hidden)
        weight = tl.where(is_second, second_weight, weight)
        if bias is not None:
            bias = tl.where(is_second, second_bias, bias)
        output = tl.where(is_second, second_output, output)
        gates = tl.where(is_second, second_gates, gates)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known, own = unit < hidden, row.to(tl.int64)[:, None] * hidden + unit[None, :]
    column, column_known = gate_columns(hidden, 3, 4, UNITS)
    kept = keep_weights(weight, column, column_known, hidden, 1, PARTS, DEPTH, FLIPPED, SPLIT)
    other, other_size = span(starts, origin + direction * (first_step - 1), steps, batch, PACKED)
    begins = (row >= other_size) & (row < batch)
    before = load_units(output, other * hidden + own, (row < other_size)[:, None] & known[None, :], ACCUMULATE)
    before += load_units(first_hidden, own, begins[:, None] & known[None, :], ACCUMULATE)
    reset_bias = tl.zeros([UNITS], ACCUMULATE)
    update_bias, inner_bias = reset_bias, reset_bias
    if bias is not None:
        reset_bias = load_units(bias, unit, known, ACCUMULATE)
        update_bias = load_units(bias, unit + hidden, known, ACCUMULATE)
        inner_bias = load_units(bias, unit + 2 * hidden, known, ACCUMULATE)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside = row < size
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        place = (start + row)[:, None] * (3 * hidden) + unit[None, :]
        reset = load_units(x, place, tile, ACCUMULATE) + reset_bias[None, :]
        update = load_units(x, place + hidden, tile, ACCUMULATE) + update_bias[None, :]
        candidate = load_units(x, place + 2 * hidden, tile, ACCUMULATE)
        meet(arrivals, step - first_step)
        state = rows_before(output, other, other_size, first_hidden, row, hidden, ALIGNED)
        total = product(
            state, inside, kept, weight, column, column_known, hidden, 1,
            ACCUMULATE, PRECISION, ROWS, 4 * UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        by_reset, by_update, inner, _ = gates_of(total, ROWS, UNITS, FLIPPED)
        inner += inner_bias[None, :]
        reset, update = sigmoid(reset + by_reset), sigmoid(update + by_update)
        candidate = tanh(candidate + reset * inner)
        before = tl.where(inside[:, None], candidate + update * (before - candidate), before)
        store_units(output, line, tile, before)
        arrive(arrivals)
        place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
        store_units(gates, place, tile, reset)
        store_units(gates, place + hidden, tile, update)
        store_units(gates, place + 2 * hidden, tile, candidate)
        store_units(gates, place + 3 * hidden, tile, inner)
