"""Distances between all rows of two matrices: one pass over the features, in a tile of pairs, without their table."""

from __future__ import annotations

import math

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.matrix.kernel import operand_strides
from tritorch.ops.pointwise.family import offsets_of, triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import tl


def distance_default(device, *, rows, columns):
    """Tiles of 32 by 64 pairs, smaller where there are few; as large as possible where programs are interpreted."""
    most = (256, 256) if device.kind == "interpreter" else (32, 64)
    first, second = (min(max(next_power_of_2(size), 2), side) for size, side in zip((rows, columns), most, strict=True))
    return {"BLOCK_M": first, "BLOCK_N": second, "num_warps": 4 if first * second >= 256 else 1}


def _no_larger(BLOCK_M, BLOCK_N, rows, columns):
    return BLOCK_M <= max(2, next_power_of_2(rows)) and BLOCK_N <= max(2, next_power_of_2(columns))


def _pairs_a_thread(BLOCK_M, BLOCK_N, num_warps):
    """Each has a sum in a register, and as many warps as there is work for."""
    pairs = BLOCK_M * BLOCK_N
    return pairs <= 32 * 32 * num_warps and (num_warps == 1 or pairs >= 2 * 32 * num_warps)


_SPACE = Space(
    BLOCK_M=powers(2, 128, default=32), BLOCK_N=powers(2, 128, default=64), num_warps=warps(1, 8),
    where=(_no_larger, _pairs_a_thread),
)  # fmt: skip


@kernel(space=_SPACE, default=distance_default, key=("TERM", "COMBINE", "FINISH", "RANK", "WIDE"))
def distance_kernel(
    a,  # rows: (batch, rows, features) by its strides
    b,  # other rows: (batch, columns, features) by its strides
    out,  # distances, contiguous: (batch, rows, columns)
    rows,
    columns,
    features,
    a_row,
    a_feature,
    b_row,
    b_feature,
    batch_shape,
    batch_strides,  # of a, then of b
    P: tl.constexpr,
    TERM: tl.constexpr,  # the distance along one feature to what is combined
    COMBINE: tl.constexpr,
    FINISH: tl.constexpr,
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,  # of the batch
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    across = tl.cdiv(columns, BLOCK_N)
    tiles = tl.cdiv(rows, BLOCK_M) * across
    batch, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    if RANK > 0:
        a += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, 0, RANK)
        b += offsets_of(batch.to(tl.int64), batch_shape, batch_strides, RANK, RANK)
    row, column = tile // across * BLOCK_M + tl.arange(0, BLOCK_M), tile % across * BLOCK_N + tl.arange(0, BLOCK_N)
    if WIDE:
        row, column = row.to(tl.int64), column.to(tl.int64)
    row_in, column_in = row < rows, column < columns
    a += row * a_row
    b += column * b_row
    total, power = tl.zeros([BLOCK_M, BLOCK_N], COMPUTE), tl.full([BLOCK_M, BLOCK_N], P, COMPUTE)
    for _ in range(features):
        x = tl.load(a, mask=row_in, other=0).to(COMPUTE)[:, None]
        y = tl.load(b, mask=column_in, other=0).to(COMPUTE)[None, :]
        total = COMBINE(total, TERM(tl.abs(x - y), power).to(COMPUTE))
        a += a_feature
        b += b_feature
    place = out + batch.to(tl.int64) * rows * columns + row[:, None] * columns + column[None, :]
    tl.store(place, FINISH(total, power).to(out.dtype.element_ty), mask=row_in[:, None] & column_in[None, :])


