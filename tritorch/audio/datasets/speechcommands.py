"""Speech Commands: single words, spoken by many, one second each."""

from __future__ import annotations

import os
from pathlib import Path

from tritorch.audio.wav import load
from tritorch.utils.data import Dataset
from tritorch.vision.datasets.utils import download_url, extract_archive

_PLACE = "http://download.tensorflow.org/data/"
_SHA256 = {
    "speech_commands_v0.01": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    "speech_commands_v0.02": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
}
_NOISE = "_background_noise_"
_LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}


class SPEECHCOMMANDS(Dataset):
    """(waveform, sample rate, word, speaker, number of the utterance) of each file.

    The files lie in ROOT/SpeechCommands/speech_commands_v0.02/WORD. `subset` is None (all), "training", "validation" or
    "testing", by the lists that come with the data; the background noises are left out.
    Source: Warden, "Speech Commands: a dataset for limited-vocabulary speech recognition", 2018.
    """

    def __init__(self, root, url="speech_commands_v0.02", folder_in_archive="SpeechCommands", download=False,
                 subset=None):  # fmt: skip
        if subset is not None and subset not in ("training", *_LISTS):
            raise ValueError("When `subset` is not None, it must be one of {'training', 'validation', 'testing'}.")
        name = os.path.basename(url).removesuffix(".tar.gz")
        self._path = Path(root, folder_in_archive, name)
        if download and not self._path.is_dir():
            place = url if "/" in url else f"{_PLACE}{url}.tar.gz"
            download_url(place, os.fspath(root), sha256=_SHA256.get(name))
            extract_archive(Path(root, os.path.basename(place)), self._path)
        if not self._path.is_dir():
            raise RuntimeError(f"The path {self._path} doesn't exist. Please check the ``root`` path or set "
                               "``download=True`` to download it")  # fmt: skip
        self._walker = self._files(subset)

    def _files(self, subset):
        if subset in _LISTS:
            return self._listed(subset)
        found = sorted(path.relative_to(self._path).as_posix() for path in self._path.glob("*/*.wav"))
        found = [each for each in found if not each.startswith(_NOISE)]
        if subset == "training":
            others = {each for name in _LISTS for each in self._listed(name)}
            found = [each for each in found if each not in others]
        return found

    def _listed(self, name):
        return [line for line in (self._path / _LISTS[name]).read_text().splitlines() if line]

    def get_metadata(self, n):
        """(path below the root of the words, sample rate, word, speaker, number of the utterance), and no sound."""
        place = self._walker[n]
        word, file = place.split("/")
        speaker, _, number = file.removesuffix(".wav").partition("_nohash_")
        return place, 16000, word, speaker, int(number or 0)

    def __getitem__(self, n):
        place, _, word, speaker, number = self.get_metadata(n)
        waveform, rate = load(self._path / place)
        return waveform, rate, word, speaker, number

    def __len__(self):
        return len(self._walker)
