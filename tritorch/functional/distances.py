"""Distances between rows, and products of two features with a weight."""

from __future__ import annotations

import math

from tritorch.functional.matrices import kind_of, lapack_only
from tritorch.ops.autocast import FLOAT32, FLOAT32_ON_GPUS, WIDEST_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.matrix.cdist import Cdist
from tritorch.runtime import dtypes

_MODES = {  # how many rows there must be for distances to come of a product
    "use_mm_for_euclid_dist_if_necessary": 26,
    "use_mm_for_euclid_dist": 0,
    "donot_use_mm_for_euclid_dist": math.inf,
}


@export("cdist", autocast=FLOAT32)
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The distances, by the p-norm, of all rows of x1 from all rows of x2.

    For p = 2 and more than 25 rows, or as `compute_mode` says, squares come of |a|^2 + |b|^2 - 2 a b, one product of
    matrices, which is less exact for rows that are close.
    """
    need_tensors("cdist", x1=x1, x2=x2)
    for name, each in (("X1", x1), ("X2", x2)):
        if each.array.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {each.array.ndim}D")
        if each.array.dtype.kind not in "fV":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {kind_of(each)}")
    if x1.array.shape[-1] != x2.array.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.array.shape[-1]} X2: {x2.array.shape[-1]}"
        )
    if not p >= 0:  # or NaN
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if x1.array.dtype != x2.array.dtype:
        raise RuntimeError(f"expected scalar type {kind_of(x1)} but found {kind_of(x2)}")
    lapack_only("cdist", x1)
    broadcast_shape("cdist", x1.array.shape[:-2], x2.array.shape[:-2])
    rows = max(x1.array.shape[-2], x2.array.shape[-2])
    if p == 2 and rows >= _MODES[compute_mode] and x1.array.shape[-1]:
        return _by_product(x1, x2)
    return Cdist.apply(x1, x2, float(p))


def _by_product(x1, x2):
    """Euclidean distances by one product; where it is zero, so is the gradient."""
    squares = (x1 * x1).sum(-1, True) + (x2 * x2).sum(-1).unsqueeze(-2) - 2 * (x1 @ x2.transpose(-2, -1))
    where, apart = TABLE["where"].apply, squares > 0
    return where(apart, where(apart, squares, 1.0).sqrt(), 0.0)


@export("pdist", "nn.functional.pdist", autocast=FLOAT32_ON_GPUS)
def pdist(input, p=2.0):
    """The distances, by the p-norm, of each row from every later one: half of cdist."""
    need_tensors("pdist", input=input)
    if input.array.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.array.ndim}D")
    if input.array.dtype.kind not in "fV":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    lapack_only("pdist", input)
    rows = input.array.shape[0]
    numbers = TABLE["arange"].apply(0, 1, rows, dtypes.int64.numpy, input.device)
    return Cdist.apply(input, input, float(p))[numbers.unsqueeze(1) < numbers]


@export("bilinear", "nn.functional.bilinear", autocast=WIDEST_ON_GPUS)
def bilinear(input1, input2, weight, bias=None):
    """The sums over i and j of input1[i] weight[k, i, j] input2[j], plus bias[k], for all but the last dimensions."""
    need_tensors("bilinear", input1=input1, input2=input2, weight=weight)
    _check_bilinear(input1, input2, weight, bias)
    (features, first, second), lead = weight.array.shape, input1.array.shape[:-1]
    rows = math.prod(lead)
    half = input1.reshape((rows, first)) @ weight.permute((1, 0, 2)).reshape((first, features * second))
    found = half.reshape((rows, features, second)) @ input2.reshape((rows, second, 1))
    found = found.reshape((*lead, features))
    return found if bias is None else found + bias


def _check_bilinear(input1, input2, weight, bias):
    if input1.array.ndim != input2.array.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.array.ndim} and {input2.array.ndim}"
        )
    for at, (a, b) in enumerate(zip(input1.array.shape[:-1], input2.array.shape[:-1], strict=True)):
        if a != b:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {at}: got {a} and {b}")
    for number, each in ((1, input1), (2, input2)):
        if each.array.shape[-1] != weight.array.shape[number]:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {each.array.shape[-1]} but expected "
                f"{weight.array.shape[number]}"
            )
    if bias is not None and bias.array.shape[0] != weight.array.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.array.shape[0]} but expected "
            f"{weight.array.shape[0]}"
        )
