"""TRITORCH_AUTOTUNE=1: what a program calls is tuned once, by one of several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import tritorch
from tritorch.autotune import generation, lookup, training, tuner
from tritorch.autotune import store as storing
from tritorch.autotune.child import Child
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.key import Key
from tritorch.autotune.problem import configs_asked
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Entry, Timing, Trial
from tritorch.autotune.tunable import forget_all_configs, noting_configs, pretending
from tritorch.runtime import device as devices
from tritorch.runtime.kernel import recording_launches


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """A tuner that finds at once that a neighbour of the default is best; gives the problems it was asked to tune."""
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "1")
    monkeypatch.setattr(lookup, "_state", lookup._State())
    storing.forget_warnings()
    forget_all_configs()
    problems = []

    class Quick:
        subjects = ()

        def __init__(self, weighted, device, store, **settings):
            self.problem, self.store, self.settings = weighted[0].problem, store, settings
            problems.append(self)

        def run(self):
            assert (tritorch.ones(7, device="interpreter") * 3).sum().item() == 21  # not tuned: this is the tuner's own
            for asked in configs_asked(self.problem.call(devices.INTERPRETER, values=False)):
                known = asked.known | {"device": asked.device}
                best = next(asked.kernel.space.neighbours(asked.config, **known), asked.config)
                trial = Trial(best, timing=Timing(1e-3, 1e-3, 1e-3, 5))
                self.store.save(environment_of(asked.device), Entry(asked.key, [trial], finished="quick"))

    monkeypatch.setattr(tuner, "Tuner", Quick)
    yield problems
    forget_all_configs()
    storing.forget_warnings()


def call(size=40):
    """An op's call; gives what its launches asked for."""
    x = tritorch.ones(size, device="interpreter")
    with noting_configs() as asked:
        y = x + x
    assert y.sum().item() == 2 * size
    return asked


def test_a_first_call_is_tuned_and_the_next_takes_what_was_found(tuned, monkeypatch, capsys):
    x = tritorch.ones(40, device="interpreter")
    monkeypatch.setenv("TRITORCH_AUTOTUNE_BUDGET", "3")
    with training.Tuning():
        y = x + x
        (problem,) = [each.problem for each in tuned]
        assert problem.name == "add" and problem.label == "(40,) x (40,)" and tuned[0].settings["seconds"] == 3
        (asked,) = call()
        assert lookup.find(asked.kernel, asked.key, asked.device, asked.known).source == lookup.CACHED
        assert asked.config == lookup.find(asked.kernel, asked.key, asked.device, asked.known).config
        assert [each.problem.name for each in tuned] == ["add", "full", "sum"]  # by `call`
        again = len(tuned)
        x + y
        call()
        assert len(tuned) == again
    assert (
        capsys.readouterr().err.count("autotune: add (40,) x (40,) float32, up to 3 s (TRITORCH_AUTOTUNE=1) ...") == 1
    )


def test_what_a_tuner_calls_is_not_tuned(tuned):
    """As in `tritorch autotune` and `tune()` where the variable is set: what they run are candidates."""
    x = tritorch.ones(40, device="interpreter")
    with training.Tuning():
        with noting_configs():
            x + x
        with recording_launches():
            x + x
        with pretending(generation(90)):
            x + x
        assert tuned == []
        forget_all_configs()
        x + x
    assert len(tuned) == 1


def test_a_tuners_child_does_not_tune(monkeypatch):
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "1")
    child = Child()
    try:
        assert child.call(lookup.mode, timeout=60) == lookup.CACHED_ONLY
    finally:
        child.kill()


@pytest.mark.parametrize("mode", ["0", "cached", ""])
def test_other_modes_never_tune(tuned, monkeypatch, mode, capsys):
    monkeypatch.setenv("TRITORCH_AUTOTUNE", mode)
    with training.Tuning():
        call()
    assert tuned == [] and capsys.readouterr().err == ""


