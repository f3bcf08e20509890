"""The steps from text to a batch, as modules that can be put in a row."""

from __future__ import annotations

from tritorch import nn
from tritorch.nn import functional as F
from tritorch.runtime import dtypes
from tritorch.text import functional as text
from tritorch.text.vocab import Vocab, vocab


class VocabTransform(nn.Module):
    """Tokens as their numbers in a vocabulary, in a list or a batch of lists."""

    def __init__(self, vocab):
        super().__init__()
        if not isinstance(vocab, Vocab):
            raise TypeError(f"VocabTransform: vocab must be a Vocab, but got {type(vocab).__name__}")
        self.vocab = vocab

    def forward(self, input):
        if input and isinstance(input[0], (list, tuple)):
            return [self.vocab.lookup_indices(tokens) for tokens in input]
        return self.vocab.lookup_indices(input)


class ToTensor(nn.Module):
    """Numbers as a tensor; rows of a batch are filled up with `padding_value`."""

    def __init__(self, padding_value=None, dtype=dtypes.int64):
        super().__init__()
        self.padding_value, self.dtype = padding_value, dtype

    def forward(self, input):
        return text.to_tensor(input, self.padding_value, self.dtype)


class LabelToIndex(nn.Module):
    """Names of classes as numbers, in the order of a list or of the lines of a file."""

    def __init__(self, label_names=None, label_path=None, sort_names=False):
        super().__init__()
        if (label_names is None) == (label_path is None):
            raise ValueError("LabelToIndex: exactly one of label_names and label_path must be given")
        if label_path is not None:
            with open(label_path, encoding="utf-8") as file:
                label_names = [line.strip() for line in file if line.strip()]
        names = sorted(label_names) if sort_names else list(label_names)
        self._label_vocab = vocab(dict.fromkeys(names, 1))
        self._label_names = self._label_vocab.get_itos()

    @property
    def label_names(self):
        return self._label_names

    def forward(self, input):
        return self._label_vocab[input] if isinstance(input, str) else self._label_vocab.lookup_indices(input)


class Truncate(nn.Module):
    """The first `max_seq_len` of each list."""

    def __init__(self, max_seq_len):
        super().__init__()
        self.max_seq_len = max_seq_len

    def forward(self, x):
        return text.truncate(x, self.max_seq_len)


class AddToken(nn.Module):
    """A token before each list or, `begin=False`, behind it."""

    def __init__(self, token, begin=True):
        super().__init__()
        self.token, self.begin = token, begin

    def forward(self, input):
        return text.add_token(input, self.token, self.begin)


class PadTransform(nn.Module):
    """A tensor whose last dimension is filled up to `max_length` with `pad_value`; a longer one stays."""

    def __init__(self, max_length, pad_value):
        super().__init__()
        self.max_length, self.pad_value = max_length, float(pad_value)

    def forward(self, x):
        missing = self.max_length - x.size(-1)
        return F.pad(x, (0, missing), value=self.pad_value) if missing > 0 else x


class StrToIntTransform(nn.Module):
    """Strings of digits as numbers."""

    def forward(self, input):
        return text.str_to_int(input)


class Sequential(nn.Sequential):
    """Transforms one after the other."""
