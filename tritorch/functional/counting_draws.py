"""Draws of counts and of Gamma variables: `poisson`, `binomial`, and what torch.distributions is built from."""

from __future__ import annotations

import math

import numpy as np

from tritorch import creation
from tritorch.autograd.function import Function
from tritorch.functional.drawing import draw_normal, draw_uniform
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.random import generator_of
from tritorch.runtime import dtypes

_FLOAT64 = np.dtype(np.float64)


@export("poisson")
def poisson(input, generator=None):
    """Counts of events of which `input` happen on average, in the dtype of `input`.

    A uniform number is looked up in the distribution function, P(count <= k) = Q(k + 1, rate), by bisection in float64;
    Q is the regularised upper incomplete gamma function.
    """
    need_tensors("poisson", input=input)
    if not input.is_floating_point():
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
    rate = input.detach().to(dtypes.float64)
    if input.array.size == 0:
        return input.detach().clone()
    most = float(rate.max().item())
    if not float(rate.min().item()) >= 0:
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    u = draw_uniform(rate.array.shape, 0, 1, _FLOAT64, input.device, generator_of("poisson", generator))
    low, high = -1 - rate * 0, (rate + 12 * rate.sqrt() + 60).floor()  # P(count <= low) <= u < P(count <= high)
    for _ in range(math.ceil(math.log2(most + 12 * math.sqrt(most) + 62))):
        middle = ((low + high) / 2).floor()
        reached = TABLE["igammac"].apply(middle + 1, rate) > u
        low, high = TABLE["where"].apply(reached, low, middle), TABLE["where"].apply(reached, middle, high)
    return TABLE["where"].apply(rate > 0, high, 0.0).to(input.dtype)


_MOST_TRIALS = 1 << 24  # drawn at once


@export("binomial")
def binomial(count, prob, generator=None):
    """How many of `count` trials succeed, each with probability `prob`: the trials are drawn one by one."""
    need_tensors("binomial", count=count, prob=prob)
    for name, each in (("count", count), ("prob", prob)):
        if not each.is_floating_point():
            kind = KIND_NAMES[each.dtype.name]
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {kind}")
    if count.array.dtype != prob.array.dtype:
        raise RuntimeError(f"Found dtype {KIND_NAMES[prob.dtype.name]} but expected {KIND_NAMES[count.dtype.name]}")
    source = generator_of("binomial", generator)
    count, prob = count.detach().to(dtypes.float64), prob.detach()
    successes = (count + prob) * 0
    most = int(count.max().item()) if successes.array.size else 0
    step = max(_MOST_TRIALS // max(successes.array.size, 1), 1)
    for start in range(0, most, step):
        size = (min(step, most - start), *successes.array.shape)
        trials = creation.arange(start, start + size[0], dtype=dtypes.float64, device=prob.device)
        trials = trials.reshape(-1, *(1 for _ in size[1:]))
        u = draw_uniform(size, 0, 1, _FLOAT64, prob.device, source)
        successes = successes + ((u < prob) & (trials < count)).sum(0)
    return successes.to(prob.dtype)


class _StandardGamma(Function):
    """A draw, passed on; its gradient by the shape is that of the draw with the same chance (Figurnov et al. 2018)."""

    @staticmethod
    def forward(ctx, shape, drawn):
        ctx.save_for_backward(shape, drawn)
        return drawn.clone()

    @staticmethod
    def backward(ctx, grad):
        """-(dP/dshape) / (dP/dx) at the draw, where P is the incomplete gamma function; dP/dshape by differences."""
        shape, drawn = (each.to(dtypes.float64) for each in ctx.saved_tensors)
        step = 1e-4 * shape
        upper = TABLE["where"].apply(drawn > shape, -1.0, 0.0)  # the smaller of P and 1 - P keeps its digits
        rise = _lower_or_upper(shape + step, drawn, upper) - _lower_or_upper(shape - step, drawn, upper)
        log_density = (shape - 1) * drawn.log() - drawn - shape.lgamma()
        slope = -rise / (2 * step) / log_density.exp()
        return (grad * slope.to(grad.dtype), None)


def _lower_or_upper(shape, x, upper):
    where = TABLE["where"].apply
    return where(upper < 0, -TABLE["igammac"].apply(shape, x), TABLE["igamma"].apply(shape, x))


@export("_standard_gamma")
def standard_gamma(self, generator=None):
    """Draws of the Gamma distribution of shape `self` and rate 1, with a gradient by the shape.

    By squeezed normal variables, of which one in twenty is refused and drawn again; a shape below 1 is drawn as one
    above and scaled. Source: Marsaglia, Tsang, "A simple method for generating gamma variables", 2000.
    """
    need_tensors("_standard_gamma", self=self)
    source, shape = generator_of("_standard_gamma", generator), self.detach().to(dtypes.float64)
    size, device, where = shape.array.shape, shape.device, TABLE["where"].apply
    raised = where(shape < 1, shape + 1, shape)
    d = raised - 1 / 3
    c = 1 / (9 * d).sqrt()
    found, pending = shape * 0, creation.full_of("_standard_gamma", size, True, dtypes.bool_, device)
    while shape.array.size and bool(pending.any().item()):
        normal = draw_normal(size, 0, 1, _FLOAT64, device, source)
        u = 1 - draw_uniform(size, 0, 1, _FLOAT64, device, source)
        cube = (1 + c * normal) ** 3
        taken = (cube > 0) & (u.log() < 0.5 * normal * normal + d - d * cube + d * cube.clamp_min(1e-300).log())
        found = where(pending & taken, d * cube, found)
        pending = pending & ~taken & ~shape.isnan()
    boost = (1 - draw_uniform(size, 0, 1, _FLOAT64, device, source)) ** (1 / shape)
    smallest = float(np.finfo(self.array.dtype).tiny) if self.array.dtype.kind == "f" else 1e-37
    drawn = where(shape < 1, found * boost, found).clamp_min(smallest).to(self.dtype)
    return _StandardGamma.apply(self, drawn)
