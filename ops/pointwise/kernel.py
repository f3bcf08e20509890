"""The one kernel of the pointwise family, and its launch: broadcast, strided, widened, any formula."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.layout import broadcast_shape, broadcast_strides, empty_by, merge, needs_64_bits, result_order
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


def pointwise_default(device, *, count):
    """8 KiB a tile on a GPU and at least 8 waves where there is enough to do; few large blocks interpreted."""
    if device.kind == "interpreter":
        return {"BLOCK": min(max(next_power_of_2(cdiv(count, 8)), 1024), 131072), "num_warps": 4}
    block = 2048
    while block > 256 and cdiv(count, block) < 8 * device.sms:
        block //= 2
    return {"BLOCK": block, "num_warps": 4 if block <= 1024 else 8}


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


@kernel(space=block_space(), default=pointwise_default, key=("FORMULA", "COMPUTE", "RANK", "WIDE"))
def pointwise_kernel(
    out,  # results, as they lie in memory: (count,)
    inputs,  # tuple: a pointer of `shape` by its strides, or a number
    count,
    shape,
    strides,  # of the inputs, one after the other
    FORMULA: tl.constexpr,
    COMPUTE: tl.constexpr,
    ARITY: tl.constexpr,
    RANK: tl.constexpr,  # 0: every input is contiguous
    NUMBERS: tl.constexpr,  # bit i: input i is a number
    BITS: tl.constexpr,  # numbers come as the bits of a float64
    CONDITION: tl.constexpr,  # the first input is a condition and stays bool
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    values = ()
    for i in tl.static_range(ARITY):
        if NUMBERS & (1 << i):
            if BITS:
                value = tl.full([BLOCK], inputs[i], tl.int64).to(tl.float64, bitcast=True)
            else:
                value = tl.full([BLOCK], inputs[i], COMPUTE)
        else:
            value = tl.load(inputs[i] + offsets_of(index, shape, strides, i * RANK, RANK), mask=inside, other=0)
        if CONDITION and i == 0:  # noqa: SIM108, the two have different types
            values = values + (value != 0,)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
        else:
            values = values + (value.to(COMPUTE),)  # type: ignore  # noqa: RUF005
    result = FORMULA(*values)
    tl.store(out + index, result.to(out.dtype.element_ty), mask=inside)


def launch_pointwise(op, value, arrays, compute, result, condition=False, lying=result_order):
    """Run formula `value` over broadcast `arrays` and numbers: computed in `compute`, stored as `result`.

    `lying` gives, of the shape and the arrays, in which order the dimensions of the result lie in memory.
    """
    present = [a for a in arrays if hasattr(a, "strides") and a.ndim >= 0 and not isinstance(a, np.generic)]
    shape = broadcast_shape(op, *(a.shape for a in present))
    order = lying(shape, present)
    out = empty_by(present[0], shape, order, result)
    if out.size == 0:
        return out
    # Over elements as they lie in memory, where more dimensions are one.
    flat, strides = merge(shape, [broadcast_strides(a, shape) for a in present], order)
    rank = 0 if all(own == (1,) or own == () for own in strides) and len(flat) < 2 else len(flat)
    bits = compute == np.float64
    inputs, given, numbers, steps, each = [], [out], 0, [], iter(strides)
    for position, a in enumerate(arrays):
        if any(a is p for p in present):
            inputs.append(a)
            given.append(a)
            steps.extend(next(each) if rank else ())
        else:
            numbers |= 1 << position
            inputs.append(_number(a, compute, bits))
            given.append(None)
            steps.extend([0] * rank)
    wide = needs_64_bits(flat, strides)
    config = pointwise_kernel.config(given, count=out.size, FORMULA=value, COMPUTE=compute, RANK=rank, WIDE=wide)
    grid = (cdiv(out.size, config["BLOCK"]),)
    pointwise_kernel[grid](
        out, tuple(inputs), out.size, flat if rank else (), tuple(steps),
        FORMULA=value, COMPUTE=triton_dtype(compute), ARITY=len(arrays), RANK=rank, NUMBERS=numbers, BITS=bits,
        CONDITION=condition, WIDE=wide, **config,
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
