"""The functions of `tritorch.audio.functional` as modules, which keep their windows and tables as buffers."""

from __future__ import annotations

import math
from typing import ClassVar

from tritorch import creation, nn
from tritorch.audio import functional as A
from tritorch.signal.windows import hann


def hann_window(length, **options):
    """Hann's window for spectra: periodic."""
    return hann(length, sym=False, **options)


class Spectrogram(nn.Module):
    """|short-time Fourier transform| ^ power of a sound, (..., time) to (..., n_fft // 2 + 1, frames)."""

    def __init__(self, n_fft=400, win_length=None, hop_length=None, pad=0, window_fn=hann_window, power=2.0,
                 normalized=False, wkwargs=None, center=True, pad_mode="reflect", onesided=True,
                 return_complex=None):  # fmt: skip
        super().__init__()
        self.n_fft, self.win_length = n_fft, n_fft if win_length is None else win_length
        self.hop_length = self.win_length // 2 if hop_length is None else hop_length
        self.register_buffer("window", window_fn(self.win_length, **(wkwargs or {})))
        self.pad, self.power, self.normalized = pad, power, normalized
        self.center, self.pad_mode, self.onesided = center, pad_mode, onesided

    def forward(self, waveform):
        return A.spectrogram(waveform, self.pad, self.window, self.n_fft, self.hop_length, self.win_length, self.power,
                             self.normalized, self.center, self.pad_mode, self.onesided)  # fmt: skip


