"""The gradient of a convolution by its input as convolutions of stride 1, one for each phase of the stride.

Along a dimension of stride s, image positions fall into s phases: phase, phase + s, ... In each of them only every
so-many-th tap matters, and with those taps it is a convolution of stride 1 over the gradient, read backwards. Nothing
is multiplied by the zeros that a gradient spread out by the stride would have.
"""

from __future__ import annotations

import itertools
import math


def phases(size, taps, stride, padding, dilation):
    """For each phase: slices of the image and of the taps, then base and step for each dimension.

    Position q of a phase sums, over the taps t of its slice, the gradient at q + base + step * t.
    """
    dimensions = [
        [(slice(phase, None, by), *_phase(phase, count, by, ends[0], step)) for phase in range(min(by, length))]
        for length, count, by, ends, step in zip(size, taps, stride, padding, dilation, strict=True)
    ]
    for chosen in itertools.product(*dimensions):
        yield tuple(zip(*chosen, strict=True))


def _phase(phase, taps, stride, before, dilation):
    """Which taps reach the positions phase, phase + stride, ..., and where the first reads and how far on the next.

    Position phase + stride * q gets tap t from gradient (phase + before - dilation * t) / stride + q, if that divides.
    """
    by = stride // math.gcd(stride, dilation)
    first = next((tap for tap in range(min(by, taps)) if (phase + before - dilation * tap) % stride == 0), taps)
    return slice(first, None, by), (phase + before - dilation * first) // stride, -(dilation * by // stride)
