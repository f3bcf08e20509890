"""Dropout, element by element or of whole channels."""

from __future__ import annotations

import warnings

from tritorch.autograd.inplace import apply_inplace
from tritorch.ops.base import TABLE, export
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
    return Dropout.apply(input, p, *default_generator.take(-(-input.array.size // 4)))


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
    return _feature_dropout(input, p, training, inplace, 3)
