"""The kernels of connectionist temporal classification: a program goes through the time of one sequence.

A state that other threads hold comes through memory, so a barrier stands between two steps. The states of a class are
gathered by a product with the matrix that says which are its own: the same bits at every call.
"""

from __future__ import annotations

from tritorch.autotune import Space, kernel, next_power_of_2, powers, warps
from tritorch.runtime import tl


def states_default(device, *, states):
    """A block of states at a time, all of them where they are few."""
    most = 16384 if device.kind == "interpreter" else 1024
    block = min(most, max(16, next_power_of_2(states)))
    return {"STATES": block, "num_warps": 8 if block > 256 else 4 if block > 64 else 1}


def _no_larger(STATES, states):
    return max(16, next_power_of_2(states)) >= STATES


def _states_a_thread(STATES, num_warps):
    """Up to eight; one at least, unless a warp is one too many already."""
    return STATES <= 8 * 32 * num_warps and (num_warps == 1 or STATES >= 32 * num_warps)


_STATES_SPACE = Space(
    STATES=powers(16, 2048, default=256), num_warps=warps(1, 16), where=(_no_larger, _states_a_thread)
)
_FACTS = ("ZERO_INFINITY",)


@kernel
def log_sum_of_three(a, b, c):
    """log(exp a + exp b + exp c), -inf where all are."""
    highest = tl.maximum(a, tl.maximum(b, c))
    base = tl.where(highest == float("-inf"), 0.0, highest).to(a.dtype)
    return base + tl.log(tl.exp(a - base) + tl.exp(b - base) + tl.exp(c - base))


