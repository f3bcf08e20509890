"""The tuner: which kernels and keys a list of problems asks for, and a search for each, kept in the store as it goes.

    tuner = Tuner([Weighted(problem), ...], device, Store(), effort="quick", seconds=600)
    tuner.run()
    tuner.subjects      what was tuned, each with its entry

A subject is one kernel under one key. Trials run the whole problem that asks for it; two problems that ask the same are
one subject. Each trial is in the store before the next begins, so whatever ends the process loses nothing that
finished, and another run goes on from there. An entry that a sweep has finished is not looked at again, unless more
effort is asked for or its kernel's space has grown.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

from tritorch.autotune.device import INTERPRETER, cuda_info, environment_of
from tritorch.autotune.key import POLICIES, Key
from tritorch.autotune.precompile import Compilers
from tritorch.autotune.problem import Problem, configs_asked, describe, failure_text
from tritorch.autotune.search import COMPLETE, OUT_OF_BUDGET, OUT_OF_MEMORY, Budget, Search, covers
from tritorch.autotune.trial import Entry, Trial
from tritorch.autotune.tunable import TunableKernel, by_formula, pretending
from tritorch.autotune.worker import Worker
from tritorch.runtime import device as devices

# Why nothing was tried, beside what a search says of its end.
FINISHED = "finished"  # an earlier sweep did
NOT_REACHED = "not reached"  # the budget was spent before
BROKEN = "broken"  # its problem cannot be run at all
EXCHANGED = "exchanged"  # the device asks by other keys, which stand in its place

_SEEDS = 3  # winners for near keys that a search begins with
_LEAST_SHARE = 1e-6
_SLICE = 2.0  # seconds below which no budget is given out a second time


@dataclass(frozen=True)
class Weighted:
    """A problem, its share of the budget relative to others', and how often the program it is from calls it."""

    problem: Problem
    share: float = 1.0
    count: int = 1


@dataclass(eq=False)
class Subject:
    """A kernel under a key, and how far its tuning has come.

    key       as the store has it, with the policy
    known     sizes, facts and the device: what conditions of the kernel's space look at
    default   its config by formula
    ended     why the search ended, "" before that;  trouble  why its problem could not be run
    new       trials of this run;  unfit  configs that found no memory on the device, to be tried another time
    done      configs that the search has looked at, earlier trials included;  planned  that it knows it will have
    seconds   that it took, without the turn under way since `began`;  ends  when the budget of that will be spent
    """

    problem: Problem
    kernel: TunableKernel
    key: Key
    known: dict
    default: dict
    share: float
    count: int
    entry: Entry
    ended: str = ""
    trouble: str = ""
    new: int = 0
    unfit: int = 0
    done: int = 0
    planned: int = 0
    seconds: float = 0.0
    began: float = 0.0
    ends: float = math.inf
    companions: list = field(default_factory=list)  # (kernel, key) of what else its problem asks for
    askers: list = field(default_factory=list)  # the Weighted problems that ask for it, its own first

    @property
    def left(self):
        """Whether there may be more to try within another budget of seconds."""
        return self.ended in ("", OUT_OF_BUDGET)

    @property
    def gain(self):
        """How many times as fast as the default the best config is, None where one of them does not run."""
        best, default = self.entry.best(), self.entry.find(self.default)
        return default.seconds / best.seconds if best is not None and default is not None and default.ok else None


class Listener:
    """What is told how a sweep goes; does nothing itself."""

    def began(self, tuner, subject):
        """A subject's search begins, or goes on."""

    def tried(self, tuner, subject, trial: Trial):
        """A trial was made and is in the store."""

    def ended(self, tuner, subject):
        """A subject's search has ended; `subject.ended` says why."""


def info_of(device):
    """The DeviceInfo of a Device that launches kernels."""
    return cuda_info(device.index) if device.is_cuda else INTERPRETER


class NotCallable(ValueError):
    """A problem whose call fails before it launches anything, such as one with arguments that its op does not take."""


def find_subjects(problems, info, policy=POLICIES[0]):
    """The subjects of Weighted problems on a device that `info` describes, with empty entries; it need not be there."""
    found: dict = {}
    for weighted in problems:
        asked = asked_by(weighted.problem, info)
        _enter(found, [each._replace(key=each.key.with_policy(policy)) for each in asked], weighted)
    return list(found.values())


def asked_by(problem, info):
    """What a problem asks configs for on a device that `info` describes; NotCallable says why it cannot be called."""
    try:
        with pretending(info):
            return configs_asked(problem.call(devices.INTERPRETER, values=False))
    except Exception as error:  # of an op's or of a user's own code, whatever it is
        what = f"{problem.name} {problem.label} {problem.dtype}"
        raise NotCallable(f"{what} cannot be called: {failure_text(error)}") from error


