"""Datasets of text: each is an iterable of (label, text)."""

from __future__ import annotations

from tritorch.text.datasets.ag_news import AG_NEWS as AG_NEWS
from tritorch.text.datasets.imdb import IMDB as IMDB
