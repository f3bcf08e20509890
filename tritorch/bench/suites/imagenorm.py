"""Normalisation of images, batch_norm and group_norm as a net is trained, in both layouts."""

from __future__ import annotations

import math

from tritorch.bench.bandwidth import Op, family, images
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "images of 64 channels, 56 x 56"
GROUPS = 8
LAST = (0, 2, 3, 1)


def _inputs(order):
    def inputs(count, channels, side):
        weights = Input((channels,), requires_grad=True)
        return Input((count, channels, side, side), requires_grad=True, order=order), weights, weights

    return inputs


def _same(count, channels, side):
    return (count, channels, side, side)


def _kept(count, channels, side):
    return count * channels * side * side + 3 * channels


def _batch_norm(lib, x, weight, bias):
    return lib.nn.functional.batch_norm(x, None, None, weight, bias, training=True)


def _group_norm(lib, x, weight, bias):
    return lib.nn.functional.group_norm(x, GROUPS, weight, bias)


OPS = (
    Op("batch_norm channels last", _batch_norm, _inputs(LAST), _same, kept=_kept),
    Op("batch_norm channels first", _batch_norm, _inputs(None), _same, kept=_kept),
    Op("group_norm", _group_norm, _inputs(None), _same, kept=_kept),
    Op("group_norm channels last", _group_norm, _inputs(LAST), _same, kept=_kept),
)


def cases(dtypes, quick, small):
    """All of them over counts of images."""
    return family(OPS, images(quick, small), dtypes, size=lambda shape: shape[0], length=math.prod)
