"""Trials: what became of one config on one problem, good or bad, and entries, which hold all trials of a key."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

from tritorch.autotune.key import Key

# What can become of a config. Only the first can be chosen; the others keep the sweep from trying it again.
OK = "ok"
COMPILE = "compile"  # the compiler refused it
RESOURCES = "resources"  # it needs more shared memory or registers than there are
WRONG = "wrong"  # its numbers are not the reference's, or it wrote where it must not
LAUNCH = "launch"  # the driver refused it
TIMEOUT = "timeout"  # it did not come back
CRASH = "crash"  # its process died, or the device with it
# Found no room on the device, which other programs may have had: says nothing of the config, and is not kept.
NO_MEMORY = "memory"
STATES = (OK, COMPILE, RESOURCES, WRONG, LAUNCH, TIMEOUT, CRASH)

_LARGEST = 1e30  # of what an entry counts: operations, bytes, seconds


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: quantiles over `repeats` measurements."""

    p20: float
    p50: float
    p80: float
    repeats: int

    @property
    def spread(self):
        """How far measurements lie apart, over the median."""
        return (self.p80 - self.p20) / self.p50 if self.p50 else 0.0


@dataclass(frozen=True)
class Resources:
    """What the compiled kernel takes: registers and spilled bytes of a thread, bytes of shared memory of a block."""

    registers: int | None = None
    spills: int | None = None
    shared_memory: int | None = None


@dataclass(frozen=True)
class Trial:
    """One config on one problem.

    state      one of STATES
    timing     where it ran and was right; `final` where it was measured among the last, turn by turn
    error      the largest difference from the reference, in units of what is allowed; None where nothing was compared
    cause      what went wrong, in one line
    """

    config: dict
    state: str = OK
    timing: Timing | None = None
    final: Timing | None = None
    resources: Resources = field(default_factory=Resources)
    error: float | None = None
    cause: str = ""

    @property
    def ok(self):
        """Whether the config may be used."""
        return self.state == OK and self.timing is not None

    @property
    def best_timing(self):
        """The finals' timing where there is one, since drift hit all in them alike."""
        return self.final or self.timing

    @property
    def seconds(self):
        """The median, or infinity."""
        timing = self.best_timing
        return timing.p50 if self.ok and timing is not None else math.inf

    def failed(self, state, cause):
        """The same config as a failure."""
        return replace(self, state=state, timing=None, final=None, cause=cause)

    def to_json(self):
        """The trial as JSON's own types."""
        found: dict = {"config": config_to_json(self.config), "state": self.state}
        if self.timing:
            found["timing"] = vars(self.timing)
        if self.final:
            found["final"] = vars(self.final)
        taken = {name: value for name, value in vars(self.resources).items() if value is not None}
        if taken:
            found["resources"] = taken
        if self.error is not None:
            found["error"] = self.error if math.isfinite(self.error) else str(self.error)
        if self.cause:
            found["cause"] = self.cause
        return found

    @classmethod
    def from_json(cls, found):
        """The trial that `to_json` wrote; a TypeError, KeyError or ValueError where it is none."""
        if found["state"] not in STATES:
            raise ValueError(f"no state named {found['state']!r}")
        return cls(
            config=config_from_json(found["config"]),
            state=found["state"],
            timing=_timing(found.get("timing")),
            final=_timing(found.get("final")),
            resources=Resources(**_numbers(found.get("resources", {}))),
            error=float(found["error"]) if "error" in found else None,
            cause=str(found.get("cause", "")),
        )


def _timing(found):
    if found is None:
        return None
    timing = Timing(**_numbers(found))
    if not all(each > 0 for each in (timing.p20, timing.p50, timing.p80)):
        raise ValueError(f"{found} is no timing")
    return timing


def _numbers(found):
    """`found` if all its values are numbers that can be calculated with; a ValueError where one is not."""
    for name, value in found.items():
        if type(value) not in (int, float) or not 0 <= value < _LARGEST:
            raise ValueError(f"{name} is {str(value)[:80]}, it takes a number from 0 on")
    return found


def config_to_json(config):
    """A config as JSON's own types: an order becomes a list."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


def config_from_json(found):
    """The config that `config_to_json` wrote; a ValueError where a knob is neither a number, a text nor a list."""
    config = {}
    for name, value in found.items():
        if isinstance(value, list) and all(isinstance(each, (int, str)) for each in value):
            value = tuple(value)
        elif value is not None and not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"knob {name!r} cannot be {value!r}")
        config[name] = value
    return config


def config_name(config):
    """A text that stands for a config, whatever the order of its knobs."""
    return json.dumps(config_to_json(config), sort_keys=True)


def show_config(config):
    """A config for people, such as `BLOCK_M=128 BLOCK_N=64 num_warps=4`."""
    return " ".join(f"{name}={value}" for name, value in config.items())


@dataclass
class Entry:
    """All that is known of a key: its trials in the order they were made, and how far the last sweep came.

    finished   the effort of the last sweep that came to its end, "" while one is under way
    problem    the problem it was tuned on, by which any process can make it again
    work       of one call: {"flops": multiplications and additions, "bytes": moved at least, "roofline": seconds}
    space      {knob: its values} when it was finished: what has been added since was not looked at
    """

    key: Key
    trials: list[Trial] = field(default_factory=list)
    finished: str = ""
    problem: dict = field(default_factory=dict)
    work: dict = field(default_factory=dict)
    space: dict = field(default_factory=dict)

    def find(self, config):
        """The trial of a config, or None."""
        name = config_name(config)
        return next((each for each in self.trials if config_name(each.config) == name), None)

    def put(self, trial):
        """Add a trial, in the place of an earlier one of the same config."""
        name = config_name(trial.config)
        for at, each in enumerate(self.trials):
            if config_name(each.config) == name:
                self.trials[at] = trial
                return
        self.trials.append(trial)

    def ranked(self):
        """The trials that may be used, best first; a tie inside the noise goes to the earlier one."""
        return ranked(self.trials)

    def best(self):
        """The trial to use, or None."""
        return next(iter(self.ranked()), None)

    def to_json(self):
        """The entry as JSON's own types."""
        best = self.best()
        return {
            "key": self.key.to_json(),
            "best": None if best is None else config_to_json(best.config),
            "finished": self.finished,
            "space": self.space,
            "work": self.work,
            "problem": self.problem,
            "trials": [each.to_json() for each in self.trials],
        }

    @classmethod
    def from_json(cls, found):
        """The entry that `to_json` wrote; a TypeError, KeyError or ValueError where it is none."""
        return cls(
            key=Key.from_json(found["key"]),
            trials=[Trial.from_json(each) for each in found["trials"]],
            finished=str(found["finished"]),
            problem=dict(found["problem"]),
            work=dict(_numbers(found["work"])),
            space=dict(found["space"]),
        )


NOISE = 0.01  # below this share of the time, two medians are the same


def ranked(trials):
    """Usable trials, best first: finals before others, and within the noise of the best the earlier one first."""
    usable = [each for each in trials if each.ok]
    finals = [each for each in usable if each.final is not None]
    order = sorted(finals, key=lambda each: each.seconds) + sorted(
        (each for each in usable if each.final is None), key=lambda each: each.seconds
    )
    if not order:
        return []
    group = finals or usable
    best = order[0]
    for each in group:  # in the order they were made
        spread = max(NOISE, best.best_timing.spread / 2, each.best_timing.spread / 2)
        if each.seconds <= best.seconds * (1 + spread):
            order.remove(each)
            return [each, *order]
    return order
