"""IMDB: 50,000 reviews of films, half of them to learn from, half favourable."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tritorch.text.datasets.base import TextDataset, default_root, parts
from tritorch.vision.datasets.utils import download_and_extract_archive

URL = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
_LABELS = {"neg": 1, "pos": 2}


def IMDB(root=None, split=("train", "test"), download=True):
    """(label, text) of each review: 1 for unfavourable ones, which come first, 2 for favourable ones.

    The files lie in ROOT/IMDB/aclImdb; what is not there is downloaded, unless download=False. `split` is "train",
    "test" or a tuple of both. Source: Maas et al., "Learning word vectors for sentiment analysis", 2011.
    """
    folder = Path(root or default_root(), "IMDB")
    return parts(partial(_part, folder, download), split, ("train", "test"))


def _part(folder, download, split):
    files = _files(folder, split)
    if not files:
        if not download:
            raise RuntimeError(f"IMDB not found in {folder}. You can use download=True to download it")
        download_and_extract_archive(URL, str(folder), md5=MD5)
        files = _files(folder, split)
    return TextDataset(partial(_read, files), len(files))


def _files(folder, split):
    """Every review, in order of its number."""
    found = []
    for name, label in _LABELS.items():
        files = sorted((folder / "aclImdb" / split / name).glob("*.txt"), key=lambda path: int(path.stem.split("_")[0]))
        found += [(label, path) for path in files]
    return found


def _read(files):
    for label, path in files:
        yield label, path.read_text(encoding="utf-8")
