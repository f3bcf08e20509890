"""AG_NEWS: 127,600 news items of four kinds."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from tritorch.text.datasets.base import TextDataset, default_root, parts
from tritorch.vision.datasets.utils import download_url

_PLACE = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
_FILES = {  # part -> MD5 of its file
    "train": "b1a00f826fdfbd249f79597b59e1dc12",
    "test": "d52ea96a97a2d943681189a97654912d",
}


def AG_NEWS(root=None, split=("train", "test"), download=True):
    """(label, text) of each item: 1 world, 2 sports, 3 business, 4 science; the text is title and description.

    The files train.csv and test.csv lie in ROOT/AG_NEWS; what is not there is downloaded, unless download=False.
    Source: Zhang, Zhao and LeCun, "Character-level convolutional networks for text classification", 2015.
    """
    folder = Path(root or default_root(), "AG_NEWS")
    return parts(partial(_part, folder, download), split, tuple(_FILES))


def _part(folder, download, split):
    path = folder / f"{split}.csv"
    if not path.exists():
        if not download:
            raise RuntimeError(f"AG_NEWS not found in {folder}. You can use download=True to download it")
        download_url(f"{_PLACE}/{split}.csv", str(folder), md5=_FILES[split])
    return TextDataset(partial(_read, path), sum(1 for _ in _read(path)))


def _read(path):
    with open(path, encoding="utf-8", newline="") as file:
        for label, *texts in csv.reader(file):
            yield int(label), " ".join(texts)