class MelScale(nn.Module):
    """A spectrogram, (..., n_stft, time), with its frequencies gathered into mels, (..., n_mels, time)."""

    def __init__(self, n_mels=128, sample_rate=16000, f_min=0.0, f_max=None, n_stft=201, norm=None, mel_scale="htk"):
        super().__init__()
        self.n_mels, self.sample_rate = n_mels, sample_rate
        self.f_min, self.f_max = f_min, float(sample_rate // 2) if f_max is None else f_max
        self.norm, self.mel_scale = norm, mel_scale
        if f_min > self.f_max:
            raise ValueError(f"Require f_min: {f_min} <= f_max: {self.f_max}")
        banks = A.melscale_fbanks(n_stft, f_min, self.f_max, n_mels, sample_rate, norm, mel_scale)
        self.register_buffer("fb", banks)

    def forward(self, specgram):
        return (specgram.transpose(-1, -2) @ self.fb).transpose(-1, -2)


class MelSpectrogram(nn.Module):
    """Spectrogram, then MelScale: (..., time) to (..., n_mels, frames)."""

    def __init__(self, sample_rate=16000, n_fft=400, win_length=None, hop_length=None, f_min=0.0, f_max=None, pad=0,
                 n_mels=128, window_fn=hann_window, power=2.0, normalized=False, wkwargs=None, center=True,
                 pad_mode="reflect", onesided=None, norm=None, mel_scale="htk"):  # fmt: skip
        super().__init__()
        self.sample_rate, self.n_fft, self.n_mels = sample_rate, n_fft, n_mels
        self.spectrogram = Spectrogram(
            n_fft, win_length, hop_length, pad, window_fn, power, normalized, wkwargs, center, pad_mode
        )
        self.win_length, self.hop_length = self.spectrogram.win_length, self.spectrogram.hop_length
        self.mel_scale = MelScale(n_mels, sample_rate, f_min, f_max, n_fft // 2 + 1, norm, mel_scale)

    def forward(self, waveform):
        return self.mel_scale(self.spectrogram(waveform))


class AmplitudeToDB(nn.Module):
    """Power or magnitude in decibels; `top_db` bounds how far below the loudest."""

    def __init__(self, stype="power", top_db=None):
        super().__init__()
        if stype not in ("power", "magnitude"):
            raise ValueError(f"stype must be 'power' or 'magnitude', but got {stype!r}")
        if top_db is not None and top_db < 0:
            raise ValueError("top_db must be positive value")
        self.stype, self.top_db = stype, top_db
        self.multiplier, self.amin, self.ref_value = 10.0 if stype == "power" else 20.0, 1e-10, 1.0
        self.db_multiplier = math.log10(max(self.amin, self.ref_value))

    def forward(self, x):
        return A.amplitude_to_DB(x, self.multiplier, self.amin, self.db_multiplier, self.top_db)


class MFCC(nn.Module):
    """The cosine transform of the decibels, or logarithms, of a mel spectrogram: (..., time) to (..., n_mfcc, frames).

    Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", 1980.
    """

    def __init__(self, sample_rate=16000, n_mfcc=40, dct_type=2, norm="ortho", log_mels=False, melkwargs=None):
        super().__init__()
        if dct_type != 2:
            raise ValueError(f"DCT type not supported: {dct_type}")
        self.sample_rate, self.n_mfcc, self.dct_type, self.norm = sample_rate, n_mfcc, dct_type, norm
        self.log_mels, self.top_db = log_mels, 80.0
        self.amplitude_to_DB = AmplitudeToDB("power", self.top_db)
        self.MelSpectrogram = MelSpectrogram(sample_rate, **(melkwargs or {}))
        if n_mfcc > self.MelSpectrogram.n_mels:
            raise ValueError("Cannot select more MFCC coefficients than # mel bins")
        self.register_buffer("dct_mat", A.create_dct(n_mfcc, self.MelSpectrogram.n_mels, norm))

    def forward(self, waveform):
        mels = self.MelSpectrogram(waveform)
        mels = (mels + 1e-6).log() if self.log_mels else self.amplitude_to_DB(mels)
        return (mels.transpose(-1, -2) @ self.dct_mat).transpose(-1, -2)


class Resample(nn.Module):
    """The sound at another sample rate."""

    def __init__(self, orig_freq=16000, new_freq=16000, resampling_method="sinc_interp_hann", lowpass_filter_width=6,
                 rolloff=0.99, beta=None, *, dtype=None):  # fmt: skip
        super().__init__()
        self.orig_freq, self.new_freq, self.resampling_method = orig_freq, new_freq, resampling_method
        self.lowpass_filter_width, self.rolloff, self.beta = lowpass_filter_width, rolloff, beta
        common = math.gcd(int(orig_freq), int(new_freq))
        self.old, self.new = int(orig_freq) // common, int(new_freq) // common
        if orig_freq != new_freq:
            kernel, self.width = A.sinc_kernel(
                self.old, self.new, lowpass_filter_width, rolloff, resampling_method, beta
            )
            self.register_buffer("kernel", creation.tensor(kernel, dtype=dtype or creation.empty(0).dtype))

    def forward(self, waveform):
        if self.orig_freq == self.new_freq:
            return waveform
        return A.resampled(waveform, self.kernel.to(waveform.dtype), self.width, self.old, self.new)


class MuLawEncoding(nn.Module):
    """Numbers from -1 to 1 as integers, finer near 0."""

    def __init__(self, quantization_channels=256):
        super().__init__()
        self.quantization_channels = quantization_channels

    def forward(self, x):
        return A.mu_law_encoding(x, self.quantization_channels)


class MuLawDecoding(nn.Module):
    """The numbers that MuLawEncoding made integers of."""

    def __init__(self, quantization_channels=256):
        super().__init__()
        self.quantization_channels = quantization_channels

    def forward(self, x_mu):
        return A.mu_law_decoding(x_mu, self.quantization_channels)


class ComputeDeltas(nn.Module):
    """The slope of a spectrogram over time."""

    def __init__(self, win_length=5, mode="replicate"):
        super().__init__()
        self.win_length, self.mode = win_length, mode

    def forward(self, specgram):
        return A.compute_deltas(specgram, self.win_length, self.mode)


class _AxisMasking(nn.Module):
    axis = 0

    def __init__(self, mask_param, iid_masks=False, p=1.0):
        super().__init__()
        self.mask_param, self.iid_masks, self.p = mask_param, iid_masks, p

    def forward(self, specgram, mask_value=0.0):
        mask = A.mask_along_axis_iid if self.iid_masks else A.mask_along_axis
        return mask(specgram, self.mask_param, mask_value, self.axis, self.p)


class FrequencyMasking(_AxisMasking):
    """Hides a random band of frequencies, fewer than `freq_mask_param`."""

    axis = -2

    def __init__(self, freq_mask_param, iid_masks=False):
        super().__init__(freq_mask_param, iid_masks)


class TimeMasking(_AxisMasking):
    """Hides a random stretch of time, shorter than `time_mask_param` and than `p` of the whole."""

    axis = -1

    def __init__(self, time_mask_param, iid_masks=False, p=1.0):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"The value of p must be between 0.0 and 1.0 ({p} given).")
        super().__init__(time_mask_param, iid_masks, p)


class Vol(nn.Module):
    """Louder or softer: by a factor ("amplitude"), a factor of the power, or decibels ("db"); cut off at -1 and 1."""

    _factors: ClassVar[dict] = {
        "amplitude": lambda gain: gain,
        "power": math.sqrt,
        "db": lambda gain: 10 ** (gain / 20),
    }

    def __init__(self, gain, gain_type="amplitude"):
        super().__init__()
        if gain_type not in self._factors:
            raise ValueError(f"gain_type must be one of {', '.join(self._factors)}, but got {gain_type!r}")
        if gain_type != "db" and gain < 0:
            raise ValueError("If gain_type = amplitude or power, gain must be positive.")
        self.gain, self.gain_type = gain, gain_type

    def forward(self, waveform):
        return (waveform * self._factors[self.gain_type](self.gain)).clamp(-1, 1)


class Fade(nn.Module):
    """Rises over the first `fade_in_len` samples and falls over the last `fade_out_len`."""

    _shapes: ClassVar[dict] = {
        "linear": lambda t: t,
        "exponential": lambda t: 2 ** (t - 1) * t,
        "logarithmic": lambda t: (0.1 + t).log10() + 1,
        "quarter_sine": lambda t: (t * math.pi / 2).sin(),
        "half_sine": lambda t: (t * math.pi - math.pi / 2).sin() / 2 + 0.5,
    }

    def __init__(self, fade_in_len=0, fade_out_len=0, fade_shape="linear"):
        super().__init__()
        if fade_shape not in self._shapes:
            raise ValueError(f"fade_shape must be one of {', '.join(self._shapes)}, but got {fade_shape!r}")
        self.fade_in_len, self.fade_out_len, self.fade_shape = fade_in_len, fade_out_len, fade_shape

    def forward(self, waveform):
        shape, length = self._shapes[self.fade_shape], waveform.shape[-1]
        gain = creation.ones(length, dtype=waveform.dtype, device=waveform.device)
        rise, fall = min(self.fade_in_len, length), min(self.fade_out_len, length)
        if rise:
            gain[:rise] *= shape(self._line(rise, waveform)).clamp(0, 1)
        if fall:
            gain[length - fall :] *= shape(self._line(fall, waveform)).clamp(0, 1).flip(0)
        return waveform * gain

    @staticmethod
    def _line(count, like):
        return creation.arange(count, dtype=like.dtype, device=like.device) / max(count - 1, 1)
