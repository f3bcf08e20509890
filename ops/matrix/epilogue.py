"""How every product ends: scale, bias, activation, residual; and the sum of the parts of a product split along K."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.pointwise.kernel import offsets_of
from tritorch.runtime import tl


@kernel
def biased(total, bias, place, inside):
    """total + bias; the columns of a tile have their biases at `place`, where they are `inside`."""
    if bias is not None:
        total += tl.load(bias + place, mask=inside, other=0).to(total.dtype)[None, :]
    return total


@kernel
def activated(total, bias, place, inside, ACTIVATION: tl.constexpr):
    """ACTIVATION(total + bias), as `biased`."""
    total = biased(total, bias, place, inside)
    if ACTIVATION is not None:
        total = ACTIVATION(total)
    return total


@kernel
def ended(
    total, bias, residual, before, alpha, beta, row, column, rows, columns, bias_step, residual_row, residual_column,
    ACTIVATION: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """ACTIVATION(alpha * total + bias) + beta * residual, for the elements of a tile at `row` and `column`.

    What ACTIVATION is given goes to `before`, the place of a contiguous matrix, unless that is None.
    """
    if SCALED:
        total = total * alpha.to(total.dtype)
    total = biased(total, bias, column * bias_step, column < columns)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    if before is not None:
        tl.store(before + row[:, None] * columns + column[None, :], total.to(before.dtype.element_ty), mask=inside)
    if ACTIVATION is not None:
        total = ACTIVATION(total)
    if residual is not None:
        place = residual + row[:, None] * residual_row + column[None, :] * residual_column
        more = tl.load(place, mask=inside, other=0).to(total.dtype)
        if SCALED:
            more = more * beta.to(total.dtype)
        total += more
    return total


def sum_default(device, *, rows, columns, batch=1):
    """Blocks of whole rows, small enough that every multiprocessor has one."""
    if device.kind == "interpreter":
        m, n = min(next_power_of_2(rows), 256), min(next_power_of_2(columns), 256)
        return {"ROWS": m, "COLUMNS": n, "num_warps": 4}
    n = min(max(next_power_of_2(columns), 16), 128)
    m = min(next_power_of_2(rows), 1024 // n)
    while m > 1 and cdiv(rows, m) * cdiv(columns, n) * batch < device.sms:
        m //= 2
    return {"ROWS": m, "COLUMNS": n, "num_warps": _warps_for(m * n)}


def _warps_for(elements):
    """Four elements a thread."""
    return min(max(elements // 128, 1), 8)


def _no_more_rows(ROWS, rows):
    return next_power_of_2(rows) >= ROWS


def _no_more_columns(COLUMNS, columns):
    return COLUMNS <= max(next_power_of_2(columns), 16)


def _some_a_thread(ROWS, COLUMNS, num_warps):
    return num_warps == 1 or 32 * num_warps <= ROWS * COLUMNS <= 16 * 32 * num_warps


@kernel(
    space=Space(
        ROWS=powers(1, 64, default=8), COLUMNS=powers(16, 256, default=128), num_warps=warps(1, 8),
        where=(_no_more_rows, _no_more_columns, _some_a_thread),
    ),
    default=sum_default, key=("ACTIVATION", "SCALED", "RANK", "WIDE", "PARTS"),
)  # fmt: skip
def sum_parts_kernel(
    work,  # sums of a product's parts: (parts, batch, rows, columns)
    bias,  # None, or what is added to every row: (columns,) by its stride
    residual,  # None, or what is added to the result: (batch, rows, columns) by its strides
    before,  # None, or what the activation is given, contiguous: (batch, rows, columns)
    out,  # product, contiguous: (batch, rows, columns)
    rows,
    columns,
    batch,
    bias_step,
    residual_row,
    residual_column,
    batch_shape,
    batch_strides,  # of a, b, then of residual
    alpha: tl.float64,
    beta: tl.float64,
    RANK: tl.constexpr,  # of the batch
    ACTIVATION: tl.constexpr,  # None, or a formula
    SCALED: tl.constexpr,  # whether alpha or beta is not one
    WIDE: tl.constexpr,  # 64-bit offsets
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    across = tl.cdiv(columns, COLUMNS)
    tiles = tl.cdiv(rows, ROWS) * across
    index, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    row, column = tile // across * ROWS + tl.arange(0, ROWS), tile % across * COLUMNS + tl.arange(0, COLUMNS)
    if WIDE:
        row, column = row.to(tl.int64), column.to(tl.int64)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    first = index.to(tl.int64) * rows * columns
    place = first + row[:, None] * columns + column[None, :]
    step = tl.full([], batch, tl.int64) * rows * columns
    total = tl.load(work + place, mask=inside, other=0)
    for _ in tl.static_range(1, PARTS):  # always in this order: the same sums give the same result
        work += step
        total += tl.load(work + place, mask=inside, other=0)
    if RANK > 0 and residual is not None:
        residual += offsets_of(index.to(tl.int64), batch_shape, batch_strides, 2 * RANK, RANK)
    if before is not None:
        before += first
    total = ended(total, bias, residual, before, alpha, beta, row, column, rows, columns, bias_step, residual_row,
                  residual_column, ACTIVATION, SCALED)  # fmt: skip
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)
