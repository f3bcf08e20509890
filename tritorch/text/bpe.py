"""Byte-pair encoding: a vocabulary of pieces of words, learned from text, that can write any text.

Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016; on bytes as in
Radford et al., "Language models are unsupervised multitask learners", 2019.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

_WORDS = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\w\s]+|_+|\s+(?!\S)|\s+", re.UNICODE)


class BPETokenizer:
    """Texts as numbers and back: 256 bytes, then the merges in the order in which they were learned, then the specials.

    merges is a list of pairs of numbers; specials are strings with a number of their own, never split.
    """

    def __init__(self, merges=(), specials=()):
        self.merges, self.specials = [tuple(pair) for pair in merges], list(specials)
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.pieces = [bytes([value]) for value in range(256)]
        for first, second in self.merges:
            self.pieces.append(self.pieces[first] + self.pieces[second])
        self.numbers = {text: len(self.pieces) + place for place, text in enumerate(self.specials)}
        self._special = re.compile("(" + "|".join(map(re.escape, self.specials)) + ")") if self.specials else None
        self._known = {}

    def __len__(self):
        return len(self.pieces) + len(self.specials)

    @classmethod
    def train(cls, texts, vocab_size, specials=(), min_frequency=2):
        """Learn the merges: again and again the most frequent pair of neighbours becomes one piece.

        Pairs do not cross from one word to the next. Stops at `vocab_size`, or where no pair occurs `min_frequency`
        times; of equally frequent pairs the one with the smaller numbers is first.
        """
        if vocab_size < 256 + len(specials):
            raise ValueError(f"BPETokenizer.train: vocab_size must be at least {256 + len(specials)}, got {vocab_size}")
        words = Counter(word for text in texts for word in _WORDS.findall(text))
        rows = [(list(word.encode()), count) for word, count in words.items()]
        pairs, where = Counter(), defaultdict(set)
        for at, (row, count) in enumerate(rows):
            for pair in pairwise(row):
                pairs[pair] += count
                where[pair].add(at)
        merges = []
        while len(merges) < vocab_size - 256 - len(specials) and pairs:
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            if pairs[best] < min_frequency:
                break
            cls._merge_everywhere(best, 256 + len(merges), rows, pairs, where)
            merges.append(best)
        return cls(merges, specials)

    @staticmethod
    def _merge_everywhere(best, number, rows, pairs, where):
        for at in where.pop(best):
            row, count = rows[at]
            for pair in pairwise(row):
                pairs[pair] -= count
            merged = _merged(row, best, number)
            for pair in pairwise(merged):
                pairs[pair] += count
                where[pair].add(at)
            rows[at] = merged, count
        for pair in [pair for pair, count in pairs.items() if count <= 0]:
            del pairs[pair]

    def encode(self, text):
        """The numbers of a text."""
        if self._special is None:
            return self._plain(text)
        parts = self._special.split(text)
        return [number for part in parts for number in (
            [self.numbers[part]] if part in self.numbers else self._plain(part))]  # fmt: skip

    def _plain(self, text):
        found = []
        for word in _WORDS.findall(text):
            if word not in self._known:
                self._known[word] = self._word(list(word.encode()))
            found += self._known[word]
        return found

    def _word(self, row):
        while len(row) > 1:
            best = min(pairwise(row), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            row = _merged(row, best, 256 + self.ranks[best])
        return row

    def decode(self, numbers):
        """The text of numbers; bytes that are no text become the replacement character."""
        numbers = [int(number) for number in numbers]
        bad = next((number for number in numbers if not 0 <= number < len(self)), None)
        if bad is not None:
            raise IndexError(f"BPETokenizer.decode: number {bad} is out of range for a vocabulary of {len(self)}")
        count = len(self.pieces)
        return b"".join(
            self.pieces[number] if number < count else self.specials[number - count].encode() for number in numbers
        ).decode(errors="replace")

    def save(self, path):
        """Write it as JSON."""
        Path(path).write_text(json.dumps({"merges": self.merges, "specials": self.specials}), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(found["merges"], found["specials"])


def _merged(row, pair, number):
    """The row with each occurrence of the pair, from the left, as one number."""
    found, at = [], 0
    while at < len(row):
        if at + 1 < len(row) and (row[at], row[at + 1]) == pair:
            found.append(number)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found
