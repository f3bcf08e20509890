"""The running mean and variance of a normalisation, updated where they lie."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, kernel, next_power_of_2, powers, warps
from tritorch.ops.base import Op
from tritorch.ops.layout import as_contiguous, element_strides
from tritorch.ops.normalization import batched
from tritorch.ops.normalization.norm import wide
from tritorch.ops.pointwise.family import triton_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.runtime import tl


def running_default(device, *, count):
    """A few channels a program: there are never many."""
    return {"BLOCK": min(next_power_of_2(count), 4096 if device.kind == "interpreter" else 128), "num_warps": 1}


def _channels_a_thread(BLOCK, num_warps, count):
    """No more channels than there are; up to four a thread, one at least unless a warp is one too many already."""
    return BLOCK <= min(next_power_of_2(count), 128 * num_warps) and (num_warps == 1 or BLOCK >= 32 * num_warps)


@kernel(
    space=Space(BLOCK=powers(1, 512, default=128), num_warps=warps(1, 4), where=_channels_a_thread),
    default=running_default,
)
def _update(
    running_mean,  # updated: (count,) by `mean_step`
    running_var,  # updated: (count,) by `variance_step`
    mean,  # of what was seen last: (count,)
    variance,  # likewise
    count,
    mean_step,
    variance_step,
    momentum: tl.float64,
    factor: tl.float64,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    weight = momentum.to(COMPUTE)
    kept = (1 - momentum).to(COMPUTE)
    old = tl.load(running_mean + index * mean_step, mask=inside, other=0).to(COMPUTE)
    new = tl.load(mean + index, mask=inside, other=0).to(COMPUTE)
    result = kept * old + weight * new
    tl.store(running_mean + index * mean_step, result.to(running_mean.dtype.element_ty), mask=inside)
    old = tl.load(running_var + index * variance_step, mask=inside, other=0).to(COMPUTE)
    new = tl.load(variance + index, mask=inside, other=0).to(COMPUTE) * factor.to(COMPUTE)
    result = kept * old + weight * new
    tl.store(running_var + index * variance_step, result.to(running_var.dtype.element_ty), mask=inside)


class UpdateRunning(Op):
    """running (1 - momentum) + momentum new, in place, for a mean and, with `factor` times the new, a variance."""

    batch = batched.running
    in_place = True

    @staticmethod
    def reference(running_mean, running_var, mean, variance, momentum, factor):
        kept = 1 - momentum
        return kept * running_mean + momentum * mean, kept * running_var + momentum * (factor * variance)

    @classmethod
    def host(cls, running_mean, running_var, mean, variance, momentum, factor):
        """The reference, written over what it came from."""
        running = running_mean, running_var
        found = cls.reference(*wide(*running, mean, variance), momentum, factor)
        for each, new in zip(running, found, strict=True):
            each[...] = new
        return running

    def forward(self, running_mean, running_var, mean, variance, momentum, factor):
        """One launch."""
        count = mean.size
        if count:
            arrays = running_mean, running_var, as_contiguous(mean), as_contiguous(variance)
            config = _update.config(arrays, count=count)
            steps = [element_strides(each)[0] for each in (running_mean, running_var)]
            _update[(cdiv(count, config["BLOCK"]),)](
                *arrays, count, *steps,
                float(momentum), float(factor),
                COMPUTE=triton_dtype(computed_in(mean.dtype)), **config,
            )  # fmt: skip
        return running_mean, running_var

    @staticmethod
    def samples(draw):
        for count in (0, 1, 5, 1025):
            yield draw(count), draw(count), draw(count), draw(count), 0.1, 1.5
        yield draw(14)[::2], draw(7), draw(7), draw(7), 1.0, 1.0