def _enter(found, asked, weighted):
    """Enter what a problem asks for among subjects by kernel and key; one that is there already gets a larger share."""
    problem, share, count = weighted.problem, max(weighted.share, _LEAST_SHARE), weighted.count
    for each in asked:
        known = found.get((each.kernel, each.key))
        if known is not None:
            known.share, known.count = known.share + share / len(asked), known.count + count
            known.askers.append(weighted)
            continue
        default = by_formula(each.kernel, each.key, each.device, each.known)
        companions = [(other.kernel, other.key) for other in asked if other is not each]
        found[each.kernel, each.key] = Subject(
            problem, each.kernel, each.key, each.known | {"device": each.device}, default, share / len(asked), count,
            Entry(each.key, problem=describe(problem)), companions=companions, askers=[weighted],
        )  # fmt: skip


class Tuner:
    """Tunes all kernels that problems ask for; see the module's text.

    effort     one of search.EFFORTS
    seconds    for all subjects together: each gets its share, and what one leaves over goes to the others
    trials     at most so many configs a subject, those of earlier runs included
    policy     how launches are timed, one of key.POLICIES
    jobs       processes that compile ahead, 0 for none
    go_on      search also where an earlier sweep has finished: where that ran out of budget, there is more to try
    fresh      forget what is known of the subjects first
    """

    def __init__(self, problems, device, store, *, effort="quick", seconds=math.inf, trials=math.inf,
                 policy=POLICIES[0], seed=0, verify=True, jobs=0, go_on=False, fresh=False, listener=None,
                 clock=time.monotonic):  # fmt: skip
        self.device, self.info, self.store = device, info_of(device), store
        self.environment = environment_of(self.info)
        self.effort, self.seconds, self.trials, self.seed = effort, seconds, trials, seed
        self.compilers = Compilers(jobs) if jobs and device.is_cuda else None
        self.go_on, self.listener, self.clock = go_on, listener or Listener(), clock
        self.start = clock()
        self._worker = Worker(device, policy, seed, verify)
        self._bench = None  # of the problem that the worker has open
        self.fresh = fresh
        self.subjects: list[Subject] = []
        self._take_up(find_subjects(problems, self.info, policy))

    def _take_up(self, subjects):
        """Make subjects ours, with what the store knows of them."""
        for subject in subjects:
            if self.fresh:
                self.store.remove(self.environment, subject.key)
            known = self.store.load(self.environment, subject.key)
            if known is not None:
                subject.entry = known
            if not self.go_on and covers(subject.entry.finished, self.effort) and not new_values(subject):
                subject.ended = FINISHED
            self.subjects.append(subject)

    @property
    def left(self):
        """Seconds of the budget that are left."""
        return max(self.start + self.seconds - self.clock(), 0.0)

    def run(self):
        """Tune every subject that is not finished, the one with the largest share first."""
        try:
            least = 0.0
            while (waiting := [each for each in self.subjects if each.left]) and self.left > least:
                waiting.sort(key=lambda each: -each.share)
                for at, subject in enumerate(waiting):
                    self._tune(subject, self.left * subject.share / sum(each.share for each in waiting[at:]))
                least = _SLICE
            for subject in waiting:
                if subject.ended == OUT_OF_BUDGET:  # an end too: the next run need not go on
                    if not subject.unfit:
                        self._finish(subject)
                else:
                    subject.ended = NOT_REACHED
        finally:
            self.close()

    def close(self):
        """End the processes that try configs and compile them."""
        self._worker.close()
        if self.compilers is not None:
            self.compilers.close()

    def _tune(self, subject, seconds):
        if not self.left:
            return
        subject.ended, subject.began = "", self.clock()
        subject.ends = subject.began + seconds
        self.listener.began(self, subject)
        asked = self._open(subject)
        if asked is None:
            subject.ended = BROKEN
        elif not any((each.kernel, each.key) == (subject.kernel, subject.key) for each in asked):
            self._exchange(subject, asked)
        else:
            search = self._search(subject, Budget(seconds, self.trials, self.clock))
            subject.ended = search.run()
            subject.done = subject.planned = len(search.visited)
            if subject.ended == OUT_OF_BUDGET and len(search.visited) >= self.trials:
                subject.ended = COMPLETE  # more seconds do not help
            subject.unfit = len(search.unfit)
            if subject.ended == OUT_OF_MEMORY and subject.entry.best() is None:
                subject.trouble = search.unfit[0].cause
            elif not subject.left and not subject.unfit:
                self._finish(subject)
        subject.seconds += self.clock() - subject.began
        self.listener.ended(self, subject)

    def _open(self, subject):
        """What the subject's problem asks for in the worker; None, and the trouble, where it cannot be run."""
        try:
            if self._bench is None or self._bench.problem is not subject.problem:
                self._bench = self._worker.bench(subject.problem)
            work = self._bench.work
            found = {"flops": work.flops, "bytes": work.bytes, "roofline": self._bench.roofline}
            asked = self._bench.asked()
        except Exception as error:  # of a problem's own code, whatever it is: the sweep goes on with the others
            subject.trouble = f"{type(error).__name__}: {error}"
            return None
        subject.entry.work = found
        return asked

    def _exchange(self, subject, asked):
        """Take up what the device asks for in the place of a subject that it does not: memory lies otherwise there."""
        self.subjects.remove(subject)
        subject.ended = EXCHANGED
        found = {(each.kernel, each.key): each for each in self.subjects}
        known = len(found)
        first, *others = subject.askers
        _enter(found, asked, first)
        if others:  # by them it may be asked for all the same
            share = subject.share * len(others) / len(subject.askers)
            left = replace(subject, problem=others[0].problem, askers=others, share=share, ended="")
            found[left.kernel, left.key] = left
        self._take_up(list(found.values())[known:])

    def _search(self, subject, budget):
        laboratory = _Laboratory(self, subject, self._bench)
        only_new = new_values(subject) if covers(subject.entry.finished, self.effort) and not self.go_on else None
        search = Search(
            subject.kernel.space, subject.default, subject.known, subject.entry, laboratory, effort=self.effort,
            budget=budget, seed=self.seed, seeds=self._seeds(subject), roofline=self._bench.roofline,
            only_new=only_new or None,
        )  # fmt: skip
        laboratory.search = search
        return search

    def _seeds(self, subject):
        """What won for the nearest keys of the same kernel, as far as it may be used here."""
        entries = [each for each in self.store.entries(self.environment) if each.key.kernel == subject.key.kernel]
        space, found = subject.kernel.space, []
        for entry in sorted(entries, key=lambda each: (each.key.distance(subject.key), each.key.digest)):
            best = entry.best()
            if best is None or entry.key == subject.key or best.config in found:
                continue
            if is_of(space, best.config) and space.allows(best.config, **subject.known):
                found.append(best.config)
        return tuple(found[:_SEEDS])

    def companions_of(self, subject):
        """(kernel's name, key, best config) of what else the subject's problem asks for, where one is known."""
        for kernel, key in subject.companions:
            entry = self.store.load(self.environment, key)
            best = entry.best() if entry is not None else None
            if best is not None:
                yield kernel.kernel_name, key, best.config

    def keep(self, subject):
        """Put a subject's entry in the store, and take in what others have found since."""
        subject.entry.trials = self.store.save(self.environment, subject.entry).trials

    def _finish(self, subject):
        subject.entry.finished, subject.entry.space = self.effort, space_to_json(subject.kernel.space)
        self.keep(subject)


