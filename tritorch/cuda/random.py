"""The random numbers of the GPUs: they come from the one generator there is for all devices.

Where there is no GPU, seeding it changes nothing, as in PyTorch: the numbers of the CPU go on as they were.
"""

from __future__ import annotations

from tritorch import random
from tritorch.runtime.cuda import driver


def manual_seed(seed):
    """Start the generator from `seed`."""
    seed = int(seed)
    if driver.is_available():
        random.manual_seed(seed)


manual_seed_all = manual_seed


def seed():
    """Start the generator from an unknown seed."""
    if driver.is_available():
        random.seed()


seed_all = seed


def initial_seed():
    """The seed the generator was last started from."""
    driver.require()
    return random.initial_seed()


def get_rng_state(device="cuda"):
    """The generator's state, as a tensor of bytes on the CPU."""
    driver.require(driver.index_of(device))
    return random.get_rng_state()


def get_rng_state_all():
    """The state for each GPU: the same one for all."""
    return [random.get_rng_state() for _ in range(driver.device_count())]


def set_rng_state(new_state, device="cuda"):
    """Set the generator to a state that `get_rng_state` gave."""
    if driver.is_available():
        random.set_rng_state(new_state)


def set_rng_state_all(new_states):
    """Set the generator to the first of the states that `get_rng_state_all` gave."""
    for state in list(new_states)[:1]:
        set_rng_state(state)
