"""Windows for Fourier transforms: M numbers that rise and fall, alike from both ends (`sym`) or over a period of M."""

from __future__ import annotations

from tritorch.functional.windows import cosine_sum, gaussian_curve, kaiser_curve, points, triangle, window

NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


@window
def bartlett(M, sym=True, **kind):
    """1 - |k|, k from -1 to 1: a triangle."""
    return triangle(M, sym, kind)


@window
def blackman(M, sym=True, **kind):
    """0.42 - 0.5 cos(k) + 0.08 cos(2 k), k from 0 to 2 pi."""
    return cosine_sum(M, (0.42, 0.5, 0.08), sym, kind)


@window
def cosine(M, sym=True, **kind):
    """sin(pi (n + 1/2) / M): half a period of a sine."""
    return points(M, 0.5, 1, kind).mul(3.141592653589793 / max(M if sym or M < 2 else M + 1, 1)).sin()


@window
def exponential(M, center=None, tau=1.0, sym=True, **kind):
    """exp(-|n - center| / tau); the middle is the center unless it is given, which a symmetric window refuses."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if center is None:
        center = (M - 1 if sym or M < 2 else M) / 2
    return points(M, -center / tau, 1 / tau, kind).abs().neg().exp()


@window
def gaussian(M, std=1.0, sym=True, **kind):
    """exp(-(n - middle)^2 / (2 std^2))."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return gaussian_curve(M, std, sym, kind)


@window
def general_cosine(M, a, sym=True, **kind):
    """a[0] - a[1] cos(k) + a[2] cos(2 k) - ..., k from 0 to 2 pi."""
    if not isinstance(a, (list, tuple)):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return cosine_sum(M, a, sym, kind)


@window
def general_hamming(M, alpha=0.54, sym=True, **kind):
    """alpha - (1 - alpha) cos(k), k from 0 to 2 pi."""
    return cosine_sum(M, (alpha, 1 - alpha), sym, kind)


@window
def hamming(M, sym=True, **kind):
    """0.54 - 0.46 cos(k), k from 0 to 2 pi."""
    return cosine_sum(M, (0.54, 0.46), sym, kind)


@window
def hann(M, sym=True, **kind):
    """(1 - cos(k)) / 2, k from 0 to 2 pi."""
    return cosine_sum(M, (0.5, 0.5), sym, kind)


@window
def kaiser(M, beta=12.0, sym=True, **kind):
    """i0(sqrt(beta^2 - k^2)) / i0(beta), k from -beta to beta."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return kaiser_curve(M, beta, sym, kind)


@window
def nuttall(M, sym=True, **kind):
    """The sum of four cosines with the lowest side lobes [Nuttall 1981]."""
    return cosine_sum(M, NUTTALL, sym, kind)


__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip
