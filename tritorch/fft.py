"""Fourier transforms give complex numbers, of which there are none here; what is real about them is.

Spectra of real signals can be had as products with cosines and sines, as `tritorch.audio` computes spectrograms.
"""

from __future__ import annotations

import tritorch
from tritorch.refused import refuse_all

_COMPLEX = (
    "fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "rfft", "irfft", "rfft2", "irfft2", "rfftn", "irfftn", "hfft",
    "ihfft", "hfft2", "ihfft2", "hfftn", "ihfftn",
)  # fmt: skip
globals().update(refuse_all("fft", _COMPLEX, "its result is complex. Multiply by matrices of cosines and sines."))


def fftfreq(n, d=1.0, *, dtype=None, device=None, requires_grad=False):
    """The frequencies of a transform of `n` samples `d` apart: (0, 1, ..., -2, -1) / (n d)."""
    whole = tritorch.arange(n, dtype=tritorch.float64, device=device)
    made = ((whole + n // 2) % n - n // 2) / (n * d)
    return _finish(made, dtype, requires_grad)


def rfftfreq(n, d=1.0, *, dtype=None, device=None, requires_grad=False):
    """The frequencies of a transform of `n` real samples: (0, 1, ..., n // 2) / (n d)."""
    made = tritorch.arange(n // 2 + 1, dtype=tritorch.float64, device=device) / (n * d)
    return _finish(made, dtype, requires_grad)


def _finish(made, dtype, requires_grad):
    return made.to(dtype or tritorch.get_default_dtype()).requires_grad_(requires_grad)


def _rolled(input, dim, forth):
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    halves = [input.shape[each] // 2 for each in dims]
    return tritorch.roll(input, halves if forth else [-half for half in halves], dims)


def fftshift(input, dim=None):
    """The elements with frequency 0 moved to the middle of each of `dim`, by default of all dimensions."""
    return _rolled(input, dim, True)


def ifftshift(input, dim=None):
    """The opposite of `fftshift`."""
    return _rolled(input, dim, False)
