"""The random numbers of a process: Python's `random`, NumPy's global generator, and ours, taken and set together."""

from __future__ import annotations

import contextlib
import random

import numpy as np

from tritorch.random import get_rng_state, set_rng_state


def random_states():
    """Where all three stand, as plain values that `tritorch.save` writes."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "tritorch": get_rng_state()}


def set_random_states(states):
    """Go to where they stood; those that are not in `states` stay."""
    if "python" in states:
        random.setstate(states["python"])
    if "numpy" in states:
        np.random.set_state(states["numpy"])
    if "tritorch" in states:
        set_rng_state(states["tritorch"])


@contextlib.contextmanager
def at(states):
    """Random numbers continue from `states` inside a block, and afterwards from where they were before it."""
    before = random_states()
    set_random_states(states)
    try:
        yield
    finally:
        set_random_states(before)
