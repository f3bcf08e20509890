"""Tokenisers: functions from a string to a list of tokens."""

from __future__ import annotations

import re

# What basic_english does to a line, in this order: marks become words of their own, or go.
_RULES = [
    ("'", " '  "), ('"', ""), (r"\.", " . "), (r"<br \/>", " "), (",", " , "), (r"\(", " ( "), (r"\)", " ) "),
    ("!", " ! "), (r"\?", " ? "), (";", " "), (":", " "), (r"\s+", " "),
]  # fmt: skip
_BASIC = [(re.compile(pattern), written) for pattern, written in _RULES]


def split(line):
    """The words of a line, as `str.split` finds them."""
    return line.split()


def basic_english(line):
    """Lower case, with marks of punctuation as tokens of their own; quotation marks, semicolons and colons go."""
    line = line.lower()
    for pattern, written in _BASIC:
        line = pattern.sub(written, line)
    return line.split()


def _spacy(language):
    import spacy

    model = spacy.load(language)
    return lambda line: [token.text for token in model.tokenizer(line)]


def _moses(language):
    from sacremoses import MosesTokenizer

    return MosesTokenizer(lang=language).tokenize


def _toktok(language):
    from nltk.tokenize.toktok import ToktokTokenizer

    return ToktokTokenizer().tokenize


_LIBRARIES = {"spacy": (_spacy, "spacy"), "moses": (_moses, "sacremoses"), "toktok": (_toktok, "nltk")}


def get_tokenizer(tokenizer, language="en"):
    """A tokeniser by name: None (split at spaces), "basic_english", "spacy", "moses", "toktok"; a callable is one."""
    if tokenizer is None:
        return split
    if callable(tokenizer):
        return tokenizer
    if tokenizer == "basic_english":
        if language != "en":
            raise ValueError("Basic normalization is only available for English(en)")
        return basic_english
    if tokenizer not in _LIBRARIES:
        known = ", ".join(repr(name) for name in (None, "basic_english", *_LIBRARIES))
        raise ValueError(
            f"Requested tokenizer {tokenizer}, valid choices are a callable that takes a string, or {known}"
        )
    make, package = _LIBRARIES[tokenizer]
    try:
        return make(language)
    except ImportError as error:
        raise ImportError(f"get_tokenizer('{tokenizer}') needs the package {package}: pip install {package}") from error


def ngrams_iterator(token_list, ngrams):
    """The tokens, then their pairs joined by a space, and so on up to groups of `ngrams`."""
    token_list = list(token_list)
    yield from token_list
    for size in range(2, ngrams + 1):
        for group in zip(*(token_list[start:] for start in range(size)), strict=False):
            yield " ".join(group)


def interleave_keys(a, b):
    """A key by which pairs of numbers below 65,536 sort so that pairs close in both are close."""
    bits = zip(format(a, "016b"), format(b, "016b"), strict=True)
    return int("".join(map("".join, bits)), 2)
