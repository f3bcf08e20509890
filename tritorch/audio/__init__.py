"""Sound: WAV files, spectrograms, mel features, and a dataset of spoken words, under torchaudio's names."""

from __future__ import annotations

from tritorch.audio.wav import info as info
from tritorch.audio.wav import load as load
from tritorch.audio.wav import save as save
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
