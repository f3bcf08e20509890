"""Many samples to one batch: `default_collate`, and `default_convert` for loaders without batches."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

import numpy as np

import tritorch

NOT_COLLATABLE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_collate(batch):
    """Stack the samples of a batch along a new first dimension, field by field.

    Tensors, NumPy arrays and numbers become tensors (Python floats float64); strings and bytes stay a list; mappings,
    named tuples and sequences are collated element by element (a tuple gives a list).
    """
    first = batch[0]
    if isinstance(first, tritorch.Tensor):
        return tritorch.stack(batch, 0)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, (np.ndarray, np.generic)):
        return _stack_arrays(batch)
    if isinstance(first, float):
        return tritorch.tensor(batch, dtype=tritorch.float64)
    if isinstance(first, numbers.Integral):
        return tritorch.tensor(batch)
    if isinstance(first, Mapping):
        return _like_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        return _collate_sequences(first, batch)
    raise TypeError(NOT_COLLATABLE.format(type(first)))


def default_convert(data):
    """Make tensors of the NumPy arrays in `data`, however they are nested, and leave all else as it is."""
    if isinstance(data, (tritorch.Tensor, str, bytes)):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else tritorch.as_tensor(data)
    return map_elements(default_convert, data, tuples_as_lists=True)


def map_elements(function, data, tuples_as_lists=False):
    """Apply `function` to each element of a mapping or sequence, keeping its type; other data is returned as it is."""
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: function(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(function, data))
    if isinstance(data, tuple):
        return [*map(function, data)] if tuples_as_lists else tuple(map(function, data))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [function(value) for value in data])
    return data


def _stack_arrays(batch):
    first = batch[0]
    if first.dtype.kind in "SUO":
        raise TypeError(NOT_COLLATABLE.format(first.dtype))
    for entry, array in enumerate(batch):
        if array.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and "
                f"{list(array.shape)} at entry {entry}"
            )
    return tritorch.from_numpy(np.stack(batch))


def _collate_sequences(first, batch):
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    fields = [default_collate(list(samples)) for samples in zip(*batch, strict=True)]
    if isinstance(first, tuple):
        return type(first)(*fields) if hasattr(first, "_fields") else fields
    return _like_sequence(first, fields)


def _like_mapping(original, values):
    if type(original) is dict:
        return values
    if isinstance(original, MutableMapping):  # keeps what else it has, such as a default factory
        like = copy.copy(original)
        like.update(values)
        return like
    return _construct(type(original), values)


def _like_sequence(original, values):
    if type(original) is list:
        return values
    if isinstance(original, MutableSequence) and len(original) == len(values):
        like = copy.copy(original)
        try:
            for position, value in enumerate(values):
                like[position] = value
        except TypeError:  # holds one element type only, such as array.array
            return values
        return like
    return _construct(type(original), values)


def _construct(kind, values):
    try:
        return kind(values)
    except TypeError:  # made from something else, such as range: PyTorch gives the plain container
        return values
