"""Lists of tokens or numbers as batches: cut, marked, padded."""

from __future__ import annotations

from tritorch import creation
from tritorch.nn.utils.rnn import pad_sequence
from tritorch.runtime import dtypes


def _is_batch(input):
    return bool(input) and isinstance(input[0], (list, tuple))


def _each(function, input):
    return [function(row) for row in input] if _is_batch(input) else function(input)


def to_tensor(input, padding_value=None, dtype=dtypes.int64):
    """A list of numbers as a vector; a list of lists as a matrix, shorter rows filled up with `padding_value`."""
    if not _is_batch(input) or padding_value is None:
        return creation.tensor(input, dtype=dtype)
    rows = [creation.tensor(row, dtype=dtype) for row in input]
    return pad_sequence(rows, batch_first=True, padding_value=float(padding_value))


def truncate(input, max_seq_len):
    """The first `max_seq_len` of a list, or of each list of a batch."""
    return _each(lambda row: row[:max_seq_len], input)


def add_token(input, token_id, begin=True):
    """The list, or each list of a batch, with a token before it or, `begin=False`, behind it."""
    return _each(lambda row: [token_id, *row] if begin else [*row, token_id], input)


def str_to_int(input):
    """Strings of digits as numbers, in a list or a batch of lists."""
    return _each(lambda row: [int(each) for each in row], input)
