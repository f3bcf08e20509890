"""The search: which configs of a space are tried, in what order, and when it stops.

It runs nothing itself: a Laboratory compiles, tries and times. What is tried depends on the space, the seed and the
outcome of earlier trials alone, and a config that has a trial in the entry is not tried again. So a search that was
killed goes the same way when it is started anew, without repeating a trial, and one whose space got another value
tries what has that value.

1. the default by formula, always, and always first
2. a small space whole; of a large one candidates by rule: what won for the nearest keys, each knob at its ends, draws
3. descent from the fastest: all configs one step away are tried, and the best steps of several knobs together
4. with full effort, steps of two knobs in opposite directions, and descents from new draws
5. finals: the fastest few and the default measured turn by turn, so that drift hits all alike

A config that failed is not tried again, one that hung or crashed neither: it would cost its timeout again, or the
device. A sweep that starts afresh forgets them.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tritorch.autotune.precompile import spills_much
from tritorch.autotune.trial import NO_MEMORY, NOISE, Resources, Timing, Trial, config_name

NEAR = 0.03  # this close above the roofline there is nothing left to find
FOR_FINALS = 0.05  # of the seconds are kept for the finals, beside what their trials took
_BATCH = 32  # configs that are compiled ahead of their trials
_DRAWS = 200  # tries to draw a config that was not tried yet
_SLOW = 2.0  # a descent does not start from what takes so many times the best


class Laboratory(Protocol):
    """What compiles, tries and times configs, for one kernel and key."""

    def prepare(self, configs: Sequence[dict]) -> Iterable[tuple[dict, Resources | Trial]]:
        """Compile configs ahead, in parallel; gives what each takes, or a Trial that says why it cannot run."""

    def trial(self, config: dict) -> Trial:
        """Run, verify and time a config."""

    def finals(self, configs: Sequence[dict]) -> Sequence[Timing | None]:
        """Time configs turn by turn; None for one that did not come back."""

    def noted(self, trials: Sequence[Trial]) -> Iterable[Trial]:
        """Keep trials that were just entered; gives the trials there are now, with those that others have made."""


@dataclass(frozen=True)
class Effort:
    """How much a search tries.

    whole      a space of at most so many configs is tried whole
    draws      candidates drawn at random, beside those by rule
    starts     how many of the fastest candidates it descends from
    diagonals  whether a descent tries steps of two knobs at once
    restarts   how many times it draws and descends again
    finalists  how many are measured turn by turn
    """

    name: str
    whole: int = 0
    draws: int = 0
    starts: int = 0
    diagonals: bool = False
    restarts: int = 0
    finalists: int = 0


# From the least to the most: an entry finished with one is finished for those before it.
EFFORTS = {
    each.name: each
    for each in (
        Effort("none"),
        Effort("quick", whole=32, draws=24, starts=2, finalists=3),
        Effort("full", whole=512, draws=24, starts=3, diagonals=True, restarts=8, finalists=5),
    )
}


def covers(finished, effort):
    """Whether a sweep that finished with one effort, by name, has done what another asks for."""
    order = list(EFFORTS)
    return finished in EFFORTS and order.index(finished) >= order.index(effort)


class Budget:
    """What a search may use: seconds from now on, and configs in all, those of earlier runs included."""

    def __init__(self, seconds=math.inf, trials=math.inf, clock=time.monotonic):
        self.seconds, self.trials, self.clock = seconds, trials, clock
        self.start = clock()

    def allows(self, tried, kept=0.0):
        """Whether another config may be tried after `tried` of them, where the finals are to take `kept` seconds."""
        return tried < self.trials and self.clock() - self.start + kept < self.seconds * (1 - FOR_FINALS)


# Why a search ended.
COMPLETE, OUT_OF_BUDGET, AT_ROOFLINE, OUT_OF_MEMORY = "complete", "budget", "roofline", "memory"


class Search:
    """One kernel, one key: `run()` tries configs until it is complete, out of budget or at the roofline.

    known     sizes, facts and `device`, which the space's conditions look at
    seeds     configs that won for near keys
    roofline  seconds that the problem takes at least, 0 where that is not known
    only_new  values by knob: try nothing but configs that have one of them, since all others were searched before
    """

    def __init__(self, space, default, known, entry, laboratory, *, effort="quick", budget=None, seed=0, seeds=(),
                 roofline=0.0, only_new=None):  # fmt: skip
        self.space, self.default, self.known = space, default, known
        self.entry, self.laboratory = entry, laboratory
        self.effort, self.budget = EFFORTS[effort], budget or Budget()
        self.seeds, self.roofline, self.only_new = seeds, roofline, only_new
        self.random = random.Random(f"{seed} {entry.key.digest}")
        self.trials = {config_name(each.config): each for each in entry.trials}
        self.visited: set[str] = set()
        self.unfit: list[Trial] = []  # what found no memory: nothing is known of it, another search tries it again
        self.took: dict[str, float] = {}  # seconds that a trial took, checks and all
        self.new = 0  # trials that were not in the entry
        self.planned = 0  # configs visited once the batch at hand is done

    def run(self):
        """Search and hold the finals; gives why it ended."""
        ended = self._try_batches()
        self._hold_finals()
        return OUT_OF_MEMORY if self.unfit and ended == COMPLETE else ended

    def first_configs(self):
        """What is tried before any outcome decides: the default, then the whole space or the candidates."""
        whole = self._whole_space() if self.effort.whole else []
        found = [self.default, *(self._candidates() if whole is None else whole)]
        return list({config_name(each): each for each in found}.values())

    # ------------------------------------------------------------------------------------ trying

    def _try_batches(self):
        for batch in self._batches():
            self.planned = len(self.visited.union(map(config_name, batch)))
            for at in range(0, len(batch), _BATCH):
                ended = self._try_batch(batch[at : at + _BATCH])
                if ended:
                    return ended
        return COMPLETE

    def _try_batch(self, batch):
        """Try configs in turn; gives why the search has to end, or None."""
        new = [each for each in batch if config_name(each) not in self.trials]
        first = not self.visited  # the default is tried whatever the budget says
        slow = set()
        for config, found in self.laboratory.prepare(new) if new and (first or self._affords()) else ():
            if isinstance(found, Trial):
                self._enter(found)
            elif spills_much(found):
                slow.add(config_name(config))
        for config in sorted(batch, key=lambda each: config_name(each) in slow):
            name = config_name(config)
            if name not in self.visited and not first and not self._affords():
                return OUT_OF_BUDGET
            self.visited.add(name)
            if name not in self.trials:
                began = self.budget.clock()
                trial = self.laboratory.trial(config)
                self.took[name] = self.budget.clock() - began
                if trial.state == NO_MEMORY:
                    self.trials[name] = trial
                    self.unfit.append(trial)
                    if first:  # without the default there is nothing to compare with
                        return OUT_OF_MEMORY
                    continue
                self._enter(trial)
            if self._seconds(config) <= self.roofline * (1 + NEAR):
                return AT_ROOFLINE
        return None

    def _affords(self):
        kept = sum(self.took.get(config_name(each.config), 0.0) for each in self._finalists())
        return self.budget.allows(len(self.visited), kept)

    def _enter(self, trial):
        self.trials[config_name(trial.config)] = trial
        self.entry.put(trial)
        self.new += 1
        for each in self.laboratory.noted([trial]):
            self.trials.setdefault(config_name(each.config), each)

    # ------------------------------------------------------------------------------------ what to try

    def _batches(self):
        """Lists of configs, the next one chosen when those of the last have been tried."""
        yield [self.default]
        if not self.effort.whole:
            return
        whole = self._whole_space()
        if whole is not None:
            yield whole
            return
        candidates = self._candidates()
        yield candidates
        for start in self._starts(candidates):
            yield from self._descent(start)
        for _ in range(self.effort.restarts):
            draws = self._draws(self.effort.draws // 2)
            yield draws
            for start in self._fastest(draws)[:1]:
                if self._seconds(start) < _SLOW * self._best_seconds():
                    yield from self._descent(start)

    def _allows(self, config):
        """Whether a config may be tried: its conditions hold, and it is new where only that is asked for."""
        if not self.space.allows(config, **self.known):
            return False
        if self.only_new is None or config_name(config) in self.trials:
            return True
        return any(config[name] in values for name, values in self.only_new.items())

    def _whole_space(self):
        """All configs, those like the default first; None where there are too many."""
        allowed = (each for each in self.space.configs(**self.known) if self._allows(each))
        found = list(itertools.islice(allowed, self.effort.whole + 1))
        if len(found) > self.effort.whole:
            return None
        return sorted(found, key=self._distance)

    def _distance(self, config):
        """How many steps a config is from the default, over all knobs."""
        total = 0
        for name, knob in self.space.knobs.items():
            values = list(knob)
            if config[name] != self.default.get(name):
                near = self.default.get(name) in values
                total += abs(values.index(config[name]) - values.index(self.default[name])) if near else 1
        return total

    def _candidates(self):
        """Configs by rule, each once: winners for near keys, each knob at its ends, and draws."""
        found = {}
        ends = ({**self.default, name: value} for name, knob in self.space.knobs.items() for value in self._ends(knob))
        for config in itertools.chain(self.seeds, (self.space.default(),), ends):
            if self._allows(config):
                found.setdefault(config_name(config), config)
        for config in self._draws(self.effort.draws):
            found.setdefault(config_name(config), config)
        return list(found.values())

    @staticmethod
    def _ends(knob):
        values = tuple(knob)
        return dict.fromkeys((values[-1], values[0]))

    def _draws(self, count):
        """Up to `count` configs drawn at random, tried before or not, so that another run draws the same."""
        found = {}
        for _ in range(_DRAWS):
            config = self.space.random(self.random, **self.known) if len(found) < count else None
            if config is None:
                break
            if self._allows(config):
                found.setdefault(config_name(config), config)
        return list(found.values())

    def _starts(self, candidates):
        """Where descents begin: the fastest candidates, the fastest of all trials, and what won for near keys."""
        most, bound = self.effort.starts, _SLOW * self._best_seconds()
        fastest = self._fastest([self.default, *candidates])[:most]
        known = self._fastest(each.config for each in self.trials.values())[:1]
        seeds = [each for each in self.seeds if self._seconds(each) < bound][:most]
        return list({config_name(each): each for each in (*fastest, *known, *seeds)}.values())

    def _descent(self, config):
        """Steps downhill from a config until none is faster."""
        seen = set()
        while config_name(config) not in seen:
            seen.add(config_name(config))
            steps = [each for each in self.space.neighbours(config, **self.known) if self._allows(each)]
            yield steps
            better = [each for each in self._fastest(steps) if self._faster(each, config)]
            if better:
                together = self._together(config, better)
                if together != better[0] and self._allows(together):
                    yield [together]
                    better.append(together)
            elif self.effort.diagonals:
                steps = self._diagonals(config)
                yield steps
                better = [each for each in steps if self._faster(each, config)]
            config = min(better, key=self._seconds, default=config)

    @staticmethod
    def _together(config, better):
        """The best step of each knob, all at once; `better` begins with the best."""
        result = dict(config)
        for each in reversed(better):
            result |= {name: value for name, value in each.items() if value != config.get(name)}
        return result

    def _diagonals(self, config):
        """One knob a step up and another a step down: the way along a limit on their product."""
        up, down = {}, {}
        for name, knob in self.space.knobs.items():
            values = tuple(knob)
            if config[name] in knob:
                at = values.index(config[name])
                up |= {name: values[at + 1]} if at + 1 < len(values) else {}
                down |= {name: values[at - 1]} if at else {}
        pairs = itertools.product(up, down)
        moved = ({**config, rising: up[rising], falling: down[falling]}
                 for rising, falling in pairs if rising != falling)  # fmt: skip
        return [each for each in moved if self._allows(each)]

    # ------------------------------------------------------------------------------------ comparing

    def _seconds(self, config):
        """The time of a config when it was tried, infinite if it failed or was not; finals play no part."""
        trial = self.trials.get(config_name(config))
        return trial.timing.p50 if trial is not None and trial.ok else math.inf

    def _best_seconds(self):
        return min((each.timing.p50 for each in self.trials.values() if each.ok), default=math.inf)

    def _fastest(self, configs):
        """Those that ran, fastest first."""
        return sorted((each for each in configs if self._seconds(each) < math.inf), key=self._seconds)

    def _faster(self, one, other):
        """Whether a config is faster than another by more than the noise."""
        return self._seconds(one) < self._seconds(other) * (1 - NOISE)

    # ------------------------------------------------------------------------------------ finals

    def _finalists(self):
        """The fastest few, the default, and those of earlier finals: at another clock rate perhaps, so once more."""
        if not self.effort.finalists:
            return []
        usable = sorted((each for each in self.trials.values() if each.ok), key=lambda each: each.timing.p50)
        default = self.trials.get(config_name(self.default))
        return usable[: self.effort.finalists] + [
            each for each in usable[self.effort.finalists :] if each.final is not None or each is default
        ]

    def _hold_finals(self):
        """Measure the fastest few and the default turn by turn, unless that was done for the same ones."""
        chosen = self._finalists()
        if len(chosen) < 2 or all(each.final for each in chosen):
            return
        timings = self.laboratory.finals([each.config for each in chosen])
        changed = [replace(each, final=timing) for each, timing in zip(chosen, timings, strict=True)]
        for each in changed:
            self.trials[config_name(each.config)] = each
            self.entry.put(each)
        self.laboratory.noted(changed)
