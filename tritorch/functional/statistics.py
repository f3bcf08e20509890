"""Statistics: sums and means without NaN, covariances and correlations."""

from __future__ import annotations

import warnings

from tritorch.ops.autocast import Policy, untouched
from tritorch.ops.base import TABLE, export, write_out
from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


@export("nansum", "Tensor.nansum", autocast=Policy(gpu=untouched))
def nansum(input, dim=None, keepdim=False, *, dtype=None, out=None):
    """The sum along `dim` of what is not NaN."""
    need_tensors("nansum", input=input)
    if input.is_floating_point():
        input = TABLE["where"].apply(input != input, 0.0, input)
    found = input.sum(dim, keepdim, dtype=dtype)
    return found if out is None else write_out(out, found)


@export("nanmean", "Tensor.nanmean")
def nanmean(input, dim=None, keepdim=False, *, dtype=None, out=None):
    """The mean along `dim` of what is not NaN."""
    need_tensors("nanmean", input=input)
    if not input.is_floating_point():
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {KIND_NAMES[input.dtype.name]}"
        )
    found = nansum(input, dim, keepdim, dtype=dtype) / (input == input).sum(dim, keepdim)
    return found if out is None else write_out(out, found)


@export("cov", "Tensor.cov")
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariances of variables, the rows, over observations, the columns.

    `fweights` says how often each observation was made, `aweights` how much it counts; the sum of products is over the
    sum of the weights less `correction`.
    """
    need_tensors("cov", input=input)
    _check("cov", input)
    rows = input if input.array.ndim > 1 else input.reshape((1, -1))
    if not rows.is_floating_point():
        rows = rows.to(dtypes.get_default_dtype())
    weights = _weights(rows.array.shape[1], fweights, aweights)
    total = rows.array.shape[1] if weights is None else weights.sum()
    if weights is not None and total.item() == 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    apart = rows - (rows if weights is None else rows * weights).sum(1, True) / total
    freedom = total - correction
    if aweights is not None and correction != 0:
        freedom = total - correction * (weights * aweights).sum() / total
    if freedom <= 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
            stacklevel=3,
        )
        freedom = 0.0
    products = apart @ (apart if weights is None else apart * weights).t()
    return (products / freedom).squeeze()


def _check(op, input):
    if input.array.ndim > 2:
        raise RuntimeError(
            f"{op}(): expected input to have two or fewer dimensions but got an input with {input.array.ndim} "
            "dimensions"
        )
    if input.dtype is dtypes.bool_:
        raise RuntimeError(f"{op}(): bool dtype is not supported for input")


def _weights(count, fweights, aweights):
    """The weight of each observation, checked; None where none are given."""
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        wanted = "integral" if name == "fweights" else "floating point"
        if weights.array.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {weights.array.ndim} "
                "dimensions"
            )
        if weights.is_floating_point() == (name == "fweights"):
            raise RuntimeError(
                f"cov(): expected {name} to have {wanted} dtype but got {name} with "
                f"{KIND_NAMES[weights.dtype.name]} dtype"
            )
        if weights.array.size != count:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{weights.array.size} != {count}"
            )
        if not weights.device.is_cuda and weights.array.size and weights.on_host().min() < 0:
            raise RuntimeError(f"cov(): {name} cannot be negative")
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


@export("corrcoef", "Tensor.corrcoef")
def corrcoef(input):
    """The correlations of variables, the rows: their covariances over both standard deviations."""
    need_tensors("corrcoef", input=input)
    _check("corrcoef", input)
    found = cov(input)
    if not found.array.ndim:
        return found / found
    deviation = found.diagonal().sqrt()
    return (found / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1, 1)
