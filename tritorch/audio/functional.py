"""Functions on sounds, (..., time), and spectrograms, (..., frequencies, time)."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np

from tritorch import creation
from tritorch.audio.spectrum import hertz_of, mel_of, spectrum
from tritorch.functional.drawing import rand
from tritorch.nn import functional as F


def spectrogram(waveform, pad, window, n_fft, hop_length, win_length, power, normalized, center=True,
                pad_mode="reflect", onesided=True, return_complex=None):  # fmt: skip
    """|short-time Fourier transform| ^ power, (..., n_fft // 2 + 1, frames).

    `normalized` True or "window" divides by the root of the sum of the window's squares, "frame_length" by that of its
    length. `power=None` would be complex, and is refused.
    """
    if power is None:
        raise NotImplementedError(
            "spectrogram(): power=None gives complex numbers, which tritorch does not have; "
            "tritorch.audio.spectrum.spectrum gives the real and the imaginary part"
        )
    if pad > 0:
        waveform = F.pad(waveform, (pad, pad))
    real, imaginary = spectrum(waveform, window, n_fft, hop_length, win_length, center, pad_mode, onesided)
    energy = real**2 + imaginary**2
    if normalized:
        energy = energy / (win_length if normalized == "frame_length" else (window**2).sum())
    return energy if power == 2 else energy ** (power / 2)


def amplitude_to_DB(x, multiplier, amin, db_multiplier, top_db=None):
    """multiplier * (log10(max(x, amin)) - db_multiplier), and no less than `top_db` below the loudest of each sound."""
    found = multiplier * x.clamp(min=amin).log10() - multiplier * db_multiplier
    if top_db is None:
        return found
    shape = found.shape
    packed = found.reshape(-1, shape[-3] if found.dim() > 2 else 1, *shape[-2:])
    floor = packed.amax((-3, -2, -1), keepdim=True) - top_db
    return packed.maximum(floor).reshape(shape)


def DB_to_amplitude(x, ref, power):
    """ref * (10 ^ (x / 10)) ^ power."""
    return ref * (10.0 ** (0.1 * x)) ** power


def melscale_fbanks(n_freqs, f_min, f_max, n_mels, sample_rate, norm=None, mel_scale="htk"):
    """Triangles of equal width in mels, (n_freqs, n_mels): a spectrogram times this is a mel spectrogram.

    norm="slaney" divides each by its width in hertz.
    """
    if norm is not None and norm != "slaney":
        raise ValueError('norm must be one of None or "slaney"')
    points = hertz_of(np.linspace(mel_of(f_min, mel_scale), mel_of(f_max, mel_scale), n_mels + 2), mel_scale)
    banks = _triangles(np.linspace(0, sample_rate // 2, n_freqs), points)
    if norm == "slaney":
        banks *= 2 / (points[2:] - points[:-2])
    if (banks.max(0) == 0).any():
        warnings.warn(
            f"At least one mel filterbank has all zero values. The value for `n_mels` ({n_mels}) may be set too high. "
            f"Or, the value for `n_freqs` ({n_freqs}) may be set too low.",
            stacklevel=2,
        )
    return creation.tensor(banks, dtype=creation.empty(0).dtype)


def linear_fbanks(n_freqs, f_min, f_max, n_filter, sample_rate):
    """Triangles of equal width in hertz, (n_freqs, n_filter)."""
    banks = _triangles(np.linspace(0, sample_rate // 2, n_freqs), np.linspace(f_min, f_max, n_filter + 2))
    return creation.tensor(banks, dtype=creation.empty(0).dtype)


def _triangles(frequencies, points):
    slopes = points[None] - frequencies[:, None]
    widths = np.diff(points)
    return np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))


def create_dct(n_mfcc, n_mels, norm):
    """The matrix of the cosine transform of type 2, (n_mels, n_mfcc); norm is None or "ortho"."""
    if norm is not None and norm != "ortho":
        raise ValueError('norm must be either "ortho" or None')
    table = np.cos(np.pi / n_mels * (np.arange(n_mels)[:, None] + 0.5) * np.arange(n_mfcc)[None])
    if norm is None:
        table *= 2
    else:
        table[:, 0] /= math.sqrt(2)
        table *= math.sqrt(2 / n_mels)
    return creation.tensor(table, dtype=creation.empty(0).dtype)


def resample(waveform, orig_freq, new_freq, lowpass_filter_width=6, rolloff=0.99,
             resampling_method="sinc_interp_hann", beta=None):  # fmt: skip
    """The sound at another sample rate: each new sample is a sum of old ones weighted by a windowed sinc.

    `lowpass_filter_width` zero crossings of the sinc are kept, whose cut-off is `rolloff` times half the lower rate;
    the window is Hann's or Kaiser's ("sinc_interp_kaiser", with `beta`). Source: Smith, "Digital audio resampling",
    2002.
    """
    if orig_freq != int(orig_freq) or new_freq != int(new_freq) or min(orig_freq, new_freq) <= 0:
        raise ValueError(f"resample(): frequencies must be positive integers, but got {orig_freq} and {new_freq}")
    if orig_freq == new_freq:
        return waveform
    common = math.gcd(int(orig_freq), int(new_freq))
    old, new = int(orig_freq) // common, int(new_freq) // common
    kernel, width = sinc_kernel(old, new, lowpass_filter_width, rolloff, resampling_method, beta)
    weight = creation.tensor(kernel, dtype=waveform.dtype, device=waveform.device)
    return resampled(waveform, weight, width, old, new)


def resampled(waveform, kernel, width, old, new):
    """The sound at new / old times its rate, by the kernel that `sinc_kernel` gave and the width it reaches."""
    shape = waveform.shape
    rows = F.pad(waveform.reshape(-1, 1, shape[-1]), (width, width + old))
    found = F.conv1d(rows, kernel, stride=old).transpose(1, 2).reshape(rows.shape[0], -1)
    length = math.ceil(new * shape[-1] / old)
    return found[:, :length].reshape(*shape[:-1], length)


@functools.lru_cache(maxsize=32)
def sinc_kernel(old, new, crossings, rolloff, method, beta):
    """The weights of old samples for each of `new` samples in turn, (new, 1, taps), and how far they reach."""
    if crossings <= 0:
        raise ValueError("Low pass filter width should be positive.")
    cut = min(old, new) * rolloff
    width = math.ceil(crossings * old / cut)
    time = (np.arange(0, -new, -1)[:, None] / new + np.arange(-width, width + old)[None] / old) * cut
    time = np.clip(time, -crossings, crossings)
    if method == "sinc_interp_hann":
        window = np.cos(time * np.pi / crossings / 2) ** 2
    elif method == "sinc_interp_kaiser":
        beta = 14.769656459379492 if beta is None else beta
        window = np.i0(beta * np.sqrt(1 - (time / crossings) ** 2)) / np.i0(beta)
    else:
        raise ValueError(f"Invalid resampling method: {method}")
    return (np.sinc(time) * window * (cut / old))[:, None], width


def mu_law_encoding(x, quantization_channels):
    """Numbers from -1 to 1 as integers below `quantization_channels`, finer near 0."""
    mu = quantization_channels - 1.0
    if not x.is_floating_point():
        raise TypeError("The input Tensor must be of floating type. ")
    bent = x.sign() * (mu * x.abs()).log1p() / math.log1p(mu)
    return ((bent + 1) / 2 * mu + 0.5).long()


def mu_law_decoding(x_mu, quantization_channels):
    """The numbers that `mu_law_encoding` made integers of."""
    mu = quantization_channels - 1.0
    x = (x_mu if x_mu.is_floating_point() else x_mu.float()) / mu * 2 - 1
    return x.sign() * ((x.abs() * math.log1p(mu)).exp() - 1) / mu


def compute_deltas(specgram, win_length=5, mode="replicate"):
    """The slope over time: sum of n (c[t + n] - c[t - n]) over 2 sum of n^2, n from 1 to (win_length - 1) / 2."""
    if win_length < 3:
        raise ValueError(f"Window length should be greater than or equal to 3. Found win_length {win_length}")
    half = (win_length - 1) // 2
    shape = specgram.shape
    rows = F.pad(specgram.reshape(-1, 1, shape[-1]), (half, half), mode=mode)
    scale = half * (half + 1) * (2 * half + 1) / 3
    kernel = creation.tensor(np.arange(-half, half + 1)[None, None] / scale, dtype=rows.dtype, device=rows.device)
    return F.conv1d(rows, kernel).reshape(shape)


def preemphasis(waveform, coeff=0.97):
    """x[t] - coeff x[t - 1]."""
    return waveform - coeff * F.pad(waveform[..., :-1], (1, 0))


def add_noise(waveform, noise, snr, lengths=None):
    """The sound and a noise as loud as the ratio `snr`, in decibels, of their energies asks for."""
    if waveform.shape != noise.shape:
        raise ValueError(f"add_noise(): waveform and noise have the shapes {list(waveform.shape)}, {list(noise.shape)}")
    heard, other = waveform, noise
    if lengths is not None:
        inside = creation.arange(waveform.shape[-1], device=waveform.device) < lengths.unsqueeze(-1)
        heard, other = waveform * inside, noise * inside
    ratio = 10 * ((heard**2).sum(-1).log10() - (other**2).sum(-1).log10())
    return waveform + (10 ** ((ratio - snr) / 20)).unsqueeze(-1) * noise


def mask_along_axis(specgram, mask_param, mask_value, axis, p=1.0):
    """The spectrogram with one stretch along `axis`, drawn at random, set to `mask_value`; the same for all in it.

    Its length is uniform below `mask_param`, or below `p` of the axis. Source: Park et al., "SpecAugment", 2019.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"The value of p must be between 0.0 and 1.0 ({p} given).")
    if axis % specgram.dim() not in (specgram.dim() - 2, specgram.dim() - 1):
        raise ValueError(f"Only Frequency and Time masking are supported (axis {axis} given).")
    return _masked(specgram, mask_param, mask_value, axis, p, ())


