"""The second stage of sums by column: those of all programs added up in a fixed order, in one launch."""

from __future__ import annotations

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.rowwise.kernel import warps_of
from tritorch.runtime import tl

_WIDTH = 32  # columns that one program adds up: 128 bytes of each row of sums
MOST = 8192  # sums that are read at once


@kernel
def program_sums_kernel(
    sums,  # of each program: (programs, 1 or 2, columns)
    products,  # the first of the sums over all programs: (columns,)
    totals,  # the second ones: (columns,); or None
    programs,
    columns,
    COMPUTE: tl.constexpr,
    PROGRAMS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    second = tl.program_id(1)
    length = columns if totals is None else 2 * columns
    found = tl.zeros([PROGRAMS, COLUMNS], COMPUTE)
    for start in range(0, programs, PROGRAMS):
        program = start + tl.arange(0, PROGRAMS)
        inside = (program < programs)[:, None] & (column < columns)[None, :]
        places = program.to(tl.int64)[:, None] * length + (second * columns + column)[None, :]
        found += tl.load(sums + places, mask=inside, other=0)
    result = tl.sum(found, 0)
    if second == 0:
        tl.store(products + column, result.to(products.dtype.element_ty), mask=column < columns)
    elif totals is not None:
        tl.store(totals + column, result.to(totals.dtype.element_ty), mask=column < columns)


def launch_program_sums(sums, products, totals):
    """Add `sums`, (programs, 1 or 2, columns), to `products` and, unless that is None, to `totals`, both (columns,)."""
    programs, count, columns = sums.shape
    width = min(next_power_of_2(columns), _WIDTH)
    height = min(next_power_of_2(programs), MOST // width)
    program_sums_kernel[(cdiv(columns, width), count)](
        sums, products, totals, programs, columns, COMPUTE=triton_dtype(sums.dtype), PROGRAMS=height, COLUMNS=width,
        num_warps=warps_of(height * width),
    )  # fmt: skip
