"""The gradient kernels of recurrent layers: back through the steps, each from the one that was worked on before it.

They give the gradient by what enters the activations of each step, from which those of weights are matrix products over
all steps, and what is left at the first step of each row.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.formula import tanh
from tritorch.ops.recurrent.space import CHANGING, STEPS_SPACE, steps_default
from tritorch.ops.recurrent.tiles import (
    arrive,
    direction_of,
    keep_weights,
    load_units,
    meet,
    product,
    span,
    store_units,
    upright,
)
from tritorch.runtime import tl


@kernel(
    space=STEPS_SPACE,
    default=steps_default,
    key=(
        "PRECISION",
        "SLOPE",
    ),
    do_not_specialize=CHANGING,
)
def rnn_gradient_kernel(
    grad_output,  # of the states: (rows of all steps, hidden)
    output,  # states: (rows of all steps, hidden)
    weight,  # of the states: (hidden, hidden)
    out,  # the gradient by what enters the activation: (rows of all steps, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    second_grad_output,  # the same of a second direction, whose last step is the first one here; or None
    second_output,
    second_weight,
    second_out,
    arrivals,  # of programs after each step, for each tile of rows: (tiles, 32), or None
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
        grad_output = tl.where(is_second, second_grad_output, grad_output)
        output = tl.where(is_second, second_output, output)
        weight = tl.where(is_second, second_weight, weight)
        out = tl.where(is_second, second_out, out)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known = unit < hidden
    kept = keep_weights(weight, unit, known, hidden, hidden, PARTS, DEPTH, FLIPPED, SPLIT)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        grad = load_units(grad_output, line, tile, ACCUMULATE)
        slope = SLOPE(load_units(output, line, tile, ACCUMULATE))
        meet(arrivals, step - first_step)
        later = product(
            out + (other + row) * hidden, goes_on, kept, weight, unit, known, hidden, hidden,
            ACCUMULATE, PRECISION, ROWS, UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        store_units(out, line, tile, (grad + upright(later, FLIPPED)) * slope)
        arrive(arrivals)


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",), do_not_specialize=CHANGING)
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
    second_grad_output,  # the same of a second direction, whose last step is the first one here; or None
    second_grad_cells,
    second_grad_gates,
    second_cells,
    second_gates,
    second_cell,
    second_weight,
    second_out,
    second_carry,
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
        if grad_output is not None:
            grad_output = tl.where(is_second, second_grad_output, grad_output)
        if grad_cells is not None:
            grad_cells = tl.where(is_second, second_grad_cells, grad_cells)
        if grad_gates is not None:
            grad_gates = tl.where(is_second, second_grad_gates, grad_gates)
        cells, gates = tl.where(is_second, second_cells, cells), tl.where(is_second, second_gates, gates)
        first_cell, weight = tl.where(is_second, second_cell, first_cell), tl.where(is_second, second_weight, weight)
        out, carry = tl.where(is_second, second_out, out), tl.where(is_second, second_carry, carry)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known, own = unit < hidden, row.to(tl.int64)[:, None] * hidden + unit[None, :]
    kept = keep_weights(weight, unit, known, 4 * hidden, hidden, PARTS, DEPTH, FLIPPED, SPLIT)
    _, other_size = span(starts, origin + direction * (first_step - 1), steps, batch, PACKED)
    reached = row < other_size
    by_cell = load_units(carry, own, reached[:, None] & known[None, :], ACCUMULATE)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        reached = reached | inside
        # The step before in the layer's order comes after here.
        before, before_size = span(starts, time + direction, steps, batch, PACKED)
        had, begins = inside & (row < before_size), inside & (row >= before_size)
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
        nothing = tl.zeros([ROWS, UNITS], ACCUMULATE)
        grad, added = nothing, nothing
        if grad_output is not None:
            grad = load_units(grad_output, line, tile, ACCUMULATE)
        if grad_cells is not None:
            added = load_units(grad_cells, line, tile, ACCUMULATE)
        entering, keeping = (
            load_units(gates, place, tile, ACCUMULATE),
            load_units(gates, place + hidden, tile, ACCUMULATE),
        )
        candidate = load_units(gates, place + 2 * hidden, tile, ACCUMULATE)
        leaving = load_units(gates, place + 3 * hidden, tile, ACCUMULATE)
        bent = tanh(load_units(cells, line, tile, ACCUMULATE))
        cell = load_units(cells, before * hidden + own, had[:, None] & known[None, :], ACCUMULATE)
        cell += load_units(first_cell, own, begins[:, None] & known[None, :], ACCUMULATE)
        by_entering, by_keeping, by_candidate, by_leaving = nothing, nothing, nothing, nothing
        if grad_gates is not None:
            by_entering = load_units(grad_gates, place, tile, ACCUMULATE)
            by_keeping = load_units(grad_gates, place + hidden, tile, ACCUMULATE)
            by_candidate = load_units(grad_gates, place + 2 * hidden, tile, ACCUMULATE)
            by_leaving = load_units(grad_gates, place + 3 * hidden, tile, ACCUMULATE)
        meet(arrivals, step - first_step)
        later = product(
            out + (other + row) * (4 * hidden), goes_on, kept, weight, unit, known, 4 * hidden, hidden,
            ACCUMULATE, PRECISION, ROWS, UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        grad += upright(later, FLIPPED)
        by_own = by_cell + added + grad * leaving * (1 - bent * bent)
        by_entering += by_own * candidate
        by_keeping += by_own * cell
        by_candidate += by_own * entering
        by_leaving += grad * bent
        by_cell = tl.where(inside[:, None], by_own * keeping, by_cell)
        store_units(out, place, tile, by_entering * entering * (1 - entering))
        store_units(out, place + hidden, tile, by_keeping * keeping * (1 - keeping))
        store_units(out, place + 2 * hidden, tile, by_candidate * (1 - candidate * candidate))
        store_units(out, place + 3 * hidden, tile, by_leaving * leaving * (1 - leaving))
        arrive(arrivals)
    store_units(carry, own, reached[:, None] & known[None, :], by_cell)


@kernel(space=STEPS_SPACE, default=steps_default, key=("PRECISION",), do_not_specialize=CHANGING)
def gru_gradient_kernel(
    grad_output,  # of the states: (rows of all steps, hidden), or None
    grad_gates,  # of the gates: (rows of all steps, 4 hidden), or None
    output,  # states: (rows of all steps, hidden)
    gates,  # reset gate, update gate, candidate, and the state's part of it: (rows of all steps, 4 hidden)
    first_hidden,  # states before the first step: (batch, hidden)
    weight,  # of the states: (3 hidden, hidden)
    out,  # the gradient by what enters the gates: (rows of all steps, 3 hidden)
    out_states,  # the same by the states' part of it: (rows of all steps, 3 hidden)
    carry,  # by each row's state before the steps worked on so far, but for the weights: (batch, hidden)
    starts,  # where steps begin and the last ends: (steps + 1,), or None
    second_grad_output,  # the same of a second direction, whose last step is the first one here; or None
    second_grad_gates,
    second_output,
    second_gates,
    second_hidden,
    second_weight,
    second_out,
    second_out_states,
    second_carry,
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
        if grad_output is not None:
            grad_output = tl.where(is_second, second_grad_output, grad_output)
        if grad_gates is not None:
            grad_gates = tl.where(is_second, second_grad_gates, grad_gates)
        output = tl.where(is_second, second_output, output)
        gates = tl.where(is_second, second_gates, gates)
        first_hidden = tl.where(is_second, second_hidden, first_hidden)
        weight = tl.where(is_second, second_weight, weight)
        out = tl.where(is_second, second_out, out)
        out_states = tl.where(is_second, second_out_states, out_states)
        carry = tl.where(is_second, second_carry, carry)
    row = tile_of_rows * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known, own = unit < hidden, row.to(tl.int64)[:, None] * hidden + unit[None, :]
    kept = keep_weights(weight, unit, known, 3 * hidden, hidden, PARTS, DEPTH, FLIPPED, SPLIT)
    _, other_size = span(starts, origin + direction * (first_step - 1), steps, batch, PACKED)
    reached = row < other_size
    by_state = load_units(carry, own, reached[:, None] & known[None, :], ACCUMULATE)
    for step in range(first_step, last_step):
        time = origin + direction * step
        start, size = span(starts, time, steps, batch, PACKED)
        other, other_size = span(starts, time - direction, steps, batch, PACKED)
        inside, goes_on = row < size, (row < size) & (row < other_size)
        reached = reached | inside
        # The step before in the layer's order comes after here.
        before, before_size = span(starts, time + direction, steps, batch, PACKED)
        had, begins = inside & (row < before_size), inside & (row >= before_size)
        tile, line = inside[:, None] & known[None, :], (start + row)[:, None] * hidden + unit[None, :]
        place = (start + row)[:, None] * (4 * hidden) + unit[None, :]
        grad = by_state
        if grad_output is not None:
            grad += load_units(grad_output, line, tile, ACCUMULATE)
        reset, update = (
            load_units(gates, place, tile, ACCUMULATE),
            load_units(gates, place + hidden, tile, ACCUMULATE),
        )
        candidate = load_units(gates, place + 2 * hidden, tile, ACCUMULATE)
        inner = load_units(gates, place + 3 * hidden, tile, ACCUMULATE)
        state = load_units(output, before * hidden + own, had[:, None] & known[None, :], ACCUMULATE)
        state += load_units(first_hidden, own, begins[:, None] & known[None, :], ACCUMULATE)
        nothing = tl.zeros([ROWS, UNITS], ACCUMULATE)
        by_reset, by_update, by_candidate, by_inner = nothing, nothing, nothing, nothing
        if grad_gates is not None:
            by_reset = load_units(grad_gates, place, tile, ACCUMULATE)
            by_update = load_units(grad_gates, place + hidden, tile, ACCUMULATE)
            by_candidate = load_units(grad_gates, place + 2 * hidden, tile, ACCUMULATE)
            by_inner = load_units(grad_gates, place + 3 * hidden, tile, ACCUMULATE)
        meet(arrivals, step - first_step)
        later = product(
            out_states + (other + row) * (3 * hidden), goes_on, kept, weight, unit, known, 3 * hidden, hidden,
            ACCUMULATE, PRECISION, ROWS, UNITS, PARTS, DEPTH, FLIPPED, SPLIT,
        )  # fmt: skip
        grad += upright(later, FLIPPED)
        by_update += grad * (state - candidate)
        by_candidate = (by_candidate + grad * (1 - update)) * (1 - candidate * candidate)
        by_reset += by_candidate * inner
        by_inner += by_candidate * reset
        by_reset, by_update = by_reset * reset * (1 - reset), by_update * update * (1 - update)
        by_state = tl.where(inside[:, None], grad * update, by_state)
        place = (start + row)[:, None] * (3 * hidden) + unit[None, :]
        store_units(out_states, place, tile, by_reset)
        store_units(out_states, place + hidden, tile, by_update)
        store_units(out_states, place + 2 * hidden, tile, by_inner)
        arrive(arrivals)
        store_units(out, place, tile, by_reset)
        store_units(out, place + hidden, tile, by_update)
        store_units(out, place + 2 * hidden, tile, by_candidate)
    store_units(carry, own, reached[:, None] & known[None, :], by_state)
