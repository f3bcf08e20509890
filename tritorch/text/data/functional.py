"""Helpers on iterators of text."""

from __future__ import annotations

import re

from tritorch.utils.data import Dataset


class _Listed(Dataset):
    """The examples of an iterable dataset, kept in a list."""

    def __init__(self, examples):
        self._data = list(examples)

    def __getitem__(self, index):
        return self._data[index]

    def __len__(self):
        return len(self._data)


def to_map_style_dataset(iter_data):
    """An iterable dataset as one with `len` and `[index]`; it is read once, into memory."""
    return _Listed(iter_data)


def simple_space_split(iterator):
    """The words of each line."""
    for line in iterator:
        yield line.split()


def numericalize_tokens_from_iterator(vocab, iterator, removed_tokens=None):
    """For each list of tokens an iterator of their numbers in `vocab`, those in `removed_tokens` left out."""
    removed = set(removed_tokens or ())
    for tokens in iterator:
        yield iter([vocab[token] for token in tokens if token not in removed])


def custom_replace(replace_pattern):
    """A function that makes replacements, (pattern, written) in order, in each line of an iterator."""
    rules = [(re.compile(pattern), written) for pattern, written in replace_pattern]

    def replace(lines):
        for line in lines:
            for pattern, written in rules:
                line = pattern.sub(written, line)
            yield line

    return replace
