"""The product kernel of GPUs with a copy engine for tiles (sm_90 and later): persistent programs, tiles by descriptors.

A descriptor needs a base and steps at multiples of 16 bytes, and elements without gaps along one of the two dimensions;
a transposed operand is described as it lies and its tiles are turned for the tensor cores, which take both ways. What
lies outside reads zero and is not written, so no tile has a mask.
"""

from __future__ import annotations

from tritorch.autotune import kernel
from tritorch.ops.matrix.defaults import descriptor_default
from tritorch.ops.matrix.epilogue import ended
from tritorch.ops.matrix.kernel import multiply_add, tile_of
from tritorch.ops.matrix.tiles import DESCRIPTOR_SPACE
from tritorch.ops.pointwise.kernel import offsets_of
from tritorch.runtime import tl


@kernel
def described(
    pointer, outer, inner, step, batch_shape, batch_steps,
    RANK: tl.constexpr, BLOCK_OUTER: tl.constexpr, BLOCK_INNER: tl.constexpr,
):  # fmt: skip
    """The descriptor of a matrix whose rows are `step` apart, or of a stack of such matrices along RANK dimensions."""
    if RANK == 0:
        result = tl.make_tensor_descriptor(pointer, [outer, inner], [step, 1], [BLOCK_OUTER, BLOCK_INNER])
    elif RANK == 1:
        result = tl.make_tensor_descriptor(
            pointer, [batch_shape[0], outer, inner], [batch_steps[0], step, 1], [1, BLOCK_OUTER, BLOCK_INNER]
        )
    else:
        result = tl.make_tensor_descriptor(
            pointer, [batch_shape[0], batch_shape[1], outer, inner], [batch_steps[0], batch_steps[1], step, 1],
            [1, 1, BLOCK_OUTER, BLOCK_INNER],
        )  # fmt: skip
    return result


