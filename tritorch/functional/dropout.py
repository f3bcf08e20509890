"""Dropout, element by element or of whole channels."""

from __future__ import annotations

import math
import warnings

from tritorch.autograd.inplace import apply_inplace
from tritorch.ops.base import TABLE, export
from tritorch.ops.layout import result_order
from tritorch.random import default_generator
from tritorch.runtime import dtypes

Dropout = TABLE["dropout"]


def _check_probability(p):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input, p):
    if not input.is_floating_point():
        name = "Bool" if input.dtype is dtypes.bool_ else "Long"
        raise RuntimeError(f"result type Float can't be cast to the desired output type {name}")
    order = None if input.level is not None else result_order(tuple(input.array.shape), (input.array,))
    return Dropout.apply(input, p, *default_generator.take(-(-input.array.size // 4)), order)


@export("nn.functional.dropout")
def dropout(input, p=0.5, training=True, inplace=False):
    """Zero each element with probability `p` and scale the others by 1 / (1 - p); nothing unless `training`."""
    _check_probability(p)
    if not training or p == 0:
        return input
    return apply_inplace(_dropped, "dropout_", input, p) if inplace else _dropped(input, p)


@export("dropout")
def dropout_of_root(input, p, train):
    """Zero each element with probability `p` and scale the others; nothing unless `train`."""
    return dropout(input, p, train)


def _channels_dropped(input, p, channel_dims):
    shape = input.array.shape
    kept = shape[:channel_dims] + (1,) * (len(shape) - channel_dims)
    return input * _dropped(input.detach().new_ones(kept), p)


def _feature_dropout(input, p, training, inplace, dims):
    """Zero whole channels; the input has a channel dimension, `dims` behind it, and a batch before it or not."""
    _check_probability(p)
    if not training or p == 0:
        return input
    batched = input.array.ndim != dims + 1
    args = (input, p, 2 if batched else 1)
    return apply_inplace(_channels_dropped, "feature_dropout_", *args) if inplace else _channels_dropped(*args)


@export("nn.functional.dropout1d")
def dropout1d(input, p=0.5, training=True, inplace=False):
    """Zero each channel of (N, C, L) or (C, L) with probability `p` and scale the others by 1 / (1 - p)."""
    _check_probability(p)
    if input.array.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.array.ndim}D input. Note that dropout1d exists "
            "to provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _feature_dropout(input, p, training, inplace, 1)


@export("nn.functional.dropout2d")
def dropout2d(input, p=0.5, training=True, inplace=False):
    """Zero each channel of (N, C, H, W) or (C, H, W) with probability `p` and scale the others by 1 / (1 - p).

    A matrix (N, C) is taken for channels without extent, with a warning; of three dimensions the first is the batch, as
    in PyTorch.
    """
    rank = input.array.ndim
    if rank not in (3, 4):
        warnings.warn(
            f"dropout2d: Received a {rank}-D input to dropout2d, which is deprecated and will result in an error in a "
            "future release. To retain the behavior and silence this warning, please use dropout instead. Note that "
            "dropout2d exists to provide channel-wise dropout on inputs with 2 spatial dimensions, a channel "
            "dimension, and an optional batch dimension (i.e. 3D or 4D inputs).",
            stacklevel=3,
        )
    if rank == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
            "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=3,
        )
    return _feature_dropout(input, p, training, inplace, 0)


@export("nn.functional.dropout3d")
def dropout3d(input, p=0.5, training=True, inplace=False):
    """Zero each channel of (N, C, D, H, W) or (C, D, H, W) with probability `p` and scale the others by 1 / (1 - p)."""
    rank = input.array.ndim
    if rank not in (4, 5):
        warnings.warn(
            f"dropout3d: Received a {rank}-D input to dropout3d, which is deprecated and will result in an error in a "
            "future release. To retain the behavior and silence this warning, please use dropout instead. Note that "
            "dropout3d exists to provide channel-wise dropout on inputs with 3 spatial dimensions, a channel "
            "dimension, and an optional batch dimension (i.e. 4D or 5D inputs).",
            stacklevel=3,
        )
    return _feature_dropout(input, p, training, inplace, 3)


_SATURATED = -1.7580993408473766  # what selu tends to far below zero: -scale * alpha [Klambauer et al. 2017]


def _alpha_dropped(input, p, channel_dims):
    """Set elements (whole channels, behind `channel_dims` dimensions) to selu's limit; keep mean and variance."""
    shape = input.array.shape
    kept = shape[:channel_dims] + (1,) * (len(shape) - channel_dims)
    mask = _dropped(input.detach().new_ones(kept), p) * (1 - p)  # 1 with probability 1 - p
    scale = 1 / math.sqrt((1 - p) * (1 + p * _SATURATED**2)) if p < 1 else 0.0
    return input * (mask * scale) + ((1 - mask) * (_SATURATED * scale) - p * _SATURATED * scale)


def _alpha_dropout(name, input, p, training, inplace, channel_dims):
    _check_probability(p)
    if not training or p == 0:
        return input
    args = (input, p, channel_dims)
    return apply_inplace(_alpha_dropped, f"{name}_", *args) if inplace else _alpha_dropped(*args)


@export("nn.functional.alpha_dropout")
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Set each element to selu's lower limit with probability `p`; mean and variance stay [Klambauer et al. 2017]."""
    return _alpha_dropout("alpha_dropout", input, p, training, inplace, input.array.ndim)


@export("nn.functional.feature_alpha_dropout")
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels (N, C)."""
    if training and input.array.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return _alpha_dropout("feature_alpha_dropout", input, p, training, inplace, 2)


@export("alpha_dropout")
def alpha_dropout_of_root(input, p, train):
    """alpha_dropout with its arguments in the order of the root's functions."""
    return alpha_dropout(input, p, train)


@export("feature_alpha_dropout")
def feature_alpha_dropout_of_root(input, p, train):
    """feature_alpha_dropout with its arguments in the order of the root's functions."""
    return feature_alpha_dropout(input, p, train)


@export("native_dropout")
def native_dropout(input, p, train):
    """dropout, and which elements were kept."""
    if train is False or p == 0:
        return input, input.detach().new_ones(input.shape, dtype=dtypes.bool_)
    _check_probability(p)
    mask = _dropped(input.detach().new_ones(input.shape), p)
    return input * mask, mask != 0
