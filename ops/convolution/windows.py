"""What the taps of a window read, as views of padded images: the plain way to say what a convolution sums."""

from __future__ import annotations

import numpy as np


def padded(x, padding):
    """Images with zeros around each: (before, after) for each spatial dimension."""
    return np.pad(x, ((0, 0), (0, 0), *padding))


def taps_of(images, kernel, out, stride, dilation):
    """For each tap of the kernel: its place in it, and the view of padded images it reads, of the output's size."""
    for tap in np.ndindex(*kernel):
        firsts = [at * step for at, step in zip(tap, dilation, strict=True)]
        reads = [slice(first, first + (places - 1) * by + 1, by)
                 for first, places, by in zip(firsts, out, stride, strict=True)]  # fmt: skip
        yield tap, images[(slice(None), slice(None), *reads)]
