"""The one kernel of the pointwise family, and its launch: broadcast, strided, widened, any formula."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import broadcast_shape, broadcast_strides, empty_by, merge, result_order
from tritorch.ops.pointwise.walks import TILE_SPACE, load_tile, place_of, tile_default, tile_number, walk_of, widest
from tritorch.runtime import dtypes, tl


@kernel
def offsets_of(index, shape, strides, FIRST: tl.constexpr, RANK: tl.constexpr):
    """The offset of element number `index` of a tensor of `shape`, by `strides[FIRST : FIRST + RANK]`."""
    if RANK == 0:
        return index
    offset = index * 0
    for k in tl.static_range(RANK):
        if k < RANK - 1:
            offset += (index % shape[RANK - 1 - k]) * strides[FIRST + RANK - 1 - k]
            index = index // shape[RANK - 1 - k]
        else:
            offset += index * strides[FIRST]
    return offset


def pointwise_default(device, *, count, itemsize=4):
    """8 KiB a tile on a GPU and at least 8 waves where there is enough to do; few large blocks interpreted.

    `itemsize` is that of the widest array. Each thread has 16 bytes of it at least, which is what one load can bring.
    """
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    block = 8192 // itemsize
    while block > 256 and cdiv(count, block) < 8 * device.sms:
        block //= 2
    return {"BLOCK": block, "num_warps": min(max(block * itemsize // 512, 1), 8)}


def block_space(least=2, most=32, smallest=32):
    """Blocks of elements with `least` to `most` of them a thread, and no more of them than there are to do.

    A thread that keeps much for each of its elements (indices, weights, sums) has registers for fewer.
    """

    def shared_out(BLOCK, num_warps):
        return 32 * least * num_warps <= BLOCK <= 32 * most * num_warps

    def filled(BLOCK, count):
        return BLOCK <= max(next_power_of_2(count), 256)

    return Space(
        BLOCK=powers(max(32 * least, smallest), 256 * most, default=256 * least),
        num_warps=warps(1, 8),
        where=(shared_out, filled),
    )


@kernel
def as_number(number, like, COMPUTE: tl.constexpr, BITS: tl.constexpr):
    """A number in the shape of `like`; BITS says that it comes as the bits of a float64."""
    if BITS:
        return tl.full(like.shape, number, tl.int64).to(tl.float64, bitcast=True)
    return tl.full(like.shape, number, COMPUTE)


@kernel
def load_elements(
    pointer, index, inside, shape, strides, AT: tl.constexpr, RANK: tl.constexpr, FLAT: tl.constexpr,
    SINGLE: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Elements of array number AT; bit AT of the switches tells whether it is contiguous, is one element for all."""
    if SINGLE & (1 << AT):
        value = tl.load(pointer)
        return tl.full(index.shape, value, value.dtype)
    place = pointer + (index if FLAT & (1 << AT) else offsets_of(index, shape, strides, AT * RANK, RANK))
    if MASKED:
        return tl.load(place, mask=inside, other=0)
    return tl.load(place)


