"""TRITORCH_AUTOTUNE=1: an op is tuned when a program first calls it with shapes that nobody has tuned.

The call itself runs with the formula's config, then the tuner looks for a better one, for TRITORCH_AUTOTUNE_BUDGET
seconds (20) a kernel and key, and says so in one line on stderr. What is found is in the store, so that the next run
does not tune; without the variable nothing ever does.

Of several processes that train together (torchrun, Open MPI, MPICH and Slurm say which one this is) the first tunes.
The others wait until it has finished and read what it found, so that all of them launch the same; they need to share
the cache folder. One that waits in vain takes the formula's config, warns, and waits no more.
"""

from __future__ import annotations

import os
import sys
import time
import warnings

from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable
from tritorch.autotune import lookup
from tritorch.autotune.device import environment_of
from tritorch.autotune.key import describe_key
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Entry
from tritorch.autotune.tunable import is_observed

BUDGET = 20.0  # seconds a kernel and key
GRACE = 120.0  # seconds that a first rank may take beyond its budget: its worker starts, and a last trial ends
_SOONEST, _LATEST = 0.05, 1.0  # seconds between two looks at the store
_MOST_JOBS = 8  # processes that compile

# The number of this process and how many there are, as launchers of several say it.
RANKS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


def rank():
    """(number of this process, how many there are); (0, 1) for one that is alone."""
    for names in RANKS:
        found = [os.environ.get(name, "") for name in names]
        if all(each.isdecimal() for each in found) and int(found[1]) > 1:
            return int(found[0]), int(found[1])
    return 0, 1


def budget():
    """Seconds that a kernel and key may take."""
    chosen = os.environ.get("TRITORCH_AUTOTUNE_BUDGET") or BUDGET
    try:
        seconds = float(chosen)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"TRITORCH_AUTOTUNE_BUDGET is {chosen!r}; it takes seconds, such as 20")
    return seconds


def start():
    """Tune from now on what this thread calls and nobody has tuned; `tritorch` does so where TRITORCH_AUTOTUNE is 1."""
    Tuning().__enter__()


class Tuning(Interceptor):
    """Tunes, after a call, what it asked for in vain, each kernel and key once."""

    def __init__(self):
        self.seen: set = set()  # keys that were tuned, waited for, or given up
        self.waits, self.busy = True, False

    def intercept(self, cls, args):
        """Let the call go on, then tune what it missed; what a tuner calls for its own purposes is none of that."""
        if self.busy or is_observed() or lookup.mode() != lookup.TUNE:
            return cls.apply(*args)
        with lookup.noting_misses() as misses:
            results = cls.apply(*args)
        new = {key: device for _, key, device in misses if key not in self.seen}
        if new:
            self.seen.update(new)
            self._tune(cls, args, new)
        return results

    def _tune(self, cls, args, missed):
        device = args[-1] if cls.creates else next(each.device for each in args if isinstance(each, Variable))
        environment, seconds = environment_of(next(iter(missed.values()))), budget() * len(missed)
        number, count = rank()
        self.busy = True
        try:
            if number == 0:
                _find(cls, args, device, environment, list(missed), seconds, count)
            elif self.waits:
                self.waits = _wait(environment, list(missed), seconds + GRACE)
        finally:
            self.busy = False
            lookup.forget()


def _find(cls, args, device, environment, keys, seconds, count):
    """Tune a call, and have every key finished in the store in the end, whatever became of it: others may wait."""
    from tritorch.autotune.op_problem import OpProblem
    from tritorch.autotune.tuner import Tuner, Weighted
    from tritorch.runtime.cuda.memory import empty_cache

    store, began = Store(), time.monotonic()
    try:
        problem = OpProblem.of(cls, args)
        _say(
            f"autotune: {problem.name} {problem.label} {problem.dtype}, up to {seconds:g} s (TRITORCH_AUTOTUNE=1) ... "
        )
        jobs = min(os.cpu_count() or 1, _MOST_JOBS) if device.is_cuda else 0
        empty_cache()  # the process that tries configs needs memory too
        tuner = Tuner([Weighted(problem)], device, store, seconds=seconds, jobs=jobs)
        tuner.run()
        _say(f"{_outcome(tuner.subjects)} in {time.monotonic() - began:.1f} s\n")
    except Exception as error:  # whatever it is, the program that trains goes on
        warnings.warn(
            f"autotune: {cls.op_name} was not tuned: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2
        )
    finally:
        if count > 1:
            for key in keys:
                entry = store.load(environment, key)
                if entry is None or not entry.finished:
                    store.save(environment, Entry(key, finished="none"))


def _outcome(subjects):
    """What tuning has come to, in a few words."""
    gains = [each.gain for each in subjects if each.gain is not None]
    trials = sum(each.new for each in subjects)
    trouble = next((each.trouble for each in subjects if each.trouble), "")
    if not gains:
        return f"nothing found after {trials} trials {trouble}".rstrip()
    return f"{max(gains):.2f} times as fast as the default after {trials} trials"


def _wait(environment, keys, seconds):
    """Wait until the first rank has finished with all keys; gives whether it did so in time."""
    store, ends, pause = Store(), time.monotonic() + seconds, _SOONEST
    waiting = list(keys)
    while waiting:
        entry = store.load(environment, waiting[0])
        if entry is not None and entry.finished:
            waiting.pop(0)
        elif time.monotonic() > ends:
            warnings.warn(
                f"autotune: rank 0 has found no config for {describe_key(waiting[0])} within {seconds:g} s. This rank "
                f"takes its defaults and waits no more; do all ranks share the folder {store.root}?",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        else:
            time.sleep(pause)
            pause = min(2 * pause, _LATEST)
    return True


def _say(text):
    sys.stderr.write(text)
    sys.stderr.flush()
