"""TrainingState: all that a training run is, in one file, so that it goes on as if it had never stopped."""

from __future__ import annotations

import os
from copy import deepcopy

from tritorch.random import Generator
from tritorch.serialization import load, save
from tritorch.utils.random_states import random_states, set_random_states

KEY = "training_state"
VERSION = 1


class TrainingState:
    """The parts of a training run under names of your choice: `TrainingState(model=net, optimizer=optimizer, ...)`.

    A part is anything with `state_dict` and `load_state_dict`: modules, optimizers, schedulers, gradient scalers,
    loaders (also in the middle of a pass); or a Generator. The random states of Python, NumPy and ours belong to it
    too. On the CPU, a run that was saved and loaded is bitwise the run that was not.
    """

    def __init__(self, **parts):
        for name, part in parts.items():
            methods = callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))
            if not methods and not isinstance(part, Generator):
                raise TypeError(
                    f"TrainingState(): {name} must have state_dict() and load_state_dict(), or be a torch.Generator, "
                    f"but is {type(part).__name__}; give plain values to save()"
                )
        self.parts = parts

    def save(self, path, **values):
        """Write all parts, and plain values such as `epoch=3`, to one file, whole or not at all."""
        states = {name: _state_of(part) for name, part in self.parts.items()}
        save({KEY: VERSION, "parts": states, "random": random_states(), "values": values}, path)

    def load(self, path, map_location=None, strict=True):
        """Read a file that `save` wrote, set all parts to it, and return the plain values as a dict.

        Either all parts are set or none: where one refuses its state, those before it get back what they had. With
        `strict` the file must have exactly these parts; else those in both are set.
        """
        found = load(path, map_location=map_location)
        where = os.fspath(path) if isinstance(path, (str, os.PathLike)) else f"<{type(path).__name__}>"
        if not isinstance(found, dict) or found.get(KEY) != VERSION:
            raise RuntimeError(f"TrainingState.load(): {where} was not written by TrainingState.save()")
        states = found["parts"]
        missing, further = self.parts.keys() - states, states.keys() - self.parts
        if strict and (missing or further):
            raise RuntimeError(
                f"TrainingState.load(): {where} has no state of {sorted(missing)} and has states of {sorted(further)} "
                "that are not asked for; strict=False sets those in both"
            )
        self._set({name: states[name] for name in self.parts if name in states})
        set_random_states(found["random"])
        return found["values"]

    def _set(self, states):
        """Set parts one by one, and all of them back if one fails."""
        done = {}
        try:
            for name, state in states.items():
                done[name] = deepcopy(_state_of(self.parts[name]))
                _set_state(self.parts[name], state)
        except BaseException:
            for name, before in done.items():
                _set_state(self.parts[name], before)
            raise


def _state_of(part):
    return part.get_state() if isinstance(part, Generator) else part.state_dict()


def _set_state(part, state):
    if isinstance(part, Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)
