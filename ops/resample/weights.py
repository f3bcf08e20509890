"""How grid sampling reads an image: positions beyond its borders, and the weights of the elements around a position.

Each is a formula: it is compiled into the kernels, runs on NumPy arrays, and is differentiable on Tensors. Positions
count elements, and are floating point.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.ops.formula import absolute, floor, formula, where


@formula
def cubic_weight(distance, slope):
    """The cubic convolution kernel, which has the `slope` at one. Source: Keys, 1981."""
    far = absolute(distance)
    inner = ((slope + 2) * far - (slope + 3)) * far * far + 1
    outer = (((far - 5) * far + 8) * far - 4) * slope
    return where(far < 1, inner, where(far < 2, outer, 0))


@formula
def _keys(distance):
    return cubic_weight(distance, -0.75)


@formula
def _keys_slope(distance):
    far = absolute(distance)
    inner = (3.75 * far - 4.5) * far
    outer = ((7.5 - 2.25 * far) * far) - 6
    return where(distance < 0, -1, 1) * where(far < 1, inner, where(far < 2, outer, 0))


@formula
def _triangle(distance):
    return 1 - absolute(distance)


@formula
def _triangle_slope(distance):
    return where(distance < 0, 1, -1)


@formula
def _one(distance):
    return 1 + 0 * distance


@formula
def _flat(distance):
    return 0 * distance


@formula
def _before(position):
    return floor(position)


@formula
def _one_before(position):
    return floor(position) - 1


@formula
def _nearest(position):
    """The nearest whole number, the even one of two."""
    whole = floor(position)
    rest = position - whole
    odd = whole - 2 * floor(whole * 0.5)
    return where((rest > 0.5) | ((rest == 0.5) & (odd != 0)), whole + 1, whole)


@formula
def _anywhere(position, size, corners):
    return position


@formula
def _clipped(position, size, corners):
    return where(position > 0, where(position < size - 1, position, size - 1), 0)


@formula
def _mirrored(position, size, corners):
    """Reflected at the centres of the outermost elements (`corners` is 1) or at their outer edges (0), then clipped."""
    low = (corners - 1) * 0.5
    span = size - corners + where(size - corners == 0, 1, 0)
    far = absolute(position - low)
    times = floor(far / span)
    rest = far - times * span
    back = times - 2 * floor(times * 0.5)
    return _clipped(where(back == 0, rest, span - rest) + low, size, corners)


@formula
def _steady(position, size, corners):
    return 1


@formula
def _clipped_slope(position, size, corners):
    return where((position <= 0) | (position >= size - 1), 0, 1)


@formula
def _mirrored_slope(position, size, corners):
    low = (corners - 1) * 0.5
    span = size - corners + where(size - corners == 0, 1, 0)
    times = floor(absolute(position - low) / span)
    back = times - 2 * floor(times * 0.5)
    return (
        where(position < low, -1, 1) * where(back == 0, 1, -1)
        * _clipped_slope(_mirrored(position, size, corners), size, corners)
    )  # fmt: skip


@formula
def safe(position):
    """The position, but one far outside where it is not finite or no integer can hold it."""
    return where(absolute(position) < 1073741824, position, -100)


class Interpolation(NamedTuple):
    """Which elements around a position are read: `taps` from `start` on, weighed by their distance from it."""

    taps: int
    start: object
    weight: object
    slope: object  # of the weight by the position
    late: bool  # whether borders move the elements read rather than the position


class Border(NamedTuple):
    """Where a position beyond the borders is taken to be."""

    place: object
    slope: object


INTERPOLATIONS = {
    "bilinear": Interpolation(2, _before, _triangle, _triangle_slope, False),
    "nearest": Interpolation(1, _nearest, _one, _flat, False),
    "bicubic": Interpolation(4, _one_before, _keys, _keys_slope, True),
}
BORDERS = {
    "zeros": Border(_anywhere, _steady),
    "border": Border(_clipped, _clipped_slope),
    "reflection": Border(_mirrored, _mirrored_slope),
}
