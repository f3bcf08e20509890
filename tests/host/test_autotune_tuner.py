"""The tuner: subjects of problems, budgets by share, a store that holds each trial at once, and what goes wrong."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import ClassVar

import made_up_tuning
import pytest
from made_up_tuning import MadeUp, MadeUpWorker, scale, shift

from tritorch.autotune import Space, choices, powers, tuner
from tritorch.autotune.device import INTERPRETER as INFO
from tritorch.autotune.device import environment_of, generation
from tritorch.autotune.search import AT_ROOFLINE, COMPLETE
from tritorch.autotune.store import Store
from tritorch.autotune.trial import COMPILE, CRASH, WRONG, Trial, config_name
from tritorch.autotune.tuner import BROKEN, EXCHANGED, FINISHED, NOT_REACHED, Listener, Tuner, Weighted, find_subjects
from tritorch.runtime.device import INTERPRETER

BEST = {"BLOCK": 64, "num_warps": 2, "UNROLL": 2}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def worker(monkeypatch):
    """A class of workers of its own for each test, to be set up as it likes; `worker.all` are those that were made."""

    class Worker(MadeUpWorker):
        all: ClassVar = []

        def __init__(self, *settings, **keywords):
            super().__init__(*settings, **keywords)
            self.all.append(self)

    monkeypatch.setattr(tuner, "Worker", Worker)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power fails here, and disks are slow
    return Worker


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def swept(store, problems=None, **rest):
    """A tuner that has run; without problems, one of a size of 100."""
    problems = [MadeUp(100)] if problems is None else problems
    weighted = [each if isinstance(each, Weighted) else Weighted(each) for each in problems]
    made = Tuner(weighted, INTERPRETER, store, **rest)
    made.run()
    return made


def tried(worker):
    return [name for each in worker.all for _, name, _ in each.tried]


def test_a_sweep_finds_the_best_and_another_one_tries_nothing(store, worker):
    made = swept(store)
    (subject,) = made.subjects
    assert subject.entry.best().config == BEST and subject.ended == COMPLETE and subject.new == len(tried(worker)) > 10
    kept = store.load(made.environment, subject.key)
    assert kept.finished == "quick" and len(kept.trials) == subject.new and kept.best().config == BEST
    assert kept.work == {"flops": 200, "bytes": 800, "roofline": 1e-9} and kept.problem["kind"] == "made up"
    assert subject.gain == pytest.approx(made_up_tuning.cost(subject.default) / made_up_tuning.cost(BEST), rel=0.01)
    again = swept(store)
    assert again.subjects[0].ended == FINISHED and again.subjects[0].new == 0
    assert not worker.all[-1].opened and len(worker.all) == 2  # it has not even started a process


def test_two_problems_that_ask_the_same_are_one_subject():
    problems = [Weighted(MadeUp(100), 3, 5), Weighted(MadeUp(100, both=True), 2, 7), Weighted(MadeUp(5000), 1)]
    first, second, third = find_subjects(problems, INFO)
    assert (first.kernel, first.share, first.count) == (scale, 4, 12)  # half of what asks for two configs
    assert (second.kernel, second.share, second.count) == (shift, 1, 7)
    assert third.key != first.key and third.companions == [] and second.companions == [(scale, first.key)]


def test_subjects_are_found_for_a_gpu_that_is_not_there():
    (subject,) = find_subjects([Weighted(MadeUp(100))], generation("sm_90"), "graph")
    assert subject.known["device"].capability == 90 and subject.key.policy == "graph"


def test_each_trial_is_in_the_store_before_the_next(store, worker):
    known, environment = [], environment_of(INFO)
    worker.ticks = staticmethod(lambda: known.append(sum(len(each.trials) for each in store.entries(environment))))
    made = swept(store)
    assert known == list(range(made.subjects[0].new))


def test_other_kernels_of_a_problem_run_with_their_best(store, worker):
    made = swept(store, [Weighted(MadeUp(100), 2), MadeUp(100, both=True)])
    others = [others for name, _, others in worker.all[0].tried if name.endswith("shift")]
    ((name, key, config),) = others[0]
    assert name.endswith("scale") and key == made.subjects[0].key and config == BEST


def test_a_budget_goes_by_share_and_what_one_leaves_goes_to_the_others(store, worker):
    clock = Clock()
    worker.ticks = staticmethod(lambda: setattr(clock, "now", clock.now + 1))
    problems = [Weighted(MadeUp(100), 1), Weighted(MadeUp(5000), 3), Weighted(MadeUp(10**6), 1)]
    made = swept(store, problems, seconds=60, clock=clock, effort="full")
    begun = {each.problem.n: each.seconds for each in made.subjects}
    assert begun[5000] > begun[100] and sum(begun.values()) <= 63
    assert all(each.entry.best() is not None and each.entry.finished == "full" for each in made.subjects)
    clock.now = 0.0
    # The first is at its roofline at once, and the other gets all that it left.
    worker.roofline = 1.0
    made = swept(store, [Weighted(MadeUp(10**4), 1), Weighted(MadeUp(10**5), 1)], seconds=30, clock=clock)
    assert [each.ended for each in made.subjects] == [AT_ROOFLINE] * 2


def test_what_a_budget_ended_is_finished_and_resume_goes_on(store, worker):
    clock = Clock()
    worker.ticks = staticmethod(lambda: setattr(clock, "now", clock.now + 1))
    first = swept(store, seconds=10, clock=clock, effort="full")
    assert first.subjects[0].entry.finished == "full" and first.subjects[0].new <= 10
    assert swept(store, seconds=10, clock=clock, effort="full").subjects[0].new == 0
    more = swept(store, effort="full", go_on=True)
    assert more.subjects[0].new > 10 and len(set(tried(worker))) == len(tried(worker))
    assert swept(store, effort="full", go_on=True).subjects[0].new == 0


def test_what_the_budget_does_not_reach_is_said_and_left_for_the_next_run(store):
    made = swept(store, seconds=0)
    assert [each.ended for each in made.subjects] == [NOT_REACHED] and not store.entries(made.environment)
    assert swept(store).subjects[0].ended == COMPLETE


def test_most_trials_count_for_each_subject(store, worker):
    made = swept(store, [MadeUp(100), MadeUp(5000)], trials=5)
    assert [each.new for each in made.subjects] == [5, 5]
    assert swept(store, [MadeUp(100)], trials=5, go_on=True).subjects[0].new == 0


def test_more_effort_goes_on_with_what_less_has_found(store, worker):
    swept(store, effort="none")
    assert len(tried(worker)) == 1
    swept(store)
    swept(store, effort="full")
    assert len(set(tried(worker))) == len(tried(worker)) > 20
    assert swept(store, effort="quick").subjects[0].ended == FINISHED


def test_fresh_forgets(store, worker):
    swept(store)
    before = len(tried(worker))
    made = swept(store, fresh=True)
    assert made.subjects[0].new == before == len(tried(worker)) / 2


def test_a_value_that_is_added_costs_its_own_trials(store, worker, monkeypatch):
    swept(store, effort="full")
    before = len(tried(worker))
    knobs = scale.space.knobs
    monkeypatch.setattr(scale, "space", Space(**{**knobs, "UNROLL": choices(1, 2, 3, 4), "BLOCK": powers(16, 1024)}))
    made = swept(store, effort="full")
    added = tried(worker)[before:]
    assert 0 < len(added) == made.subjects[0].new and all('"UNROLL": 3' in each for each in added)
    assert swept(store, effort="full").subjects[0].ended == FINISHED


def test_a_value_that_is_added_does_not_reopen_what_a_budget_had_ended(store, worker, monkeypatch):
    swept(store, effort="full", trials=8)
    knobs = scale.space.knobs
    monkeypatch.setattr(scale, "space", Space(**{**knobs, "UNROLL": choices(1, 2, 3, 4)}))
    swept(store, effort="full")
    added = tried(worker)[8:]
    assert added and all('"UNROLL": 3' in each for each in added)


def test_what_another_process_has_tried_meanwhile_is_not_tried(store, worker):
    environment, other = environment_of(INFO), {"BLOCK": 64, "num_warps": 2, "UNROLL": 2}

    def elsewhere():
        if len(tried(worker)) == 3:
            (entry,) = store.entries(environment)
            store.save(environment, replace(entry, trials=[Trial(other).failed(WRONG, "elsewhere")]))

    worker.ticks = staticmethod(elsewhere)
    (subject,) = swept(store).subjects
    assert config_name(other) not in tried(worker)
    assert subject.entry.find(other).cause == "elsewhere" and subject.entry.best().config != other


def test_winners_for_near_keys_are_tried_early(store, worker):
    swept(store, [MadeUp(100)])
    swept(store, [MadeUp(150)])
    assert worker.all[1].tried[1][1] == config_name(BEST)


def test_when_every_config_fails_there_is_no_best_and_the_default_stays(store, worker):
    worker.fails = {"scale": lambda config: WRONG if config["BLOCK"] < 128 else COMPILE}
    (subject,) = swept(store).subjects
    assert subject.entry.best() is None and subject.ended == COMPLETE and subject.gain is None
    kept = store.load(environment_of(INFO), subject.key)
    assert {each.state for each in kept.trials} == {WRONG, COMPILE} and all(each.cause for each in kept.trials)
    assert swept(store).subjects[0].new == 0  # known failures cost nothing


def test_a_config_that_crashes_does_not_end_the_sweep(store, worker):
    worker.fails = {"scale": lambda config: CRASH if config["num_warps"] == 8 else None}
    (subject,) = swept(store).subjects
    assert subject.entry.best().config == BEST
    assert any(each.state == CRASH for each in subject.entry.trials)


def test_a_problem_that_cannot_be_run_is_said_and_the_others_are_tuned(store, worker):
    bad, good = MadeUp(100), MadeUp(5000)
    worker.broken = (bad,)
    first, second = swept(store, [bad, good]).subjects
    assert first.ended == BROKEN and "died at once" in first.trouble and first.entry.best() is None
    assert second.ended == COMPLETE


def test_what_the_device_asks_for_takes_the_place_of_what_was_expected(store, worker):
    def unaligned(asked):
        return [with_arrays(each, "float32 unaligned") for each in asked]

    worker.asks = staticmethod(unaligned)
    heard = []
    listener = type("Heard", (Listener,), {"ended": lambda self, tuner, subject: heard.append(subject.ended)})()
    made = swept(store, listener=listener)
    (subject,) = made.subjects
    assert subject.key.arrays == ("float32 unaligned",) and subject.entry.best().config == BEST
    assert heard == [EXCHANGED, COMPLETE]
    assert swept(store).subjects[0].ended == FINISHED


def test_what_is_asked_for_otherwise_by_one_problem_is_still_tuned_for_another(store, worker):
    first, second = MadeUp(100), MadeUp(100, both=True)

    def otherwise(asked):
        return [with_arrays(each, "float64") for each in asked] if len(asked) == 1 else asked

    worker.asks = staticmethod(otherwise)
    made = swept(store, [first, second])
    found = {(each.kernel, each.key.arrays): each.problem for each in made.subjects}
    assert found == {(scale, ("float64",)): first, (scale, ("float32",)): second, (shift, ("float32", "none")): second}
    assert all(each.ended == COMPLETE and each.entry.best() is not None for each in made.subjects)


def with_arrays(asked, *arrays):
    return asked._replace(key=replace(asked.key, arrays=arrays))


def test_ctrl_c_ends_the_worker_and_keeps_what_is_finished(store, worker):
    def interrupt():
        if len(tried(worker)) == 7:
            raise KeyboardInterrupt

    worker.ticks = staticmethod(interrupt)
    with pytest.raises(KeyboardInterrupt):
        swept(store)
    assert worker.all[0].closed
    (entry,) = store.entries(environment_of(INFO))
    assert len(entry.trials) == 7 and entry.finished == ""
    worker.ticks = staticmethod(lambda: None)
    swept(store)
    assert len(set(tried(worker))) == len(tried(worker))


def run_made_up(root, log, pause):
    """A process that sweeps made-up problems."""
    command = [sys.executable, made_up_tuning.__file__, str(root), str(log), "quick", str(pause)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def finished_trials(store):
    """(digest, config name) of all trials in a store."""
    entries = store.entries(environment_of(INFO))
    return {f"{entry.key.digest} {config_name(trial.config)}" for entry in entries for trial in entry.trials}


def test_a_kill_at_any_moment_loses_nothing_and_nothing_is_repeated(store, tmp_path):
    moments, killed = random.Random(0), 4
    for number in range(killed + 1):
        before, log = finished_trials(store), tmp_path / f"log {number}"
        process = run_made_up(store.root, log, 0.01)
        while number < killed and not log.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(moments.uniform(0, 0.4) if number < killed else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        started = log.read_text().splitlines()
        assert not before & set(started), "a finished trial was repeated"
        assert before <= finished_trials(store)
        assert len(finished_trials(store) - before) >= len(started) - 1, "a finished trial was lost"
    entries = store.entries(environment_of(INFO))
    assert process.returncode == 0 and all(each.finished == "quick" for each in entries) and len(entries) == 4


def test_three_processes_at_once_leave_valid_entries(store, tmp_path):
    logs = [tmp_path / f"log {number}" for number in range(3)]
    processes = [run_made_up(store.root, log, 0.002) for log in logs]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    entries = store.entries(environment_of(INFO))
    assert len(entries) == 4 and all(each.finished == "quick" for each in entries)
    started = {line for log in logs for line in log.read_text().splitlines()}
    assert started == finished_trials(store)
    best = {each.key.kernel.rpartition(".")[2]: each.best().config for each in entries}
    assert best["scale"] == BEST and math.isclose(made_up_tuning.cost(best["shift"]), 1e-5, rel_tol=0.01)
