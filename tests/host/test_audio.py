"""Sounds: WAV files of every kind, spectra against sums of sines, mel features, resampling, and spoken words."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import audio
from tritorch.audio import functional as A
from tritorch.audio import transforms as T
from tritorch.audio.datasets import SPEECHCOMMANDS


def tone(hertz, rate=8000, seconds=0.5):
    return torch.tensor(np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate))


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_what_is_saved_is_loaded(dtype, tmp_path):
    values = np.arange(-60, 60).reshape(2, 60)
    values = values / 64 if dtype.startswith("float") else values + 128 if dtype == "uint8" else values
    sound = torch.tensor(values.astype(dtype))
    audio.save(tmp_path / "a.wav", sound, 8000)
    found, rate = audio.load(tmp_path / "a.wav", normalize=False)
    assert rate == 8000 and found.dtype == sound.dtype and torch.equal(found, sound)
    about = audio.info(tmp_path / "a.wav")
    assert about[:4] == (8000, 60, 2, sound.element_size() * 8)
    part, _ = audio.load(tmp_path / "a.wav", frame_offset=10, num_frames=5, channels_first=False)
    assert part.shape == (5, 2) and part.dtype == torch.float32 and part.abs().max() <= 1


def wav(kind, bits, data, channels=1, extensible=False, before=b""):
    width = channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, 8000, 8000 * width, width, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 0, kind) + b"\0" * 14
    body = (
        b"WAVE" + before + b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    )
    return io.BytesIO(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_samples_of_24_bits_and_by_the_laws_of_telephony():
    found, _ = audio.load(wav(1, 24, bytes([0, 0, 0x40, 0, 0, 0xC0, 1, 0, 0]), extensible=True))
    np.testing.assert_array_equal(found.numpy(), np.float32([[0.5, -0.5, 2.0**-23]]))
    found, _ = audio.load(wav(7, 8, bytes([0x00, 0x80, 0xFF, 0x7F, 0xC5])), normalize=False)
    assert found.tolist() == [[-32124, 32124, 0, 0, 1564]]  # G.711, table 2a: the ends, zero, and one between
    found, _ = audio.load(wav(6, 8, bytes([0xD5, 0x55, 0xAA, 0x2A])), normalize=False)
    assert found.tolist() == [[8, -8, 32256, -32256]]


def test_chunks_nobody_knows_are_passed_over_and_corrupt_files_named(tmp_path):
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # padded to an even length
    assert audio.load(wav(1, 16, b"\1\0", before=note), normalize=False)[0].tolist() == [[1]]
    (tmp_path / "no.wav").write_bytes(b"RIFF....WAVX")
    with pytest.raises(RuntimeError, match=r"no\.wav is not a WAV file"):
        audio.load(tmp_path / "no.wav")
    with pytest.raises(RuntimeError, match="is truncated"):
        audio.load(io.BytesIO(wav(1, 16, b"").getvalue()[:-8]))
    with pytest.raises(RuntimeError, match="of the kind 0x11 cannot be read"):
        audio.load(wav(0x11, 8, b"\0"))
    with pytest.raises(RuntimeError, match=r"3 channels in frames of 4 bytes|cannot be read"):
        audio.load(wav(1, 12, b"\0" * 6, channels=3))
    with pytest.raises(ValueError, match=r"either positive or -1\. Found: 0"):
        audio.load(wav(1, 16, b"\1\0"), num_frames=0)
    with pytest.raises(ValueError, match="Expected 2D tensor, got a tensor of 1 dimensions"):
        audio.save(tmp_path / "a.wav", torch.zeros(3), 8000)
    assert not (tmp_path / "a.wav").exists()


def test_floats_are_written_as_integers_where_asked():
    file = io.BytesIO()
    audio.save(file, torch.tensor([[0.5, -1.5, 1.5]]), 8000, encoding="PCM_S", bits_per_sample=16)
    file.seek(0)
    assert audio.load(file, normalize=False)[0].tolist() == [[16384, -32768, 32767]]


# ------------------------------------------------------------------------------------------------ spectra


def test_a_tone_stands_in_its_bin_and_a_gradient_flows():
    sound = tone(1000).requires_grad_()
    found = T.Spectrogram(n_fft=200, window_fn=torch.ones)(sound)  # bins of 40 Hz
    assert found.shape == (101, 41)
    inside = found[:, 5]
    assert inside.argmax() == 25
    close(inside[25], 100.0**2)  # n_fft / 2, squared
    found.sum().backward()
    assert sound.grad.abs().max() > 0

    def window(size):
        return torch.signal.windows.hann(size, sym=False, dtype=torch.float64)

    frame = (sound.detach()[400:600] * window(200)).numpy()
    close(T.Spectrogram(n_fft=200, center=False, window_fn=window)(sound)[:, 4], np.abs(np.fft.rfft(frame)) ** 2)


def test_spectra_refuse_what_is_too_short_or_complex():
    with pytest.raises(RuntimeError, match="50 samples are too few to reflect 200"):
        T.Spectrogram()(torch.zeros(50))
    with pytest.raises(RuntimeError, match="50 samples are fewer than n_fft = 400"):
        T.Spectrogram(center=False)(torch.zeros(50))
    with pytest.raises(NotImplementedError, match="power=None gives complex numbers"):
        T.Spectrogram(power=None)(torch.zeros(900))
    with pytest.raises(ValueError, match="DCT type not supported: 3"):
        T.MFCC(dct_type=3)
    with pytest.warns(UserWarning, match="all zero values"):
        T.MelScale()


def test_mel_banks_are_triangles_that_cover_what_lies_between():
    banks = A.melscale_fbanks(513, 0.0, 8000.0, 20, 16000)
    assert banks.shape == (513, 20) and banks.min() == 0
    inner = banks.sum(1)[30:400]
    close(inner, 1.0)
    centre = banks.argmax(0)
    assert (centre[1:] > centre[:-1]).all() and 2595 * np.log10(1 + 1000 / 700) == pytest.approx(999.99, abs=0.01)
    close(A.create_dct(7, 7, "ortho").T @ A.create_dct(7, 7, "ortho"), np.eye(7))


def test_mfcc_of_silence_and_of_a_louder_sound():
    mfcc = T.MFCC(sample_rate=8000, n_mfcc=13, melkwargs={"n_fft": 256, "n_mels": 20})
    quiet, loud = mfcc(tone(500).float()), mfcc(10 * tone(500).float())
    assert quiet.shape == (13, 32)
    close((loud - quiet)[0], 20 * np.sqrt(20))  # 20 dB in each of 20 bands, in the first coefficient alone
    assert (loud - quiet)[1:].abs().max() < 0.1
    assert set(mfcc.state_dict()) == {"dct_mat", "MelSpectrogram.spectrogram.window", "MelSpectrogram.mel_scale.fb"}


def test_resampling_keeps_a_tone():
    sound = tone(440, rate=8000)
    for rate in (6000, 16000, 11025):
        found = T.Resample(8000, rate, dtype=torch.float64)(sound)
        assert found.shape[-1] == -(-rate * 4000 // 8000)
        middle = slice(200, rate // 2 - 200)
        error = found[middle] - tone(440, rate=rate)[middle]
        assert error.abs().max() < 0.01
    assert A.resample(sound, 8000, 8000) is sound
    with pytest.raises(ValueError, match="Invalid resampling method: nearest"):
        A.resample(sound, 8000, 6000, resampling_method="nearest")


def test_mu_law_deltas_and_distances():
    x = torch.linspace(-1, 1, 101)
    coded = T.MuLawEncoding()(x)
    assert coded.min() == 0 and coded.max() == 255
    assert (T.MuLawDecoding()(coded) - x).abs().max() < 0.05
    close(T.ComputeDeltas()(torch.arange(20.0).expand(3, -1))[:, 4:-4], 1.0)
    assert A.edit_distance("kitten", "sitting") == 3 == A.edit_distance(["a", "b", "c"], [])


def test_masks_hide_one_band_or_one_a_channel():
    torch.manual_seed(0)
    found = T.FrequencyMasking(10)(torch.ones(2, 3, 40, 20))
    hidden = (found == 0).all(-1)
    assert (hidden == hidden[0, 0]).all() and 0 < hidden[0, 0].sum() < 10
    apart = (T.TimeMasking(10, iid_masks=True)(torch.ones(4, 3, 40, 20)) == 0).all(-2)
    assert len({tuple(row) for row in apart.flatten(0, 1).tolist()}) > 1
    assert (T.TimeMasking(100, p=0.1)(torch.ones(40, 20)) == 0).all(0).sum() <= 2
    with pytest.raises(ValueError, match="Only Frequency and Time masking are supported"):
        A.mask_along_axis(torch.ones(2, 3, 4), 2, 0.0, 0)


def test_fades_and_volume():
    found = T.Fade(4, 2)(torch.ones(2, 10))
    close(found[0], [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 0])
    close(T.Vol(-20.0, "db")(torch.ones(3)), 0.1)
    noisy = A.add_noise(torch.ones(1, 8), torch.full((1, 8), 2.0), torch.tensor([20.0]))
    close(noisy, 1.1)  # a hundredth of the energy is a tenth of the amplitude


# ------------------------------------------------------------------------------------------------ spoken words


def test_spoken_words_by_their_lists(tmp_path):
    folder = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    names = ["yes/a_nohash_0.wav", "yes/b_nohash_1.wav", "no/a_nohash_0.wav", "_background_noise_/hum.wav"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        audio.save(folder / name, torch.full((1, 16), number / 8), 16000)
    (folder / "testing_list.txt").write_text("yes/b_nohash_1.wav\n")
    (folder / "validation_list.txt").write_text("no/a_nohash_0.wav\n")
    assert len(SPEECHCOMMANDS(tmp_path)) == 3
    waveform, *rest = SPEECHCOMMANDS(tmp_path, subset="testing")[0]
    assert rest == [16000, "yes", "b", 1] and torch.equal(waveform, torch.full((1, 16), 1 / 8))
    assert [item[2:] for item in SPEECHCOMMANDS(tmp_path, subset="training")] == [("yes", "a", 0)]
    with pytest.raises(RuntimeError, match="download=True"):
        SPEECHCOMMANDS(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must be one of"):
        SPEECHCOMMANDS(tmp_path, subset="all")