@kernel
def _elements(
    out, inputs, index, inside, shape, strides, FORMULA: tl.constexpr, COMPUTE: tl.constexpr, ARITY: tl.constexpr,
    RANK: tl.constexpr, FLAT: tl.constexpr, SINGLE: tl.constexpr, NUMBERS: tl.constexpr, BITS: tl.constexpr,
    CONDITION: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One block of results, of which `inside` are there, or all."""
    values = ()
    for i in tl.static_range(ARITY):
        if NUMBERS & (1 << i):
            value = as_number(inputs[i], index, COMPUTE, BITS)
        else:
            value = load_elements(inputs[i], index, inside, shape, strides, i + 1, RANK, FLAT, SINGLE, MASKED)
        if CONDITION and i == 0:  # noqa: SIM108, the two have different types
            values = values + (value != 0,)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
        else:
            values = values + (value.to(COMPUTE),)  # type: ignore  # noqa: RUF005
    result = FORMULA(*values).to(out.dtype.element_ty)
    place = out + (index if FLAT & 1 else offsets_of(index, shape, strides, 0, RANK))
    if MASKED:
        tl.store(place, result, mask=inside)
    else:
        tl.store(place, result)


@kernel(
    space=block_space(), default=pointwise_default,
    key=("FORMULA", "COMPUTE", "RANK", "FLAT", "SINGLE", "ODD", "WIDE"),
)  # fmt: skip
def pointwise_kernel(
    out,  # results: `shape` by the first RANK strides
    inputs,  # tuple: a pointer of `shape` by its strides, or a number
    count,
    shape,
    strides,  # of the result and the inputs, one after the other
    FORMULA: tl.constexpr,
    COMPUTE: tl.constexpr,
    ARITY: tl.constexpr,
    RANK: tl.constexpr,  # 0: every array is contiguous or one element
    FLAT: tl.constexpr,  # bit 0: the result, bit i + 1: input i is contiguous
    SINGLE: tl.constexpr,  # bit i + 1: input i is one element for all
    ODD: tl.constexpr,  # the count is no multiple of 16: all blocks but the last go without a mask
    NUMBERS: tl.constexpr,  # bit i: input i is a number
    BITS: tl.constexpr,  # numbers come as the bits of a float64
    CONDITION: tl.constexpr,  # the first input is a condition and stays bool
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK
    if WIDE:
        first = tl.program_id(0).to(tl.int64) * BLOCK
    index = first + tl.arange(0, BLOCK)
    inside = index < count
    if ODD and first + BLOCK <= count:
        _elements(
            out, inputs, index, inside, shape, strides, FORMULA, COMPUTE, ARITY, RANK, FLAT, SINGLE, NUMBERS, BITS,
            CONDITION, False,
        )  # fmt: skip
    else:
        _elements(
            out, inputs, index, inside, shape, strides, FORMULA, COMPUTE, ARITY, RANK, FLAT, SINGLE, NUMBERS, BITS,
            CONDITION, True,
        )  # fmt: skip


@kernel(
    space=TILE_SPACE, default=tile_default, key=("FORMULA", "COMPUTE", "RANK", "STILL_ROWS", "STILL_COLUMNS", "WIDE")
)
def pointwise_tiles(
    out,  # results: (*shape, rows, columns) by the first RANK strides
    inputs,  # tuple: a pointer of the same shape by its strides, or a number
    shape,  # the outer dimensions
    rows,
    columns,
    strides,  # of the result and the inputs, one after the other
    FORMULA: tl.constexpr,
    COMPUTE: tl.constexpr,
    ARITY: tl.constexpr,
    RANK: tl.constexpr,
    STILL_ROWS: tl.constexpr,  # bit i + 1: one row of input i stands for all
    STILL_COLUMNS: tl.constexpr,
    NUMBERS: tl.constexpr,  # bit i: input i is a number
    BITS: tl.constexpr,  # numbers come as the bits of a float64
    CONDITION: tl.constexpr,  # the first input is a condition and stays bool
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    outer, row, column = tile_number(rows, columns, ROWS, COLUMNS, WIDE)
    inside = (row < rows) & (column < columns)
    values = ()
    for i in tl.static_range(ARITY):
        if NUMBERS & (1 << i):
            value = as_number(inputs[i], inside, COMPUTE, BITS)
        else:
            value = load_tile(
                inputs[i], outer, row, column, rows, columns, shape, strides, i + 1, RANK, STILL_ROWS, STILL_COLUMNS
            )
        if CONDITION and i == 0:  # noqa: SIM108, the two have different types
            values = values + (value != 0,)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
        else:
            values = values + (value.to(COMPUTE),)  # type: ignore  # noqa: RUF005
    result = FORMULA(*values).to(out.dtype.element_ty)
    tl.store(place_of(out, outer, row, column, shape, strides, 0, RANK), result, mask=inside)


def launch_pointwise(op, value, arrays, compute, result, condition=False, lying=result_order, out=None):
    """Run formula `value` over broadcast `arrays` and numbers: computed in `compute`, stored as `result`.

    `lying` gives, of the shape and the arrays, in which order the dimensions of the result lie in memory. Results go to
    `out` where that is given, an array of the shape and dtype of the result.
    """
    present = [a for a in arrays if hasattr(a, "strides") and a.ndim >= 0 and not isinstance(a, np.generic)]
    shape = broadcast_shape(op, *(a.shape for a in present))
    if out is None:
        order = lying(shape, present)
        out = empty_by(present[0], shape, order, result)
    else:
        order = result_order(shape, (out,))
    if out.size == 0:
        return out
    # Over elements as they lie in memory, where more dimensions are one.
    flat, steps = merge(shape, [broadcast_strides(a, shape) for a in (out, *present)], order)
    bits = compute == np.float64
    inputs, given, numbers, own, strides = [], [out], 0, iter(steps[1:]), steps[:1]
    for position, a in enumerate(arrays):
        if any(a is p for p in present):
            inputs.append(a)
            given.append(a)
            strides.append(next(own))
        else:
            numbers |= 1 << position
            inputs.append(_number(a, compute, bits))
            given.append(None)
            strides.append((0,) * len(flat))
    given, walk = tuple(given), walk_of(flat, strides)
    facts = walk.facts
    launched = pointwise_tiles if walk.tiled else pointwise_kernel
    config = launched.config(given, **walk.sizes, itemsize=widest(given), FORMULA=value, COMPUTE=compute, **facts)
    launched[walk.grid(config)](
        out, tuple(inputs), *walk.arguments(facts), FORMULA=value, COMPUTE=triton_dtype(compute), ARITY=len(arrays),
        NUMBERS=numbers, BITS=bits, CONDITION=condition, **facts, **config,
    )  # fmt: skip
    return out


def _number(value, compute, bits):
    if bits:
        return int(np.float64(value).view(np.int64))
    return float(value) if compute.kind in "fV" else int(value)


def triton_dtype(numpy_dtype):
    """Triton's dtype object for a NumPy dtype."""
    return getattr(tl, _TRITON_NAMES.get(numpy_dtype) or dtypes.of(numpy_dtype).name)


_TRITON_NAMES = {
    np.dtype(np.bool_): "int1",
    dtypes.float8_e4m3fn.numpy: "float8e4nv",
    dtypes.float8_e5m2.numpy: "float8e5",
}
