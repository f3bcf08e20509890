"""How far a pass over a DataLoader has come, and what is needed to go on from there in another process.

The order of a pass follows from the random states at its start, so these are kept, with the number of batches given.
How workers' random numbers and a dataset's own state stand comes with each batch, since workers are ahead of what was
given.
"""

from __future__ import annotations

import random

import numpy as np

from tritorch.random import default_generator
from tritorch.utils.random_states import random_states, set_random_states


def stateful(thing):
    """Whether it says where it stands, by `state_dict` and `load_state_dict`."""
    return callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None))


def _state_of(thing):
    return thing.state_dict() if stateful(thing) else None


class Progress:
    """One pass: where it began, and what was given since."""

    def __init__(self, loader, workers=0):
        self.start = random_states()
        self.generator = None if loader.generator is None else loader.generator.get_state()
        self.sampler = _state_of(loader.stateful_sampler)
        self.batches, self.finished = 0, False
        self.base_seed = None
        self.ahead: set = set()  # tasks given although earlier ones were not
        self.turn = 0  # the worker whose batch is due
        self.given = [0] * workers  # batches of each worker
        self.snapshots: list = [{} for _ in range(workers)]

    def count(self, task=None, worker=None):
        """Note that a batch was given."""
        if worker is not None:
            self.given[worker] += 1
            self.turn = (worker + 1) % len(self.given)
        if task is None or task == self.batches:
            self.batches += 1
            while self.batches in self.ahead:
                self.ahead.discard(self.batches)
                self.batches += 1
        else:
            self.ahead.add(task)

    def take_over(self, state):
        """Stand where a pass stood when `state_dict` wrote this."""
        self.batches, self.ahead = state["batches"], set(state["ahead"])
        self.start, self.generator, self.sampler = state["start"], state["generator_at_start"], state["sampler"]
        if len(state["given"]) == len(self.given):
            self.base_seed, self.turn = state["base_seed"], state["turn"]
            self.given, self.snapshots = list(state["given"]), [dict(each) for each in state["snapshots"]]

    def state_dict(self, loader):
        """This pass as plain values."""
        generator = loader.generator
        return {
            "batches": self.batches,
            "ahead": sorted(self.ahead),
            "finished": self.finished,
            "start": self.start,
            "generator": None if generator is None else generator.get_state(),
            "generator_at_start": self.generator,
            "sampler": _state_of(loader.stateful_sampler) if self.finished else self.sampler,
            "dataset": None if self.given else _state_of(loader.dataset),
            "base_seed": self.base_seed,
            "turn": self.turn,
            "given": list(self.given),
            "snapshots": [dict(each) for each in self.snapshots],
        }


class Watch:
    """In a worker: what changed of its random states and of its dataset's own state since it was last asked."""

    def __init__(self):
        self._seen = {}

    def changes(self, dataset):
        """The parts of a snapshot that are not as they were."""
        algorithm, keys, *position = np.random.get_state()
        found = {
            "python": random.getstate(),
            "numpy": (algorithm, keys.tobytes(), *position),
            "tritorch": (default_generator._seed, default_generator._offset),
        }
        changed = {name: value for name, value in found.items() if self._seen.get(name) != value}
        self._seen = found
        if stateful(dataset):
            changed["dataset"] = dataset.state_dict()
        return changed

    def restore(self, snapshot, dataset):
        """Go to where a worker stood."""
        states = {name: snapshot[name] for name in ("python",) if name in snapshot}
        if "numpy" in snapshot:
            algorithm, keys, *position = snapshot["numpy"]
            states["numpy"] = (algorithm, np.frombuffer(keys, np.uint32), *position)
        set_random_states(states)
        if "tritorch" in snapshot:
            default_generator._seed, default_generator._offset = snapshot["tritorch"]
        if "dataset" in snapshot:
            dataset.load_state_dict(snapshot["dataset"])
