"""Helpers of the layers: one number for every dimension or one for each, and names of a state dict."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(count):
    """The function that makes `count` numbers of one, and leaves several as they are."""

    def repeated(value):
        return tuple(value) if isinstance(value, Iterable) else (value,) * count

    return repeated


_single, _pair, _triple, _quadruple = map(_ntuple, (1, 2, 3, 4))


def _reverse_repeat_tuple(values, times):
    """Each value `times` times, from the last to the first: the order in which `nn.functional.pad` takes them."""
    return tuple(value for value in reversed(values) for _ in range(times))


def listed(module, names):
    """ "a=1, b=2": attributes of a module as its printed form shows them."""
    return ", ".join(f"{name}={getattr(module, name)}" for name in names)


def pairs_of(name, items):
    """(key, value) for each of `items`, or PyTorch's error of a dict module's update."""
    for at, item in enumerate(items):
        if not isinstance(item, Iterable):
            raise TypeError(f"{name} update sequence element #{at} should be Iterable; is {type(item).__name__}")
        pair = tuple(item)
        if len(pair) != 2:
            raise ValueError(f"{name} update sequence element #{at} has length {len(pair)}; 2 is required")
        yield pair


def consume_prefix_in_state_dict_if_present(state_dict, prefix):
    """Take `prefix` off the names of a state dict, in place: what DataParallel saved then loads into the model."""
    for key in list(state_dict):
        if key.startswith(prefix):
            state_dict[key[len(prefix) :]] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        for key in list(metadata):
            if key and f"{key}.".startswith(prefix):
                metadata[key[len(prefix) :]] = metadata.pop(key)