class _Laboratory:
    """Tries configs of a subject in a worker, and keeps every trial; what a Search asks of a laboratory."""

    def __init__(self, tuner, subject, bench):
        self.tuner, self.subject, self.bench, self.before = tuner, subject, bench, subject.new
        self.others = list(tuner.companions_of(subject))
        self.name = subject.kernel.kernel_name
        self.search = None

    def prepare(self, configs):
        """Compile ahead, where there are processes for it."""
        tuner, subject = self.tuner, self.subject
        if tuner.compilers is None:
            return ()
        return tuner.compilers.compile(subject.problem, tuner.info, self.name, subject.key, configs, self.others)

    def trial(self, config):
        """One trial, in the worker."""
        return self.bench.trial(self.name, self.subject.key, config, self.others)

    def finals(self, configs):
        """The finals, in the worker."""
        return self.bench.finals(self.name, self.subject.key, configs, self.others)

    def noted(self, trials):
        """Keep trials before anything else happens; gives those that other processes have made meanwhile."""
        subject = self.subject
        self.tuner.keep(subject)
        subject.new, subject.planned = self.before + self.search.new, self.search.planned
        subject.done = len(self.search.visited)
        for each in trials:
            self.tuner.listener.tried(self.tuner, subject, each)
        return subject.entry.trials


def is_of(space, config):
    """Whether a config gives each knob of a space one of its values, and no other."""
    return config.keys() == space.knobs.keys() and all(config[name] in knob for name, knob in space.knobs.items())


def space_to_json(space):
    """The values of each knob, as an Entry keeps them."""
    return {
        name: [list(each) if isinstance(each, tuple) else each for each in knob] for name, knob in space.knobs.items()
    }


def new_values(subject):
    """The values by knob that the sweep which finished the subject's entry did not know of."""
    before, space = subject.entry.space, subject.kernel.space
    now = space_to_json(space)
    if not before:  # it is not known what was searched, or none has finished
        return {}
    found = {
        name: [value for value, text in zip(space.knobs[name], texts, strict=True) if text not in before.get(name, ())]
        for name, texts in now.items()
    }
    return {name: values for name, values in found.items() if values}
