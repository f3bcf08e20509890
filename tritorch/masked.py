"""torch.masked: reductions and normalisations of the elements that a mask lets through.

An element whose `mask` is False takes no part: it is replaced by what changes nothing (0 in a sum, -inf in a maximum).
Where a mask leaves nothing to reduce, that is the result; a mean, a median, var and std are NaN there.
"""

from __future__ import annotations

import math

from tritorch.ops.base import EXPORTS
from tritorch.ops.guard import need_tensors
from tritorch.ops.reduction.family import dims_of
from tritorch.runtime import dtypes
from tritorch.runtime.limits import iinfo

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip


def _mask_like(input, mask):
    """The mask as bools of the input's shape."""
    if mask.array.ndim > input.array.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return mask.to(dtypes.bool_).expand(input.array.shape)


def _filled(op, input, mask, identity):
    """The input with `identity` where the mask is False."""
    need_tensors(op, input=input)
    return input if mask is None else EXPORTS["where"](_mask_like(input, mask), input, input.new_full((), identity))


def _lowest(input):
    return -math.inf if input.is_floating_point() else iinfo(input.dtype).min


def _highest(input):
    return math.inf if input.is_floating_point() else iinfo(input.dtype).max


def _all_dims(op, input, dim):
    """The dimensions to reduce as a tuple; None and () stand for all of them."""
    dims = dims_of(op, input, None if dim == () else dim)
    if dims is None:
        return tuple(range(input.array.ndim))
    return dims if isinstance(dims, tuple) else (dims,)


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of the elements that the mask lets through; 0 of none."""
    wanted = dtype if dtype is not None or input.dtype.is_floating_point else dtypes.int64
    return _filled("sum", input, mask, 0).sum(_all_dims("sum", input, dim), keepdim, dtype=wanted)


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of the elements that the mask lets through; 1 of none."""
    wanted = dtype if dtype is not None or input.dtype.is_floating_point else dtypes.int64
    found = _filled("prod", input, mask, 1)
    for each in reversed(_all_dims("prod", input, dim)):
        found = found.prod(each, bool(keepdim), dtype=wanted)
    return found.to(wanted) if wanted is not None else found


def _extreme(name, identity, kind):
    def function(input, dim=None, *, keepdim=False, dtype=None, mask=None):
        filled = _filled(name, input, mask, identity(input))
        return getattr(filled, name)(_all_dims(name, input, dim), bool(keepdim)).to(dtype or input.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {kind} element that the mask lets through."
    return function


def _place(name, identity, kind):
    def function(input, dim=None, *, keepdim=False, dtype=None, mask=None):
        found = getattr(_filled(name, input, mask, identity(input)), name)(dim, bool(keepdim))
        return found.to(dtype or input.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The index of the {kind} element that the mask lets through."
    return function


amax, amin = _extreme("amax", _lowest, "largest"), _extreme("amin", _highest, "smallest")
argmax, argmin = _place("argmax", _lowest, "largest"), _place("argmin", _highest, "smallest")


def _count(input, dims, keepdim, mask):
    """How many elements are reduced to each."""
    counted = input.new_ones(input.shape, dtype=dtypes.bool_) if mask is None else _mask_like(input, mask)
    return counted.sum(dims, keepdim)


def _need_floating(op, input, dtype):
    kind = dtype or input.dtype
    if not kind.is_floating_point:
        raise ValueError(
            f"{op}(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be either a "
            f"floating point or complex dtype. Got: {kind}"
        )


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of the elements that the mask lets through."""
    _need_floating("mean", input, dtype)
    dims = _all_dims("mean", input, dim)
    total = sum(input, dims, keepdim=keepdim, dtype=dtype, mask=mask)
    return total / _count(input, dims, bool(keepdim), mask)


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The median of the elements that the mask lets through, the lower one of two."""
    floating = input.is_floating_point()
    wide = input if floating else input.to(dtypes.float32)
    found = _filled("median", wide, mask, math.nan).nanmedian(dim, keepdim).values
    if floating:
        return found
    if found.isnan().any():
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return found.to(dtype or input.dtype)


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm of order `ord` of the elements that the mask lets through."""
    filled = _filled("norm", input, mask, math.inf if ord == -math.inf else 0)
    return EXPORTS["linalg.vector_norm"](filled, ord, _all_dims("norm", input, dim), bool(keepdim), dtype=dtype)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance of the elements that the mask lets through, over their number less `correction`."""
    if unbiased is not None and correction is not None:
        raise ValueError("Only one of unbiased and correction may be given")
    correction = correction if correction is not None else 1 if unbiased is None or unbiased else 0
    result = dtype or input.dtype
    if not result.is_floating_point:
        result = dtypes.float32
    wide = input.to(dtypes.of(result.compute))
    dims = _all_dims("var", input, dim)
    count = _count(wide, dims, True, mask)
    distance = wide - sum(wide, dims, keepdim=True, mask=mask) / count
    total = sum(distance * distance, dims, keepdim=keepdim, mask=mask)
    return (total / (count.reshape(total.shape) - correction).clamp_min(0)).to(result)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The square root of the variance."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """log sum exp of the elements that the mask lets through."""
    filled = _filled("logsumexp", input, mask, _lowest(input))
    return filled.logsumexp(_all_dims("logsumexp", input, dim), keepdim).to(dtype or input.dtype)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), where a mask leaves out the one or the other."""
    first = _filled("logaddexp", input, input_mask, _lowest(input))
    return first.logaddexp(_filled("logaddexp", other, other_mask, _lowest(other))).to(dtype or input.dtype)


def cumsum(input, dim, *, dtype=None, mask=None):
    """The running sum of the elements that the mask lets through."""
    kind = dtype or input.dtype
    return _filled("cumsum", input, mask, 0).cumsum(dim, dtype=kind)


def cumprod(input, dim, *, dtype=None, mask=None):
    """The running product of the elements that the mask lets through."""
    kind = dtype or input.dtype
    return _filled("cumprod", input, mask, 1).cumprod(dim, dtype=kind)


def softmax(input, dim, *, dtype=None, mask=None):
    """softmax over the elements that the mask lets through; the others get 0."""
    return _filled("softmax", input, mask, _lowest(input)).softmax(dim, dtype=dtype)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """log_softmax over the elements that the mask lets through; the others get -inf."""
    return _filled("log_softmax", input, mask, _lowest(input)).log_softmax(dim, dtype=dtype)


def softmin(input, dim, *, dtype=None, mask=None):
    """softmin over the elements that the mask lets through; the others get 0."""
    filled = _filled("softmin", input, mask, _highest(input))
    return EXPORTS["nn.functional.softmin"](filled, dim, dtype=dtype)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The elements that the mask lets through over their norm of order `ord`, at least `eps`; the others get 0."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _filled("normalize", input, mask, 0) / length.clamp_min(eps)
