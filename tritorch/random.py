"""Generators: a seed and how far its sequence is used. Every random draw takes its place in one.

A draw is a function of (seed, offset) that every device computes alike (see ops/random/philox.py), so one generator
serves all devices, its state is two numbers, and setting them back repeats everything that followed, on any device.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import export
from tritorch.runtime.device import CPU, Device

_WORD = 2**64
_FIRST_SEED = 67280421310721  # of a new Generator, as PyTorch has it


class Generator:
    """Where random numbers come from: `manual_seed` fixes all that follow."""

    def __init__(self, device="cpu"):
        self.device = device if isinstance(device, Device) else Device(device)
        self._seed, self._offset = _FIRST_SEED, 0

    def take(self, blocks):
        """Use the next `blocks` Philox blocks; returns the seed and the number of the first."""
        offset = self._offset
        self._offset = (offset + blocks) % _WORD
        return self._seed, offset

    def manual_seed(self, seed):
        """Start again from `seed`; a negative one counts back from 2^64."""
        if not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        seed = int(seed)
        if not -(_WORD >> 1) <= seed < _WORD:
            raise ValueError(f"manual_seed(): Overflow when unpacking long long: {seed} does not fit 64 bits")
        self._seed, self._offset = seed % _WORD, 0
        return self

    def seed(self):
        """Start again from a seed that nobody can know, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self):
        """The seed it was last started from."""
        return self._seed

    def get_state(self):
        """Seed and offset, as 16 bytes in a tensor on the CPU."""
        return creation.wrap(np.array([self._seed, self._offset], "<u8").view(np.uint8), CPU)

    def set_state(self, new_state):
        """Go back, or on, to a state that `get_state` gave."""
        if not isinstance(new_state, Variable):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        state = new_state.detach().cpu().numpy()
        if state.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != 16:
            raise RuntimeError(f"Expected a state of size 16 but found the input RNG state size to be {state.size}")
        self._seed, self._offset = (int(each) for each in np.ascontiguousarray(state).reshape(-1).view("<u8"))
        return self

    def get_offset(self):
        """How many Philox blocks were used since the seed."""
        return self._offset

    def set_offset(self, offset):
        """Go to another place after the same seed."""
        self._offset = int(offset) % _WORD

    graphsafe_get_state, graphsafe_set_state = get_state, set_state

    def clone_state(self):
        """Another generator in the same state."""
        other = Generator(self.device)
        other._seed, other._offset = self._seed, self._offset
        return other

    def __reduce__(self):
        return _rebuild, (self.device, self._seed, self._offset)


def _rebuild(device, seed, offset):
    made = Generator(device)
    made._seed, made._offset = seed, offset
    return made


default_generator = Generator()
default_generator.seed()


def generator_of(op, generator):
    """The generator a user gave, or the default one."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"{op}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator


@export("manual_seed")
def manual_seed(seed):
    """Start the default generator from `seed`, for all devices; returns the generator."""
    return default_generator.manual_seed(int(seed))


@export("seed")
def seed():
    """Start the default generator from an unknown seed, and return it."""
    return default_generator.seed()


@export("initial_seed")
def initial_seed():
    """The seed the default generator was last started from."""
    return default_generator.initial_seed()


@export("get_rng_state")
def get_rng_state():
    """The state of the default generator, as a tensor of bytes."""
    return default_generator.get_state()


@export("set_rng_state")
def set_rng_state(new_state):
    """Set the default generator to a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices=None, enabled=True, device_type="cuda"):
    """What is drawn inside leaves the default generator, which is that of all devices, where it was."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)


@export("thread_safe_generator")
def thread_safe_generator():
    """The generator of a DataLoader's worker thread: None, workers are processes."""