@kernel
def block_from(
    descriptor, index, batch_shape, outer, inner,
    RANK: tl.constexpr, BLOCK_OUTER: tl.constexpr, BLOCK_INNER: tl.constexpr,
):  # fmt: skip
    """A tile of matrix number `index` of what `described` describes."""
    if RANK == 0:
        block = descriptor.load([outer, inner])
    elif RANK == 1:
        block = descriptor.load([index, outer, inner]).reshape([BLOCK_OUTER, BLOCK_INNER])
    else:
        place = [index // batch_shape[1], index % batch_shape[1], outer, inner]
        block = descriptor.load(place).reshape([BLOCK_OUTER, BLOCK_INNER])
    return block


@kernel
def tile_from(
    descriptor, index, batch_shape, outer, inner,
    TURNED: tl.constexpr, RANK: tl.constexpr, BLOCK_OUTER: tl.constexpr, BLOCK_INNER: tl.constexpr,
):  # fmt: skip
    """A tile (outer, inner) of a matrix that lies so, or TURNED."""
    if TURNED:
        tile = block_from(descriptor, index, batch_shape, inner, outer, RANK, BLOCK_INNER, BLOCK_OUTER).T
    else:
        tile = block_from(descriptor, index, batch_shape, outer, inner, RANK, BLOCK_OUTER, BLOCK_INNER)
    return tile


@kernel
def pieces_of(tile, PIECES: tl.constexpr):
    """The columns of a tile in one, two or four pieces, from left to right."""
    if PIECES == 1:
        pieces = (tile,)
    else:
        left, right = tl.split(tl.permute(tl.reshape(tile, [tile.shape[0], 2, tile.shape[1] // 2]), (0, 2, 1)))
        pieces = pieces_of(left, PIECES // 2) + pieces_of(right, PIECES // 2)
    return pieces


@kernel(
    space=DESCRIPTOR_SPACE, default=descriptor_default,
    key=("ACTIVATION", "SCALED", "PRECISION", "WIDE", "A_TURNED", "B_TURNED", "A_RANK", "B_RANK", "RANK",
         "OUT_DESCRIBED"),
)  # fmt: skip
def descriptor_kernel(
    a,  # left operand: (batch, rows, inner), or turned (batch, inner, rows)
    b,  # right operand: (batch, inner, columns), or turned (batch, columns, inner)
    bias,  # None, or what is added to every row: (columns,) by its stride
    residual,  # None, or what is added to the result: (batch, rows, columns) by its strides
    before,  # None, or what the activation is given, contiguous: (batch, rows, columns)
    out,  # product, contiguous: (batch, rows, columns); with parts their sums: (parts, batch, rows, columns)
    rows,
    columns,
    inner,
    batch,
    a_step,
    b_step,
    batch_shape,
    a_batch,
    b_batch,
    bias_step,
    residual_row,
    residual_column,
    residual_batch,
    alpha: tl.float64,
    beta: tl.float64,
    A_TURNED: tl.constexpr,
    B_TURNED: tl.constexpr,
    A_RANK: tl.constexpr,  # that of the batch, or 0 for one and the same matrix
    B_RANK: tl.constexpr,
    RANK: tl.constexpr,  # of the batch
    OUT_DESCRIBED: tl.constexpr,  # whether a descriptor can be made of the result as well
    ACTIVATION: tl.constexpr,  # None, or a formula
    SCALED: tl.constexpr,  # whether alpha or beta is not one
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets, where there are pointers
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,  # into how many parts the sums are split
    PIECES: tl.constexpr,  # how many pieces of a tile's columns are stored one after the other
):
    if A_TURNED:
        a_tiles = described(a, inner, rows, a_step, batch_shape, a_batch, A_RANK, BLOCK_K, BLOCK_M)
    else:
        a_tiles = described(a, rows, inner, a_step, batch_shape, a_batch, A_RANK, BLOCK_M, BLOCK_K)
    if B_TURNED:
        b_tiles = described(b, columns, inner, b_step, batch_shape, b_batch, B_RANK, BLOCK_N, BLOCK_K)
    else:
        b_tiles = described(b, inner, columns, b_step, batch_shape, b_batch, B_RANK, BLOCK_K, BLOCK_N)
    STORED: tl.constexpr = OUT_DESCRIBED and SPLIT_K == 1
    WIDTH: tl.constexpr = BLOCK_N // PIECES
    STACKED: tl.constexpr = min(RANK, 1)  # of the result, whose batch has no gaps
    out_tiles = None
    if STORED:
        size = tl.full([], rows, tl.int64) * columns
        out_tiles = described(out, rows, columns, columns, (batch,), (size,), STACKED, BLOCK_M, WIDTH)
    tiles = tl.cdiv(rows, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    share = tl.cdiv(tl.cdiv(inner, BLOCK_K), SPLIT_K)  # past the end tiles are zeros
    ended_item = tl.program_id(0) - tl.num_programs(0)  # counted again, for the next tile's loads not to wait for it
    for item in tl.range(tl.program_id(0), tiles * batch * SPLIT_K, tl.num_programs(0), flatten=True):
        m, n = tile_of(item % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
        index = item // tiles // SPLIT_K
        first = item // tiles % SPLIT_K * share
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for step in range(share):
            k = (first + step) * BLOCK_K
            x = tile_from(a_tiles, index, batch_shape, m * BLOCK_M, k, A_TURNED, A_RANK, BLOCK_M, BLOCK_K)
            y = tile_from(b_tiles, index, batch_shape, k, n * BLOCK_N, B_TURNED, B_RANK, BLOCK_K, BLOCK_N)
            total = multiply_add(x, y, total, True, PRECISION)
        ended_item += tl.num_programs(0)
        m, n = tile_of(ended_item % tiles, rows, columns, BLOCK_M, BLOCK_N, GROUP_M)
        index = ended_item // tiles // SPLIT_K
        if SPLIT_K > 1:
            index += ended_item // tiles % SPLIT_K * batch
        pieces = pieces_of(total, PIECES)
        for piece in tl.static_range(PIECES):
            left = n * BLOCK_N + piece * WIDTH
            row, column = m * BLOCK_M + tl.arange(0, BLOCK_M), left + tl.arange(0, WIDTH)
            if WIDE:
                row, column = row.to(tl.int64), column.to(tl.int64)
            value = pieces[piece]
            if SPLIT_K == 1:
                more = residual
                if RANK > 0 and residual is not None:
                    more += offsets_of(index.to(tl.int64), batch_shape, residual_batch, 0, RANK)
                kept = before
                if before is not None:
                    kept += index.to(tl.int64) * rows * columns
                value = ended(value, bias, more, kept, alpha, beta, row, column, rows, columns, bias_step, residual_row,
                              residual_column, ACTIVATION, SCALED)  # fmt: skip
            value = value.to(out.dtype.element_ty)
            if STORED:
                if STACKED:
                    value = value.reshape([1, BLOCK_M, WIDTH])
                    out_tiles.store([index, m * BLOCK_M, left], value)  # type: ignore[union-attr]
                else:
                    out_tiles.store([m * BLOCK_M, left], value)  # type: ignore[union-attr]
            else:
                place = out + index.to(tl.int64) * rows * columns + row[:, None] * columns + column[None, :]
                tl.store(place, value, mask=(row < rows)[:, None] & (column < columns)[None, :])
