"""Sequences of different lengths, one behind the other without padding (packed) or in one tensor with it (padded)."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable

import numpy as np

from tritorch import creation
from tritorch.ops.base import EXPORTS
from tritorch.ops.layout import broadcast_shape
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor

PackedSequence_ = namedtuple(
    "PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"], defaults=[None, None, None]
)
PackedSequence_.__annotations__ = dict.fromkeys(PackedSequence_._fields, Tensor)


class PackedSequence(PackedSequence_):
    """A batch of sequences, packed: the first steps of all, then the second steps of those that have one, and so on.

    data              (steps of all sequences together, ...)
    batch_sizes       how many sequences have a first, second, ... step; int64, always on the CPU
    sorted_indices    the order, longest first, in which the sequences lie in `data`; None if they were given so
    unsorted_indices  the order that undoes it
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if batch_sizes is None:  # all in a pair, as old scripts have it
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.is_cuda:
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequence in nn.utils.rnn. "
                "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs):
        """The same with `data` as `Tensor.to` gives it; itself where that changes nothing."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [None if each is None else each.to(data.device) for each in self[2:]]
        return type(self)(data, self.batch_sizes, *indices)

    def cuda(self, *args, **kwargs):
        """The same on a GPU."""
        return self.to(*args, **kwargs) if self.is_cuda else self.to(*(args or ("cuda",)), **kwargs)

    def cpu(self, *args, **kwargs):
        """The same on the CPU."""
        return self.to("cpu", *args, **kwargs)

    def pin_memory(self):
        """The same with `data` in page-locked memory."""
        return type(self)(self.data.pin_memory(), *self[1:])

    @property
    def is_cuda(self):
        return self.data.is_cuda

    def is_pinned(self):
        """Whether `data` is in page-locked memory."""
        return self.data.is_pinned()


def _conversion(name, dtype):
    def convert(self):
        return self.to(dtype)

    convert.__name__, convert.__qualname__ = name, f"PackedSequence.{name}"
    convert.__doc__ = f"The same with `data` cast to {dtype.name}."
    return convert


for _name, _dtype in {**dtypes.ALIASES, "byte": dtypes.uint8}.items():
    setattr(PackedSequence, _name, _conversion(_name, _dtype))


def invert_permutation(permutation):
    """The permutation that undoes `permutation`; None for None."""
    if permutation is None:
        return None
    inverse = np.empty(permutation.numel(), np.int64)
    inverse[permutation.cpu().numpy()] = np.arange(inverse.size)
    return creation.tensor(inverse, device=permutation.device)


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Pack `input`, (steps, batch, ...) or with the batch first, whose sequences have `lengths`.

    With `enforce_sorted` they must come longest first, as ONNX wants them; else they are sorted here.
    """
    lengths = _as_lengths(lengths)
    order = None
    if not enforce_sorted:
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
    elif (np.diff(lengths) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    padded = input.transpose(0, 1) if batch_first else input
    _check_lengths(padded, lengths)
    steps, columns = _places(lengths)
    sizes = creation.tensor(np.bincount(steps), device="cpu")
    if order is None:
        sequences, indices = columns, None
    else:
        sequences, indices = order[columns], creation.tensor(order, device=input.device)
    return PackedSequence(_rows(padded, steps, sequences), sizes, indices, None)


def _as_lengths(lengths):
    """The lengths as a NumPy array."""
    if isinstance(lengths, Tensor):
        if lengths.ndim != 1 or lengths.is_cuda:
            kind = lengths.type().rpartition(".")[2].removesuffix("Tensor")
            raise RuntimeError(
                f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.ndim}D "
                f"{lengths.device.type} {kind} tensor"
            )
        lengths = lengths.numpy(force=True)
    return np.asarray(lengths, np.int64)


def _check_lengths(padded, lengths):
    """Refuse lengths that do not fit what is to be packed, (steps, batch, ...)."""
    if padded.ndim < 2:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    steps, batch = padded.shape[:2]
    if padded.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})"
        )
    if (lengths <= 0).any():
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if lengths[0] > steps:
        raise RuntimeError(f"Expected every length to be at most {steps}, the number of steps, but got {lengths[0]}")


def _places(lengths):
    """For each row of the packed data, which step it is and of which sequence; `lengths` are longest first."""
    return np.nonzero(np.arange(lengths[0])[:, None] < lengths)


def _rows(padded, steps, sequences):
    """Those rows of (steps, batch, ...), in one gather."""
    batch = padded.shape[1]
    flat = padded.reshape(-1, *padded.shape[2:])
    return flat.index_select(0, creation.tensor(steps * batch + sequences, device=padded.device))


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """The sequences in one tensor, (longest, batch, ...) or with the batch first, and their lengths.

    `total_length` makes it longer than the longest sequence, as DataParallel needs it.
    """
    sizes = sequence.batch_sizes.numpy()
    batch, longest = int(sizes[0]), len(sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {longest}"
            )
        longest = total_length
    lengths = (sizes[:, None] > np.arange(batch)).sum(0)
    steps, columns = _places(lengths)
    data = sequence.data
    flat = data.new_full((longest * batch, *data.shape[1:]), padding_value)
    flat = flat.index_copy(0, creation.tensor(steps * batch + columns, device=data.device), data)
    output = flat.reshape(longest, batch, *data.shape[1:])
    if sequence.unsorted_indices is not None:
        output = output.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu().numpy()]
    return output.transpose(0, 1) if batch_first else output, creation.tensor(lengths, device="cpu")


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors (length, ...) of different lengths in one, (longest, batch, ...), with padding behind or before them."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest, rest = max(len(each) for each in sequences), sequences[0].shape[1:]
    padded = []
    for each in sequences:
        if each.shape[1:] != rest:
            broadcast_shape("pad_sequence", (1, *rest), (1, *each.shape[1:]))
        if len(each) < longest:
            padding = each.new_full((longest - len(each), *rest), padding_value)
            each = EXPORTS["cat"]((each, padding) if padding_side == "right" else (padding, each))
        padded.append(each if each.dtype is sequences[0].dtype else each.to(sequences[0].dtype))
    return EXPORTS["stack"](padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The sequences of a padded tensor, each cut to its length."""
    by_sequence = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [each[: int(length)] for each, length in zip(by_sequence, lengths, strict=True)]


def pack_sequence(sequences, enforce_sorted=True):
    """Pack tensors (length, ...) of different lengths; see pack_padded_sequence for `enforce_sorted`."""
    lengths = creation.tensor([len(each) for each in sequences], device="cpu")
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The sequences that were packed, as a list of tensors."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
