"""Numbers at equal distances or ratios, and the identity matrix."""

from __future__ import annotations

import math
import warnings

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import kind_of
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes


def _spaced(op, start, end, steps):
    """The checked ends of a range and its number of steps, in float64 arithmetic."""
    if not hasattr(steps, "__index__"):
        raise TypeError(f"{op}(): argument 'steps' must be int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    for name, each in (("start", start), ("end", end)):
        if isinstance(each, Variable) and each.array.ndim:
            raise RuntimeError(
                f"{op} only supports 0-dimensional start and end tensors, but got {name} with {each.array.ndim} "
                "dimension(s)."
            )
    start, end = (each.item() if isinstance(each, Variable) else each for each in (start, end))
    return start, end, (end - start) / (steps - 1) if steps > 1 else 0.0


@export("range")
def range_(start=0, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The numbers start, start + step, ... up to `end`, it included: the old form of arange."""
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).",
        stacklevel=3,
    )
    start, end = (0, start) if end is None else (start, end)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    last = start + math.floor((end - start) / step) * step
    kind = dtype or dtypes.get_default_dtype()
    return creation.arange(
        start, last + step / 2, step, out=out, dtype=kind, device=device, requires_grad=requires_grad
    )


@export("linspace")
def linspace(start, end, steps, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """`steps` numbers from `start` to `end`, both included, at equal distances."""
    start, end, step = _spaced("linspace", start, end, steps)
    kind = dtypes.as_dtype(dtype or dtypes.get_default_dtype(), "linspace").numpy
    made = TABLE["arange"].apply(float(start), step, steps, kind, devices.resolve(device))
    if steps > 1:
        made[-1] = end
    if out is not None:
        return out.resize_(made.shape).copy_(made)
    return made.requires_grad_() if requires_grad else made


@export("logspace")
def logspace(start, end, steps, base=10.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """`steps` numbers from base^start to base^end, both included, at equal ratios."""
    start, end, step = _spaced("logspace", start, end, steps)
    kind = dtypes.as_dtype(dtype or dtypes.get_default_dtype(), "logspace")
    float64 = dtypes.float64.numpy
    powers = TABLE["arange"].apply(float(start), step, steps, float64, devices.resolve(device))
    if steps > 1:
        powers[-1] = end
    made = TABLE["cast"].apply(TABLE["pow"].apply(float(base), powers), kind.numpy)
    if out is not None:
        return out.resize_(made.shape).copy_(made)
    return made.requires_grad_() if requires_grad else made


@export("eye")
def eye(n, m=None, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """An n by m matrix with ones on its diagonal."""
    for position, (name, each) in enumerate((("n", n), ("m", n if m is None else m)), 1):
        if not hasattr(each, "__index__"):
            raise TypeError(f"eye(): argument '{name}' (position {position}) must be int, not {kind_of(each)}")
        if each < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {each}")
    m = n if m is None else m
    made = creation.zeros(n, m, dtype=dtype, device=device)
    if n and m:
        made.diagonal().fill_(1)
    if out is not None:
        return out.resize_(made.shape).copy_(made)
    return made.requires_grad_() if requires_grad else made