def test_a_tuner_that_fails_ends_no_training(tuned, monkeypatch):
    monkeypatch.setattr(tuner.Tuner, "run", lambda self: 1 / 0)
    x = tritorch.ones(40, device="interpreter")
    with training.Tuning(), pytest.warns(RuntimeWarning, match="add was not tuned: ZeroDivisionError") as warned:
        x + x
        x + x
    assert len(warned) == 1


def test_an_op_that_cannot_be_described_is_not_tuned_and_runs(tuned, monkeypatch):
    from tritorch.autotune.op_problem import OpProblem

    def refuse(op, args):
        raise ValueError("no description")

    monkeypatch.setattr(OpProblem, "of", refuse)
    x = tritorch.ones(40, device="interpreter")
    with training.Tuning(), pytest.warns(RuntimeWarning, match="add was not tuned: ValueError: no description"):
        y = x + x
    assert y.sum().item() == 80


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, (1, 4)),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "6"}, (5, 6)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "RANK": "x", "WORLD_SIZE": "2"}, (0, 1)),
        ({"RANK": "2"}, (0, 1)),
    ],
)
def test_ranks(monkeypatch, variables, expected):
    for names in training.RANKS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert training.rank() == expected


@pytest.mark.parametrize("text", ["much", "-1", "inf", "nan"])
def test_a_budget_that_is_none(monkeypatch, text):
    monkeypatch.setenv("TRITORCH_AUTOTUNE_BUDGET", text)
    with pytest.raises(ValueError, match=f"TRITORCH_AUTOTUNE_BUDGET is '{text}'; it takes seconds"):
        training.budget()


def test_another_rank_waits_in_vain_once(tuned, monkeypatch):
    """A rank whose first never comes takes the formula, with one warning, and waits no more."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TRITORCH_AUTOTUNE_BUDGET", "0.1")
    monkeypatch.setattr(training, "GRACE", 0.1)
    x = tritorch.ones(40, device="interpreter")
    with training.Tuning(), pytest.warns(RuntimeWarning, match=r"rank 0 has found no config .* within 0.2 s") as warned:
        x + x
        x * x
    assert tuned == [] and len(warned) == 1


def test_a_first_rank_that_fails_keeps_nobody_waiting(tuned, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(tuner.Tuner, "run", lambda self: 1 / 0)
    x = tritorch.ones(40, device="interpreter")
    with training.Tuning(), pytest.warns(RuntimeWarning, match="was not tuned"):
        x + x
    (entry,) = Store().entries(environment_of(INTERPRETER))
    assert entry.finished == "none" and isinstance(entry.key, Key)
    assert training._wait(environment_of(INTERPRETER), [entry.key], 0.0)


PROGRAM = """
import json, sys
import tritorch
from tritorch.autotune import lookup
from tritorch.autotune.tunable import noting_configs
x = tritorch.tensor([1.0, 2.0], device="cpu").to("interpreter")
x.relu()
with noting_configs() as asked:
    x.relu()
found = [lookup.find(each.kernel, each.key, each.device, each.known) for each in asked]
print(json.dumps([[each.config, each.source] for each in found]))
"""


def test_of_several_processes_one_tunes_and_all_read_the_same(tmp_path):
    """By the real tuner, on the interpreter device."""
    chosen = {"TRITORCH_AUTOTUNE": "1", "TRITORCH_AUTOTUNE_BUDGET": "1", "WORLD_SIZE": "3"}
    environment = os.environ | chosen | {"TRITORCH_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(command, env=environment | {"RANK": str(rank)}, **pipes) for rank in range(3)]
    outputs = [each.communicate(timeout=120) for each in ranks]
    assert [each.returncode for each in ranks] == [0, 0, 0], outputs
    found = [json.loads(output) for output, _ in outputs]
    assert found[0] == found[1] == found[2] and found[0][0][1] == lookup.CACHED
    said = [error.count("TRITORCH_AUTOTUNE=1") for _, error in outputs]
    assert said[0] >= 1 and said[1:] == [0, 0]
