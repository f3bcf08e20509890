"""Many samples to one batch: `default_collate`, and `default_convert` for loaders without batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

import numpy as np

import tritorch

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def default_collate(batch):
    """Stack the samples of a batch along a new first dimension, field by field.

    Tensors, NumPy arrays and numbers become tensors (Python floats float64); strings and bytes stay a list; mappings,
    named tuples and sequences are collated element by element (a tuple gives a list). `default_collate_fn_map` says how
    samples of each type become one, and can be added to.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch, *, collate_fn_map=None):
    """As `default_collate`, by a dict from types, or tuples of types, to functions of (batch, collate_fn_map=...)."""
    first, functions = batch[0], collate_fn_map or {}
    function = functions.get(type(first))
    if function is None:
        function = next((functions[kind] for kind in functions if isinstance(first, kind)), None)
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        columns = {key: [sample[key] for sample in batch] for key in first}
        return _like_mapping(
            first, {key: collate(column, collate_fn_map=collate_fn_map) for key, column in columns.items()}
        )
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        return _collate_sequences(first, batch, collate_fn_map)
    raise TypeError(default_collate_err_msg_format.format(type(first)))


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """Tensors as one, along a new first dimension."""
    return tritorch.stack(batch, 0)


def collate_numpy_array_fn(batch, *, collate_fn_map=None):
    """NumPy arrays as one tensor."""
    return _stack_arrays(batch)


def collate_float_fn(batch, *, collate_fn_map=None):
    """Python floats as a float64 tensor."""
    return tritorch.tensor(batch, dtype=tritorch.float64)


def collate_int_fn(batch, *, collate_fn_map=None):
    """Python ints or bools as a tensor."""
    return tritorch.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map=None):
    """Strings and bytes as they are."""
    return batch


collate_numpy_scalar_fn = collate_numpy_array_fn
default_collate_fn_map: dict = {
    tritorch.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


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
        raise TypeError(default_collate_err_msg_format.format(first.dtype))
    for entry, array in enumerate(batch):
        if array.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and "
                f"{list(array.shape)} at entry {entry}"
            )
    return tritorch.from_numpy(np.stack(batch))


def _collate_sequences(first, batch, functions):
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    fields = [collate(samples, collate_fn_map=functions) for samples in zip(*batch, strict=True)]
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
