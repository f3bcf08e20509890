"""Convolutions of each channel by itself: products of single elements, bound by memory, in any layout.

A block is some places by some channels, whichever lie next to each other in memory; neighbouring taps read what is in
the cache already. Three spatial dimensions, of which the first may be of one element.
"""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, kernel, next_power_of_2
from tritorch.ops.convolution.depthwise_tiles import (
    DEPTHWISE_SPACE,
    DEPTHWISE_WEIGHT_SPACE,
    depthwise_default,
    depthwise_weight_default,
)
from tritorch.ops.convolution.parts import parts_for, sum_parts
from tritorch.ops.convolution.reach import far, split_in_three, steps_of
from tritorch.ops.convolution.turn import channels_packed
from tritorch.ops.layout import element_strides, needs_64_bits
from tritorch.ops.matrix.epilogue import activated
from tritorch.ops.matrix.kernel import accumulator
from tritorch.ops.pointwise.kernel import triton_dtype
from tritorch.runtime import tl


@kernel(space=DEPTHWISE_SPACE, default=depthwise_default, key=("ACTIVATION", "BACK", "TAPS", "WIDE"))
def depthwise_kernel(
    x,  # images: (images, channels // multiplier, *size) by x_strides; BACK: (images, channels * multiplier, *size)
    weight,  # of the wider of x and out, one filter a channel: (channel, tap) by weight_strides
    bias,  # None, or (channels,) by bias_step
    out,  # (images, channels, *out_size) by out_strides
    channels,
    size,
    out_size,
    stride,
    before,
    dilation,
    multiplier,  # how many features there are to a channel
    x_strides,
    weight_strides,
    out_strides,
    bias_step,
    BACK: tl.constexpr,  # the input gradient: x is the gradient
    TAPS: tl.constexpr,  # how many along each dimension
    ACTIVATION: tl.constexpr,  # None, or a formula
    ACCUMULATE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    DEEP: tl.constexpr = TAPS[0]  # Triton 3.6 takes no element of a tuple as the end of a range
    TALL: tl.constexpr = TAPS[1]
    BROAD: tl.constexpr = TAPS[2]
    places = out_size[0] * out_size[1] * out_size[2]
    across = tl.cdiv(channels, BLOCK_C)
    program = tl.program_id(0) // across
    image = (program // tl.cdiv(places, BLOCK_P)).to(tl.int64)
    place = program % tl.cdiv(places, BLOCK_P) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(0) % across * BLOCK_C + tl.arange(0, BLOCK_C)
    _, place0, place1, place2 = split_in_three(place, out_size)
    here = (place < places)[:, None] & (channel < channels)[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], ACCUMULATE)
    x += image * x_strides[0]
    for more in range(multiplier if BACK else 1):
        if BACK:
            feature = channel * multiplier + more
            source = feature
        else:
            feature, source = channel, channel // multiplier
        from_channel = (far(source, WIDE) * x_strides[1])[None, :]
        for t0 in tl.static_range(DEEP):
            at0, in0 = source_of(place0, t0, size[0], stride[0], before[0], dilation[0], BACK)
            for t1 in tl.static_range(TALL):
                at1, in1 = source_of(place1, t1, size[1], stride[1], before[1], dilation[1], BACK)
                for t2 in tl.static_range(BROAD):
                    at2, in2 = source_of(place2, t2, size[2], stride[2], before[2], dilation[2], BACK)
                    at = far(at0, WIDE) * x_strides[2] + far(at1, WIDE) * x_strides[3] + far(at2, WIDE) * x_strides[4]
                    value = tl.load(x + (at[:, None] + from_channel), mask=here & (in0 & in1 & in2)[:, None], other=0)
                    tap = (t0 * TALL + t1) * BROAD + t2
                    factor = tl.load(
                        weight + (feature * weight_strides[0] + tap * weight_strides[1]),
                        mask=channel < channels,
                        other=0,
                    )
                    total += value.to(ACCUMULATE) * factor.to(ACCUMULATE)[None, :]
    total = activated(total, bias, channel * bias_step, channel < channels, ACTIVATION)
    to = far(place0, WIDE) * out_strides[2] + far(place1, WIDE) * out_strides[3] + far(place2, WIDE) * out_strides[4]
    to = to[:, None] + (far(channel, WIDE) * out_strides[1])[None, :]
    tl.store(out + image * out_strides[0] + to, total.to(out.dtype.element_ty), mask=here)


@kernel
def source_of(place, tap, size, stride, before, dilation, BACK: tl.constexpr):
    """Along one dimension: what a tap of a place reads, and whether there is such."""
    if BACK:
        reach = place + before - dilation * tap
        at = reach // stride
        inside = (reach >= 0) & (reach % stride == 0) & (at < size)
    else:
        at = place * stride - before + dilation * tap
        inside = (at >= 0) & (at < size)
    return at, inside


@kernel(space=DEPTHWISE_WEIGHT_SPACE, default=depthwise_weight_default, key=("ALL", "WIDE"))
def depthwise_weight_kernel(
    grad,  # (images, features, *out_size) by grad_strides
    x,  # (images, features // multiplier, *size) by x_strides
    out,  # sums, one for each part: (parts, features, taps) by out_strides
    inner,  # images * places
    features,
    size,
    out_size,
    taps,
    stride,
    before,
    dilation,
    multiplier,  # how many features there are to a channel
    grad_strides,
    x_strides,
    out_strides,
    span,  # how many of `inner` a part adds up
    ALL: tl.constexpr,  # a power of two that is no less than all taps
    ACCUMULATE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    across = tl.cdiv(features, BLOCK_C)
    part = (tl.program_id(0) // across).to(tl.int64)
    feature, tap = tl.program_id(0) % across * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, ALL)
    shift0 = tap // (taps[1] * taps[2]) * dilation[0] - before[0]
    shift1, shift2 = tap // taps[2] % taps[1] * dilation[1] - before[1], tap % taps[2] * dilation[2] - before[2]
    known_tap = tap < taps[0] * taps[1] * taps[2]
    from_tap = far(shift0, WIDE) * x_strides[2] + far(shift1, WIDE) * x_strides[3] + far(shift2, WIDE) * x_strides[4]
    from_feature = (far(feature // multiplier, WIDE) * x_strides[1])[None, None, :]
    total = tl.zeros([ALL, BLOCK_P, BLOCK_C], ACCUMULATE)
    for start in range(0, span, BLOCK_P):
        k = part * span + start + tl.arange(0, BLOCK_P)
        known = (k < inner) & (start + tl.arange(0, BLOCK_P) < span)
        if not WIDE:
            k = k.to(tl.int32)
        image, place0, place1, place2 = split_in_three(k, out_size)
        to = image * grad_strides[0] + place0 * grad_strides[2] + place1 * grad_strides[3] + place2 * grad_strides[4]
        factor = tl.load(
            grad + (to[:, None] + (far(feature, WIDE) * grad_strides[1])[None, :]),
            mask=known[:, None] & (feature < features)[None, :], other=0,
        )  # fmt: skip
        place0, place1, place2 = place0 * stride[0], place1 * stride[1], place2 * stride[2]
        at = image * x_strides[0] + place0 * x_strides[2] + place1 * x_strides[3] + place2 * x_strides[4]
        inside = known[None, :] & known_tap[:, None]
        inside = inside & within(place0, shift0, size[0]) & within(place1, shift1, size[1])
        inside = inside & within(place2, shift2, size[2])
        value = tl.load(
            x + ((from_tap[:, None] + at[None, :])[:, :, None] + from_feature),
            mask=inside[:, :, None] & (feature < features)[None, None, :], other=0,
        )  # fmt: skip
        total += value.to(ACCUMULATE) * factor.to(ACCUMULATE)[None, :, :]
    sums = tl.sum(total, axis=1)
    to = tap[:, None] * out_strides[2] + (far(feature, WIDE) * out_strides[1])[None, :]
    tl.store(
        out + part * out_strides[0] + to, sums.to(out.dtype.element_ty),
        mask=known_tap[:, None] & (feature < features)[None, :],
    )  # fmt: skip


@kernel
def within(place, shift, size):
    """Whether each place, shifted by each tap, is inside: (taps, places)."""
    at = place.to(tl.int32)[None, :] + shift[:, None]
    return (at >= 0) & (at < size)


def launch_depthwise(x, weight, bias, out, windows, back, activation=None):
    """A convolution of each channel by itself, or with `back` the input gradient of one; `weight` has no gaps."""
    images, channels, places = out.shape[0], out.shape[1], math.prod(windows.places)
    multiplier = x.shape[1] // channels if back else channels // x.shape[1]
    wide = any(needs_64_bits(each.shape, [element_strides(each)]) for each in (x, out))
    config = depthwise_kernel.config(
        (x, weight, bias, out), places=places, channels=channels, count=images, packed=channels_packed(x),
        ACTIVATION=activation, BACK=back, TAPS=windows.taps, WIDE=wide,
    )  # fmt: skip
    programs = cdiv(places, config["BLOCK_P"]) * cdiv(channels, config["BLOCK_C"]) * images
    depthwise_kernel[(programs,)](
        x, weight, bias, out, channels, windows.size, windows.places, windows.stride, windows.before, windows.dilation,
        multiplier, steps_of(x), (windows.number, 1), steps_of(out), 0 if bias is None else element_strides(bias)[0],
        BACK=back, TAPS=windows.taps, ACTIVATION=activation, ACCUMULATE=triton_dtype(accumulator(x.dtype)), WIDE=wide,
        **config,
    )  # fmt: skip


def launch_depthwise_weights(grad, x, out, windows):
    """The gradient by the weight of a convolution of each channel by itself; `out` is (features, 1, *taps)."""
    features, inner = grad.shape[1], grad.shape[0] * math.prod(windows.places)
    whole = next_power_of_2(windows.number)
    wide = any(needs_64_bits(each.shape, [element_strides(each)]) for each in (grad, x))
    config = depthwise_weight_kernel.config(
        (grad, x, out), inner=inner, channels=features, taps=windows.number, packed=channels_packed(grad),
        itemsize=grad.dtype.itemsize, ALL=f"{whole} taps", WIDE=wide,
    )  # fmt: skip
    number = config["PARTS"]
    knobs = {name: value for name, value in config.items() if name != "PARTS"}
    parts, (part, feature, _, tap) = parts_for(out, number)
    depthwise_weight_kernel[(cdiv(features, config["BLOCK_C"]) * number,)](
        grad, x, parts, inner, features, windows.size, windows.places, windows.taps, windows.stride, windows.before,
        windows.dilation, features // x.shape[1], steps_of(grad), steps_of(x), (part, feature, tap),
        cdiv(inner, number), ALL=whole, ACCUMULATE=triton_dtype(accumulator(grad.dtype)), WIDE=wide, **knobs,
    )  # fmt: skip
    sum_parts(parts, out, number)
