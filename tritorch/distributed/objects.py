"""Collectives of Python values: those that JSON can write, which travel as its text."""

from __future__ import annotations

import json

import numpy as np

from tritorch.creation import from_numpy
from tritorch.distributed import collectives
from tritorch.distributed.group import get_rank, get_world_size


def _bytes_of(value):
    try:
        text = json.dumps(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"object collectives carry values that JSON can write (numbers, text, lists, dictionaries), not {value!r}"
        ) from error
    return np.frombuffer(text.encode(), np.uint8).copy()


def _value_of(row, length):
    return json.loads(bytes(row[:length]))


def all_gather_object(object_list, obj, group=None):
    """`object_list` becomes every rank's `obj`."""
    own, size = _bytes_of(obj), get_world_size(group)
    if size < 0:
        return
    lengths = np.zeros(size, np.int64)
    collectives.all_gather_into_tensor(from_numpy(lengths), from_numpy(np.array([own.size])), group)
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: own.size] = own
    rows = np.zeros((size, padded.size), np.uint8)
    collectives.all_gather_into_tensor(from_numpy(rows), from_numpy(padded), group)
    object_list[:] = [_value_of(row, length) for row, length in zip(rows, lengths, strict=True)]


def broadcast_object_list(object_list, src=None, group=None, device=None, group_src=None):
    """`object_list` becomes that of rank `src`."""
    if get_rank(group) < 0:
        return
    src = 0 if src is None and group_src is None else src
    mine = collectives._root(collectives.resolve(group), src, group_src) == get_rank(group)
    text = _bytes_of(list(object_list)) if mine else None
    length = np.array([text.size if mine else 0])
    collectives.broadcast(from_numpy(length), src, group, group_src=group_src)
    text = text if mine else np.zeros(length[0], np.uint8)
    collectives.broadcast(from_numpy(text), src, group, group_src=group_src)
    object_list[:] = _value_of(text, length[0])


def gather_object(obj, object_gather_list=None, dst=None, group=None, group_dst=None):
    """The `object_gather_list` of rank `dst` becomes every rank's `obj`."""
    found = []
    all_gather_object(found, obj, group)
    if object_gather_list is not None:
        object_gather_list[:] = found


def scatter_object_list(
    scatter_object_output_list, scatter_object_input_list=None, src=None, group=None, group_src=None
):
    """The first entry of the output list becomes this rank's entry of rank `src`'s input list."""
    if get_rank(group) < 0:
        return
    values = [scatter_object_input_list]
    broadcast_object_list(values, src, group, group_src=group_src)
    scatter_object_output_list[0] = values[0][get_rank(group)]
