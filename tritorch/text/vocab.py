"""Vocabularies: tokens as numbers and back."""

from __future__ import annotations

from collections import Counter, OrderedDict

from tritorch.nn import Module


class Vocab(Module):
    """Tokens by number and numbers by token; a token it lacks has the default index, where one is set."""

    def __init__(self, vocab):
        super().__init__()
        tokens = list(vocab.get_itos() if isinstance(vocab, Vocab) else vocab)
        self.itos, self.default_index = [], vocab.default_index if isinstance(vocab, Vocab) else None
        self.stoi = {}
        for token in tokens:
            self.append_token(token)

    def forward(self, tokens):
        """The numbers of a list of tokens."""
        return self.lookup_indices(tokens)

    def __len__(self):
        return len(self.itos)

    def __contains__(self, token):
        return token in self.stoi

    def __getitem__(self, token):
        found = self.stoi.get(token, self.default_index)
        if found is None:
            raise RuntimeError(f"Token {token} not found and default index is not set")
        return found

    def set_default_index(self, index):
        """The number of tokens that are not there; None makes them an error."""
        self.default_index = index

    def get_default_index(self):
        """The number of tokens that are not there, or None."""
        return self.default_index

    def insert_token(self, token, index):
        """Put a token at `index`; those from there on move up by one."""
        if not 0 <= index <= len(self.itos):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self.itos)}")
        if token in self.stoi:
            raise RuntimeError(f"Token {token} already exists in the Vocab with index: {self.stoi[token]}")
        self.itos.insert(index, token)
        for place in range(index, len(self.itos)):
            self.stoi[self.itos[place]] = place

    def append_token(self, token):
        """Put a token at the end."""
        self.insert_token(token, len(self.itos))

    def lookup_token(self, index):
        """The token with this number."""
        if not 0 <= index < len(self.itos):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self.itos)}")
        return self.itos[index]

    def lookup_tokens(self, indices):
        """The tokens with these numbers."""
        return [self.lookup_token(index) for index in indices]

    def lookup_indices(self, tokens):
        """The numbers of these tokens."""
        return [self[token] for token in tokens]

    def get_stoi(self):
        """The number of each token, as a new dictionary."""
        return dict(self.stoi)

    def get_itos(self):
        """The tokens in order, as a new list."""
        return list(self.itos)

    def get_extra_state(self):
        """What a state_dict keeps of it."""
        return {"tokens": self.get_itos(), "default_index": self.default_index}

    def set_extra_state(self, state):
        """Become what a state_dict kept."""
        self.itos = list(state["tokens"])
        self.stoi = {token: place for place, token in enumerate(self.itos)}
        self.default_index = state["default_index"]


def vocab(ordered_dict, min_freq=1, specials=None, special_first=True):
    """A Vocab of the tokens of a dictionary, in its order, that occur at least `min_freq` times; and the specials."""
    specials = list(specials or [])
    tokens = [token for token, count in ordered_dict.items() if count >= min_freq and token not in specials]
    return Vocab(specials + tokens if special_first else tokens + specials)


def build_vocab_from_iterator(iterator, min_freq=1, specials=None, special_first=True, max_tokens=None):
    """A Vocab of all tokens in an iterator of lists of tokens, the most frequent first, ties in order of the alphabet.

    `max_tokens` bounds how many there are with the specials, which are always in.
    """
    counts = Counter()
    for tokens in iterator:
        counts.update(tokens)
    specials = list(specials or [])
    for token in specials:
        counts.pop(token, None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if max_tokens is not None:
        if len(specials) >= max_tokens:
            raise ValueError("len(specials) >= max_tokens, so the vocab will be entirely special tokens.")
        ordered = ordered[: max_tokens - len(specials)]
    return vocab(OrderedDict(ordered), min_freq, specials, special_first)
