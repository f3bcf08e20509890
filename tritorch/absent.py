"""Rooms for kinds of devices that tritorch does not use: asking is possible, working is refused."""

from __future__ import annotations

from tritorch.refused import refuse_all

_REFUSED = ("synchronize", "current_device", "set_device", "current_stream", "memory_allocated", "get_rng_state")


def is_available():
    """Whether there is one that can be used: never."""
    return False


def device_count():
    """How many can be used: none."""
    return 0


def manual_seed(seed):
    """Accepted: there is no generator to seed."""


def empty_cache():
    """Accepted: there is no memory to give back."""


def absent(room):
    """What stands in the room of such a kind of devices."""
    refused = refuse_all(room, _REFUSED, f"it uses NVIDIA GPUs and the CPU. Ask {room}.is_available() first.")
    asked = (is_available, device_count, manual_seed, empty_cache)
    return refused | {function.__name__: function for function in asked} | {"manual_seed_all": manual_seed}
