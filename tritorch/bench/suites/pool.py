"""Pooling of images with channels innermost, forward and backward."""

from __future__ import annotations

from tritorch.bench.bandwidth import Op, family, images
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "images of 64 channels, 56 x 56"
LAST = (0, 2, 3, 1)


def _images(count, channels, side):
    return (Input((count, channels, side, side), requires_grad=True, order=LAST),)


def _halved(count, channels, side):
    return (count, channels, side // 2, side // 2)


def _nothing(count, channels, side):
    return 0


OPS = (
    Op("max_pool2d 2x2", lambda lib, x: lib.nn.functional.max_pool2d(x, 2), _images, _halved,
       kept=lambda count, channels, side: count * channels * side * side),
    Op("max_pool2d 3x3/2", lambda lib, x: lib.nn.functional.max_pool2d(x, 3, 2, 1), _images, _halved,
       kept=lambda count, channels, side: count * channels * side * side),
    Op("avg_pool2d 2x2", lambda lib, x: lib.nn.functional.avg_pool2d(x, 2), _images, _halved, kept=_nothing),
    Op("adaptive_avg_pool2d", lambda lib, x: lib.nn.functional.adaptive_avg_pool2d(x, 1), _images,
       lambda count, channels, side: (count, channels, 1, 1), kept=_nothing),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every op over counts of images."""
    return family(OPS, images(quick, small), dtypes, size=lambda shape: shape[0])