def mask_along_axis_iid(specgrams, mask_param, mask_value, axis, p=1.0):
    """As `mask_along_axis`, but a stretch of its own for each example and channel, the leading dimensions."""
    if axis % specgrams.dim() not in (specgrams.dim() - 2, specgrams.dim() - 1):
        raise ValueError(f"Only Frequency and Time masking are supported (axis {axis} given).")
    return _masked(specgrams, mask_param, mask_value, axis, p, specgrams.shape[:-2])


def _masked(specgram, mask_param, mask_value, axis, p, apart):
    size = specgram.shape[axis]
    longest = min(mask_param, int(size * p)) if p != 1.0 else mask_param
    if longest < 1:
        return specgram
    length = rand(apart, device=specgram.device) * longest
    first = (rand(apart, device=specgram.device) * (size - length)).long().unsqueeze(-1)
    place = creation.arange(size, device=specgram.device)
    hidden = (place >= first) & (place < first + length.long().unsqueeze(-1))
    hidden = hidden.unsqueeze(-2 if axis % specgram.dim() == specgram.dim() - 1 else -1)
    return specgram.masked_fill(hidden, mask_value)


def edit_distance(seq1, seq2):
    """How many insertions, deletions and replacements make one sequence of the other (Levenshtein, 1966)."""
    row = list(range(len(seq2) + 1))
    for first in seq1:
        before, row = row, [row[0] + 1]
        for at, second in enumerate(seq2):
            row.append(min(row[-1] + 1, before[at + 1] + 1, before[at] + (first != second)))
    return row[-1]
