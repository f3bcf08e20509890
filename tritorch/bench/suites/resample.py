"""Images made twice as large, and read at any place; channels innermost."""

from __future__ import annotations

from tritorch.bench.bandwidth import Op, family, images
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "images of 64 channels, 56 x 56"
LAST = (0, 2, 3, 1)


def _images(count, channels, side):
    return (Input((count, channels, side, side), requires_grad=True, order=LAST),)


def _images_and_places(count, channels, side):
    return Input((count, channels, side, side), requires_grad=True), Input((count, side, side, 2), 0.4)


def _same(count, channels, side):
    return (count, channels, side, side)


def _doubled(count, channels, side):
    return (count, channels, 2 * side, 2 * side)


def _larger(mode):
    def function(lib, x):
        return lib.nn.functional.interpolate(x, scale_factor=2, mode=mode)

    return function


OPS = (
    Op("nearest", _larger("nearest"), _images, _doubled, kept=lambda *shape: 0),
    Op("bilinear", _larger("bilinear"), _images, _doubled, kept=lambda *shape: 0),
    Op("grid_sample", lambda lib, x, places: lib.nn.functional.grid_sample(x, places, align_corners=False),
       _images_and_places, _same),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every op over counts of images."""
    return family(OPS, images(quick, small), dtypes, size=lambda shape: shape[0])
