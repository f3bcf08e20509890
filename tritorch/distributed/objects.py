"""Collectives of Python values: those that JSON can write, which travel as its text."""

from __future__ import annotations

import json

import numpy as np

from tritorch.creation import tensor
from tritorch.distributed import collectives
from tritorch.distributed.group import get_rank, get_world_size
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device


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


def _device_of(group):
    """Where the group's engines want their tensors: the host if one takes it, else this rank's GPU."""
    engines = collectives.resolve(group).engines
    return Device("cpu") if "cpu" in engines else Device("cuda", driver.current_device())


def all_gather_object(object_list, obj, group=None):
    """`object_list` becomes every rank's `obj`."""
    own, size = _bytes_of(obj), get_world_size(group)
    if size < 0:
        return
    device = _device_of(group)
    lengths = tensor(np.zeros(size, np.int64), device=device)
    collectives.all_gather_into_tensor(lengths, tensor(np.array([own.size]), device=device), group)
    lengths = lengths.tolist()
    padded = np.zeros(max(lengths), np.uint8)
    padded[: own.size] = own
    rows = tensor(np.zeros((size, padded.size), np.uint8), device=device)
    collectives.all_gather_into_tensor(rows, tensor(padded, device=device), group)
    object_list[:] = [_value_of(row, length) for row, length in zip(rows.numpy(), lengths, strict=True)]


def broadcast_object_list(object_list, src=None, group=None, device=None, group_src=None):
    """`object_list` becomes that of rank `src`."""
    if get_rank(group) < 0:
        return
    src, device = 0 if src is None and group_src is None else src, _device_of(group)
    mine = collectives._root(collectives.resolve(group), src, group_src) == get_rank(group)
    text = _bytes_of(list(object_list)) if mine else None
    length = tensor(np.array([text.size if mine else 0]), device=device)
    collectives.broadcast(length, src, group, group_src=group_src)
    message = tensor(text if mine else np.zeros(length.item(), np.uint8), device=device)
    collectives.broadcast(message, src, group, group_src=group_src)
    object_list[:] = _value_of(message.numpy(), length.item())


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
