"""Spectra of real sounds by products with tables of sines: gradients flow, and no complex numbers are needed."""

from __future__ import annotations

import functools
import math

import numpy as np

from tritorch import creation
from tritorch.nn import functional as F


@functools.lru_cache(maxsize=32)
def _sines(n_fft, onesided):
    """cos and -sin of 2 pi k t / n, (n_fft, 2 frequencies), in float64."""
    count = n_fft // 2 + 1 if onesided else n_fft
    angle = 2 * np.pi / n_fft * (np.arange(n_fft)[:, None] * np.arange(count)[None] % n_fft)
    return np.concatenate([np.cos(angle), -np.sin(angle)], 1)


def spectrum(waveform, window, n_fft, hop_length, win_length, center=True, pad_mode="reflect", onesided=True):
    """The real and the imaginary part of the short-time Fourier transform, each (..., frequencies, frames).

    Frame t holds the waveform from t hop_length on, or around it where `center`, times the window, which is filled up
    with zeros on both sides from win_length to n_fft.
    """
    if window.shape != (win_length,) or not 0 < win_length <= n_fft:
        raise ValueError(
            f"spectrogram(): the window must have win_length = {win_length} elements, at most n_fft = {n_fft}, but its "
            f"shape is {list(window.shape)}"
        )
    shape = waveform.shape
    rows = waveform.reshape(-1, 1, shape[-1])
    if center:
        if pad_mode == "reflect" and shape[-1] <= n_fft // 2:
            raise RuntimeError(
                f"spectrogram(): {shape[-1]} samples are too few to reflect {n_fft // 2}; give a longer sound, a "
                "smaller n_fft, or pad_mode='constant'"
            )
        rows = F.pad(rows, (n_fft // 2, n_fft // 2), mode=pad_mode)
    if rows.shape[-1] < n_fft:
        raise RuntimeError(f"spectrogram(): {rows.shape[-1]} samples are fewer than n_fft = {n_fft}")
    before = (n_fft - win_length) // 2
    full = F.pad(window.to(waveform.dtype), (before, n_fft - win_length - before))
    table = creation.tensor(_sines(n_fft, onesided), dtype=waveform.dtype, device=waveform.device)
    frames = rows.squeeze(1).unfold(-1, n_fft, hop_length)  # (sounds, frames, n_fft)
    both = (frames * full) @ table
    half = both.shape[-1] // 2
    parts = (both[..., :half].transpose(-1, -2), both[..., half:].transpose(-1, -2))
    return tuple(each.reshape(*shape[:-1], *each.shape[-2:]) for each in parts)


def mel_of(hertz, scale):
    """Hertz as mels: 2595 log10(1 + f / 700) ("htk"), or linear below 1,000 Hz and logarithmic above ("slaney")."""
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    if scale == "slaney":
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
    raise ValueError('mel_scale should be one of "htk" or "slaney".')


def hertz_of(mels, scale):
    """Mels, an array, as hertz."""
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(math.log(6.4) / 27 * (np.maximum(mels, 15) - 15)))