@kernel
def label_of(targets, state, states, blank):
    """The label of each state: blank between those of the target."""
    odd = (state % 2 == 1) & (state > 0) & (state < states)
    return tl.where(odd, tl.load(targets + state // 2, mask=odd, other=0), blank).to(tl.int64)


@kernel
def emitted(log_probs, label, classes, step, inside, COMPUTE: tl.constexpr):
    """The logarithm of the probability of each state's label, -inf outside and for labels that do not exist."""
    known = (label >= 0) & (label < classes)
    tl.device_assert(known, "index out of bounds", mask=inside)
    return tl.load(log_probs + label * step, mask=inside & known, other=float("-inf")).to(COMPUTE)


@kernel(space=_STATES_SPACE, default=states_default, key=_FACTS)
def alpha_kernel(
    log_probs,  # logarithms of probabilities: (steps, batch, classes) by its strides
    targets,  # labels, contiguous: those of sequence n from plan[2, n] on
    plan,  # lengths of inputs and of targets, starts of targets: (3, batch)
    loss,  # minus the logarithm of the probability of each sequence: (batch,)
    alpha,  # of each step and state: (batch, steps, width)
    steps,
    batch,
    classes,
    width,
    blank,
    strides,
    ZERO_INFINITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    STATES: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    length, count = tl.load(plan + n), tl.load(plan + batch + n)
    targets += tl.load(plan + 2 * batch + n)
    states = 2 * count + 1
    log_probs += n * strides[1]
    alpha += n * steps * width
    for time in range(steps):
        tl.debug_barrier()  # states are read that other threads wrote
        # Conditions of a whole program become part of a limit: the interpreter cannot spread a condition over a block.
        limit = tl.where(time < length, states, 0)
        for first in range(0, width, STATES):
            state = first + tl.arange(0, STATES)
            label = label_of(targets, state, states, blank)
            skips = (state > 1) & (label != label_of(targets, state - 2, states, blank))
            had = state < tl.minimum(limit, time * states)
            stay = tl.load(alpha - width + state, mask=had, other=float("-inf"))
            move = tl.load(alpha - width + state - 1, mask=had & (state > 0), other=float("-inf"))
            skip = tl.load(alpha - width + state - 2, mask=had & skips, other=float("-inf"))
            now = tl.where(state < 2 - 2 * time, 0.0, log_sum_of_three(stay, move, skip)).to(COMPUTE)
            now += emitted(log_probs, label, classes, strides[2], state < limit, COMPUTE)
            tl.store(alpha + state, now, mask=state < width)
        alpha += width
        log_probs += strides[0]
    tl.debug_barrier()
    ends = tl.arange(0, 2) + states - 2
    known = (ends >= 0) & (ends < tl.where(length > 0, states, 0))
    last = tl.load(alpha + (length - 1 - steps) * width + ends, mask=known, other=float("-inf"))
    last = tl.where((ends >= 0) & (ends < tl.where(length + count == 0, 1, 0)), 0.0, last).to(COMPUTE)
    highest = tl.max(last, 0)
    base = tl.where(highest == float("-inf"), 0.0, highest).to(COMPUTE)
    result = -(base + tl.log(tl.sum(tl.exp(last - base), 0)))
    if ZERO_INFINITY:
        result = tl.where(result == float("inf"), 0.0, result)
    tl.store(loss + n, result.to(loss.dtype.element_ty))


@kernel(space=_STATES_SPACE, default=states_default, key=_FACTS)
def share_kernel(
    log_probs,  # logarithms of probabilities: (steps, batch, classes) by its strides
    targets,  # labels, contiguous: those of sequence n from plan[2, n] on
    plan,  # lengths of inputs and of targets, starts of targets: (3, batch)
    alpha,  # of each step and state: (batch, steps, width)
    beta,  # room for two steps: (batch, 2, width)
    shares,  # the probability of each state at each step given the target: (batch, steps, width)
    steps,
    batch,
    classes,
    width,
    blank,
    strides,
    ZERO_INFINITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    STATES: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    length, count = tl.load(plan + n), tl.load(plan + batch + n)
    targets += tl.load(plan + 2 * batch + n)
    states = 2 * count + 1
    log_probs += n * strides[1] + (length - 1) * strides[0]
    alpha += (n * steps + length - 1) * width
    shares += (n * steps + length - 1) * width
    beta += n * 2 * width
    ends = tl.arange(0, 2) + states - 2
    known = (ends >= 0) & (ends < tl.where(length > 0, states, 0))
    last = tl.load(alpha + ends, mask=known, other=float("-inf"))
    highest = tl.max(last, 0)
    base = tl.where(highest == float("-inf"), 0.0, highest).to(COMPUTE)
    total = base + tl.log(tl.sum(tl.exp(last - base), 0))
    lost = tl.where(total == float("-inf"), 0.0 if ZERO_INFINITY else float("nan"), 1.0).to(COMPUTE)
    for back in range(length):
        here, there = beta + back % 2 * width, beta + (back + 1) % 2 * width
        for first in range(0, width, STATES):
            state = first + tl.arange(0, STATES)
            label = label_of(targets, state, states, blank)
            skips = (state + 2 < states) & (label != label_of(targets, state + 2, states, blank))
            inside, had = state < states, state < tl.minimum(states, back * states)
            stay = tl.load(there + state, mask=had, other=float("-inf"))
            move = tl.load(there + state + 1, mask=had & (state + 1 < states), other=float("-inf"))
            skip = tl.load(there + state + 2, mask=had & skips, other=float("-inf"))
            at_end = (state >= states - 2) & (state < states - back * states)
            onward = tl.where(at_end, 0.0, log_sum_of_three(stay, move, skip)).to(COMPUTE)
            emit = emitted(log_probs, label, classes, strides[2], inside, COMPUTE)
            tl.store(here + state, onward + emit, mask=inside)
            reached = tl.load(alpha + state, mask=inside, other=float("-inf")) + onward
            share = tl.where(reached == float("-inf"), 0.0, tl.exp(reached - total)).to(COMPUTE)
            tl.store(shares + state, share * lost, mask=state < width)
        tl.debug_barrier()  # states are read that other threads wrote
        alpha -= width
        shares -= width
        log_probs -= strides[0]


def gather_default(device, *, steps, states, classes):
    """Tiles of steps by states, and blocks of classes."""
    if device.kind == "interpreter":
        side = max(16, next_power_of_2(states))
        return {"STEPS": max(16, next_power_of_2(steps)), "STATES": side, "CLASSES": next_power_of_2(classes),
                "num_warps": 4}  # fmt: skip
    return {"STEPS": 16, "STATES": 32, "CLASSES": min(128, max(16, next_power_of_2(classes))), "num_warps": 8}


def _tiles_needed(STEPS, STATES, CLASSES, steps, states, classes):
    """No larger than what there is, up to the least side of a product."""
    sides = (STEPS, steps), (STATES, states), (CLASSES, classes)
    return all(
        side <= max(floor, next_power_of_2(size)) for (side, size), floor in zip(sides, (16, 32, 16), strict=True)
    )


def _products_in_registers(STEPS, STATES, num_warps):
    """Shares, which labels are the same, and sums."""
    return STATES * max(STEPS, STATES) <= 16 * 32 * num_warps


def _classes_a_thread(STEPS, CLASSES, num_warps):
    return CLASSES == 16 or 32 * num_warps <= STEPS * CLASSES <= 32 * 32 * num_warps


@kernel(
    space=Space(
        STEPS=powers(16, 64, default=16), STATES=powers(16, 64, default=32), CLASSES=powers(16, 512, default=128),
        num_warps=warps(2, 8), where=(_tiles_needed, _products_in_registers, _classes_a_thread),
    ),
    default=gather_default, key=_FACTS,
)  # fmt: skip
def ctc_gradient_kernel(
    grad,  # of the loss of each sequence, contiguous: (batch,)
    log_probs,  # logarithms of probabilities: (steps, batch, classes) by its strides
    targets,  # labels, contiguous: those of sequence n from plan[2, n] on
    plan,  # lengths of inputs and of targets, starts of targets: (3, batch)
    shares,  # the probability of each state at each step given the target: (batch, steps, width)
    alpha,  # of each step and state: (batch, steps, width)
    out,  # the gradient, contiguous: (steps, batch, classes)
    steps,
    batch,
    classes,
    width,
    blank,
    strides,
    ZERO_INFINITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    STEPS: tl.constexpr,
    STATES: tl.constexpr,
    CLASSES: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    length, count = tl.load(plan + n), tl.load(plan + batch + n)
    targets += tl.load(plan + 2 * batch + n)
    states, factor = 2 * count + 1, tl.load(grad + n).to(COMPUTE)
    time = tl.program_id(1).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    running, valid = time < length, time < steps
    probs = log_probs + n * strides[1] + time * strides[0]
    place = out + (time * batch + n) * classes
    lost = tl.load(shares + (n * steps + time) * width, mask=running, other=0)  # NaN if no way leads to the end
    limit = length
    if ZERO_INFINITY:
        ends = tl.arange(0, 2) + states - 2
        known = (ends >= 0) & (ends < tl.where(length > 0, states, 0))
        last = tl.load(alpha + (n * steps + length - 1) * width + ends, mask=known, other=float("-inf"))
        limit = tl.where(tl.max(last, 0) == float("-inf"), 0, length)
    counted = time < limit
    for first in range(0, classes, CLASSES):
        own = first + tl.arange(0, CLASSES).to(tl.int64)
        tile = valid[:, None] & (own < classes)[None, :]
        value = tl.load(probs[:, None] + (own * strides[2])[None, :], mask=tile & counted[:, None], other=0).to(COMPUTE)
        value = tl.where(counted[:, None], tl.exp(value) * factor + lost[:, None] * 0, 0.0)
        tl.store(place[:, None] + own[None, :], value.to(out.dtype.element_ty), mask=tile)
    tl.debug_barrier()  # single classes are written again
    for first in range(0, states, STATES):
        state = first + tl.arange(0, STATES)
        label = label_of(targets, state, states, blank)
        total = tl.zeros([STEPS, STATES], COMPUTE)
        earlier = tl.zeros([STATES], tl.int32)
        for start in range(0, states, STATES):
            other = start + tl.arange(0, STATES)
            other_label = label_of(targets, other, states, blank)
            same = (other_label[:, None] == label[None, :]) & (other < states)[:, None]
            share = tl.load(
                shares + ((n * steps + time) * width)[:, None] + other[None, :],
                mask=counted[:, None] & (other < states)[None, :], other=0,
            )  # fmt: skip
            total = tl.dot(share, same.to(COMPUTE), total, input_precision="ieee", out_dtype=COMPUTE)
            earlier += tl.sum((same & (other[:, None] < state[None, :])).to(tl.int32), 0)
        writes = (state < states) & (earlier == 0) & (label >= 0) & (label < classes)  # each label once
        tile = counted[:, None] & writes[None, :]
        value = tl.load(probs[:, None] + (label * strides[2])[None, :], mask=tile, other=0).to(COMPUTE)
        value = (tl.exp(value) - total) * factor
        tl.store(place[:, None] + label[None, :], value.to(out.dtype.element_ty), mask=tile)
