"""Reductions that are built from others: variance, logsumexp."""

from __future__ import annotations

import warnings

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.named_results import returns
from tritorch.ops.reduction.family import count_along, dims_of
from tritorch.runtime import dtypes


def _variance(op, input, dim, unbiased, keepdim, correction):
    """The variance and the mean."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = dims_of(op, input, dim)
    if not input.is_floating_point():
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    freedom = count_along(input.array.shape, dims) - correction
    if freedom <= 0:
        warnings.warn(
            f"{op}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input "
            "numel divided by output numel).",
            stacklevel=4,
        )
    return TABLE["var_mean"].apply(input, dims, bool(keepdim), float(max(freedom, 0)))


@export("var", "Tensor.var", out=True)
def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The sum of squared distances from the mean over n - correction (1 unless told otherwise)."""
    return _variance("var", input, dim, unbiased, keepdim, correction)[0]


@export("std", "Tensor.std", out=True)
def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The square root of the variance."""
    return _variance("std", input, dim, unbiased, keepdim, correction)[0].sqrt()


@export("var_mean")
def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance and the mean."""
    return _variance("var_mean", input, dim, unbiased, keepdim, correction)


@export("std_mean")
def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation and the mean."""
    found, mean = _variance("std_mean", input, dim, unbiased, keepdim, correction)
    return found.sqrt(), mean


@export("logsumexp", "Tensor.logsumexp", autocast=FLOAT32_ON_GPUS, out=True)
def logsumexp(input, dim, keepdim=False):
    """log sum exp(input) along `dim`, without overflow."""
    dim = dims_of("logsumexp", input, dim)
    if not input.is_floating_point():
        input = input.to(dtypes.get_default_dtype())
    return TABLE["log_sum_exp"].apply(input, dim, bool(keepdim))


@export("count_nonzero", "Tensor.count_nonzero")
def count_nonzero(input, dim=None):
    """How many elements along `dim` are not zero."""
    return (input != 0).sum(dim)


AMinMax = returns("aminmax", "min", "max")


@export("aminmax", "Tensor.aminmax", out=True)
def aminmax(input, *, dim=None, keepdim=False):
    """The smallest and the largest element along `dim`."""
    return AMinMax(input.amin(() if dim is None else dim, keepdim), input.amax(() if dim is None else dim, keepdim))
