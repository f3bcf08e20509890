"""Parts of long sums, which programs add up by themselves, and their sum in order: the same bits at every call."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, kernel, powers, warps
from tritorch.ops.layout import element_strides, empty_like
from tritorch.ops.matrix.kernel import accumulator
from tritorch.runtime import tl


def sum_default(device, *, count):
    """A block for each multiprocessor several times over; few large blocks interpreted."""
    return {"BLOCK": 16384 if device.kind == "interpreter" else 256, "num_warps": 4}


def _few_a_thread(BLOCK, num_warps):
    return num_warps * 32 <= BLOCK <= num_warps * 32 * 8


@kernel(
    space=Space(BLOCK=powers(128, 2048, default=256), num_warps=warps(1, 8), where=_few_a_thread), default=sum_default
)
def add_parts_kernel(
    parts,  # contiguous: (number, count)
    out,  # their sum, in order: (count,)
    number,
    count,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], parts.dtype.element_ty)
    place = parts + index
    for _ in range(number):
        total += tl.load(place, mask=index < count, other=0)
        place += count
    tl.store(out + index, total.to(out.dtype.element_ty), mask=index < count)


def parts_for(out, number):
    """What `number` parts of a weight's gradient `out` are written to, and its strides: (part, feature, channel, tap).

    `out` is (features, channels, *taps) without gaps, its taps in order. One part is `out` itself.
    """
    feature, channel, *taps = element_strides(out)
    parts = out if number == 1 else empty_like(out, (number * out.size,), accumulator(out.dtype))
    return parts, (out.size, feature, channel, taps[-1])


def sum_parts(parts, out, number):
    """Write the sum of `number` parts to `out`, which one part is already."""
    if number > 1:
        config = add_parts_kernel.config((parts, out), count=out.size)
        add_parts_kernel[(cdiv(out.size, config["BLOCK"]),)](parts, out, number, out.size, **config)
