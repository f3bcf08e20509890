"""make_tensor: a tensor of random numbers in a range, for tests."""

from __future__ import annotations

import math

import tritorch
from tritorch import creation
from tritorch.runtime import dtypes, limits


def make_tensor(
    *shape, dtype, device, low=None, high=None, requires_grad=False, noncontiguous=False, exclude_zero=False,
    memory_format=None,
):  # fmt: skip
    """Uniform numbers from `low` up to, without, `high`: by default -9 to 9, integers up to 9, unsigned from 0, bools.

    `exclude_zero` puts the smallest positive number in the place of zeros; `noncontiguous` leaves gaps in memory.
    """
    kind = dtypes.as_dtype(dtype, "make_tensor")
    size = creation.size_of("make_tensor", shape)
    if requires_grad and not kind.is_floating_point:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={kind!r}"
        )
    if memory_format is not None and noncontiguous:
        raise ValueError(
            f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got noncontiguous="
            f"{noncontiguous} and memory_format={memory_format}"
        )
    low, high = _bounds(kind, low, high)
    drawn = (*size[:-1], 2 * size[-1]) if noncontiguous and math.prod(size) > 1 else size
    if kind.is_floating_point:
        made = tritorch.empty(drawn, dtype=dtypes.float64, device=device).uniform_(low, high).to(kind)
    else:
        made = tritorch.randint(math.ceil(low), math.ceil(high), drawn, dtype=kind, device=device)
    if exclude_zero:
        made[made == 0] = limits.finfo(kind).tiny if kind.is_floating_point else 1
    if drawn is not size:
        made = made[..., ::2]
    if memory_format is not None:
        made = made.clone(memory_format=memory_format)
    return made.detach().requires_grad_(requires_grad)


def _bounds(kind, low, high):
    if kind is dtypes.bool_:
        return 0, 2
    low = (-9 if kind.is_signed else 0) if low is None else low
    high = (9 if kind.is_floating_point else 10) if high is None else high
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    limit = limits.finfo(kind) if kind.is_floating_point else limits.iinfo(kind)
    return max(low, limit.min), min(high, limit.max if kind.is_floating_point else limit.max + 1)