@kernel(space=_SPACE, default=distance_default, key=("SLOPE", "RANK", "WIDE"))
def distance_gradient_kernel(
    grad,  # of the distances: (batch, rows, columns) by its strides
    a,  # rows: (batch, rows, features) by its strides
    b,  # other rows: (batch, columns, features) by its strides
    distance,  # (batch, rows, columns) by its strides
    out,  # the gradient of a, contiguous: (batch, rows, features)
    rows,
    columns,
    features,
    grad_row,
    grad_column,
    a_row,
    a_feature,
    b_row,
    b_feature,
    distance_row,
    distance_column,
    batch_shape,
    batch_strides,  # of grad, a, b, distance
    P: tl.constexpr,
    SLOPE: tl.constexpr,  # of a distance by what lies along one feature
    COMPUTE: tl.constexpr,
    RANK: tl.constexpr,  # of the batch
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # of features
):
    across = tl.cdiv(features, BLOCK_N)
    tiles = tl.cdiv(rows, BLOCK_M) * across
    batch, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    if RANK > 0:
        index = batch.to(tl.int64)
        grad += offsets_of(index, batch_shape, batch_strides, 0, RANK)
        a += offsets_of(index, batch_shape, batch_strides, RANK, RANK)
        b += offsets_of(index, batch_shape, batch_strides, 2 * RANK, RANK)
        distance += offsets_of(index, batch_shape, batch_strides, 3 * RANK, RANK)
    row, feature = tile // across * BLOCK_M + tl.arange(0, BLOCK_M), tile % across * BLOCK_N + tl.arange(0, BLOCK_N)
    if WIDE:
        row, feature = row.to(tl.int64), feature.to(tl.int64)
    row_in, feature_in = row < rows, feature < features
    inside = row_in[:, None] & feature_in[None, :]
    x = tl.load(a + row[:, None] * a_row + feature[None, :] * a_feature, mask=inside, other=0).to(COMPUTE)
    grad += row * grad_row
    distance += row * distance_row
    b += feature * b_feature
    total, power = tl.zeros([BLOCK_M, BLOCK_N], COMPUTE), tl.full([BLOCK_M, BLOCK_N], P, COMPUTE)
    for _ in range(columns):
        y = tl.load(b, mask=feature_in, other=0).to(COMPUTE)[None, :]
        length = tl.load(distance, mask=row_in, other=0).to(COMPUTE)[:, None]
        weight = tl.load(grad, mask=row_in, other=0).to(COMPUTE)[:, None]
        total += weight * SLOPE(x - y, length, power).to(COMPUTE)
        grad += grad_column
        distance += distance_column
        b += b_row
    place = out + batch.to(tl.int64) * rows * features + row[:, None] * features + feature[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=inside)


def launch_distance(a, b, shape, p, term, combine, finish):
    """Distances of all rows of `a` from all rows of `b`, as a contiguous array of `shape`."""
    out = empty_like(a, shape)
    if not out.size:
        return out
    (rows, columns), features = shape[-2:], a.shape[-1]
    layout, steps, wide = _laid_out(shape, (a, b), out)
    facts = {"TERM": term, "COMBINE": combine, "FINISH": finish, "RANK": len(layout[0]), "WIDE": wide}
    config = distance_kernel.config((a, b, out), rows=rows, columns=columns, **facts)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(columns, config["BLOCK_N"])
    distance_kernel[(tiles * math.prod(layout[0]),)](
        a, b, out, rows, columns, features, *steps, *layout, P=p, COMPUTE=triton_dtype(computed_in(a.dtype)),
        **facts, **config,
    )  # fmt: skip
    return out


def launch_distance_gradient(grad, a, b, distance, p, slope):
    """The gradient of the distances by `a`, as a contiguous array of their batch and its rows."""
    (rows, columns), features = distance.shape[-2:], a.shape[-1]
    out = empty_like(a, (*distance.shape[:-2], rows, features))
    if not out.size:
        return out
    layout, steps, wide = _laid_out(distance.shape, (grad, a, b, distance), out)
    facts = {"SLOPE": slope, "RANK": len(layout[0]), "WIDE": wide}
    config = distance_gradient_kernel.config((grad, a, b, distance, out), rows=rows, columns=features, **facts)
    tiles = cdiv(rows, config["BLOCK_M"]) * cdiv(features, config["BLOCK_N"])
    distance_gradient_kernel[(tiles * math.prod(layout[0]),)](
        grad, a, b, distance, out, rows, columns, features, *steps, *layout, P=p,
        COMPUTE=triton_dtype(computed_in(a.dtype)), **facts, **config,
    )  # fmt: skip
    return out


def _laid_out(shape, operands, out):
    """The merged batch and the operands' strides in it, all in one; their strides in a matrix; whether any is long."""
    strides = [operand_strides(each, shape) for each in operands]
    batch, merged = merge(shape[:-2], [own[:-2] for own in strides])
    steps = [step for own in strides for step in own[-2:]]
    wide = any(needs_64_bits(each.shape[-2:], [element_strides(each)[-2:]]) for each in (*operands, out))
    return (batch, tuple([step for own in merged for step in own])), steps, wide
