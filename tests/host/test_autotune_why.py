"""why and verify: where a config comes from, which fields of a key made a miss, and whether winners still are right."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from invented_store import OTHER, row_wise

from tritorch.autotune import lookup
from tritorch.autotune.bench import Bench
from tritorch.autotune.command.problems import sizes_of
from tritorch.autotune.command.verify import BAD, RIGHT, SKIPPED, verified
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.op_problem import OpCall, OpProblem
from tritorch.autotune.problem import configs_asked, describe
from tritorch.autotune.store import Store
from tritorch.autotune.trial import CRASH, NO_MEMORY, Entry, Timing, Trial, show_config
from tritorch.autotune.tunable import pretending
from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, NOTHING_VALID, USAGE, main
from tritorch.runtime import device as devices

HERE = environment_of(INTERPRETER)
SHAPE = "M=32,N=32,K=32"


pytestmark = pytest.mark.usefixtures("own_cache")


def autotune(*arguments):
    return main(["autotune", *map(str, arguments)])


def asked(shape=SHAPE, device=INTERPRETER):
    """What a product of sizes asks a config for, and its problem."""
    problem = OpProblem.sized("matmul", sizes=sizes_of(shape))
    with pretending(device):
        return configs_asked(problem.call(devices.INTERPRETER, values=False))[0], problem


def tuned(*configs, shape=SHAPE):
    """An entry of that product whose trials get slower from one to the next."""
    each, problem = asked(shape)
    times = [1e-5 * (1 + at) for at in range(len(configs))]
    trials = [Trial(config, timing=Timing(s, s, s, 9)) for config, s in zip(configs, times, strict=True)]
    return Entry(each.key, trials, "quick", describe(problem), {"flops": 65536, "bytes": 12288, "roofline": 1e-6})


def allowed(number):
    """So many configs that the space allows, none of them the formula's."""
    each, _ = asked()
    found = each.kernel.space.configs(device=each.device, **each.known)
    return list(itertools.islice((config for config in found if config != each.config), number))


def why(*arguments):
    return autotune("why", "matmul", "--device", "interpreter", *arguments)


def test_why_says_where_a_config_is_from(capsys):
    (config,) = allowed(1)
    Store().save(HERE, tuned(config))
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "hit" and "cache" in line and show_config(config) in line
    assert autotune("export", "-o", "t.json") == autotune("import", "t.json") == GOOD
    capsys.readouterr()
    assert why("--shape", SHAPE) == GOOD
    assert "pinned table" in capsys.readouterr().out


def test_why_explains_a_miss_in_one_line(capsys):
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "miss" and "nothing is known" in line and show_config(asked()[0].config) in line
    entry = tuned(*allowed(1))
    Store().save(HERE, entry)
    assert why("--shape", "M=32,N=512,K=32") == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert f"entry {entry.key.digest[:8]} differs in columns (<=512 of 16 here, <=32 of 16 there);" in line
    assert why("--shape", SHAPE, "--dtype", "float16") == GOOD
    assert "array 0 (float16 here, float32 there)" in capsys.readouterr().out


def test_why_names_the_nearest_entries_first(capsys):
    for shape in ("M=512,N=32,K=32", "M=32,N=64,K=32", "M=4096,N=4096,K=4096"):
        Store().save(HERE, tuned(*allowed(1), shape=shape))
    assert why("--shape", SHAPE) == GOOD
    first, *more = capsys.readouterr().out.splitlines()[1:]
    assert "columns (<=32 of 16 here, <=64 of 16 there);" in first and len(more) == 2
    assert "rows (<=32 of 16 here, <=512 of 16 there)" in more[0] and "4096" in more[1]
    Store().save(replace(HERE, triton="3.5.0"), tuned(*allowed(1)))  # the very key, but every config is in doubt
    assert why("--shape", SHAPE) == GOOD
    assert "triton" not in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("field", "there"), [("triton", "3.5.0"), ("driver", "470.1"), ("flags", "debug"), ("device", "NVIDIA H100")]
)
def test_entries_of_another_environment_are_not_used_and_why_says_so(capsys, field, there):
    """Fault 36."""
    Store().save(replace(HERE, **{field: there}), tuned(*allowed(1)))
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "miss" and f"differs in {field} ({getattr(HERE, field)} here, {there} there);" in line


def test_entries_of_another_source_are_not_used_are_explained_and_are_stale(capsys):
    """Fault 36."""
    entry = tuned(*allowed(1))
    old = replace(entry, key=replace(entry.key, source="0" * 12))
    Store().save(HERE, old)
    assert why("--shape", SHAPE) == GOOD
    assert f"differs in source ({entry.key.source} here, {'0' * 12} there)" in capsys.readouterr().out
    Store().save(HERE, entry)
    Store().save(replace(HERE, triton="3.5.0"), entry)
    Store().save(OTHER, row_wise("softmax", 64, 64))  # of a GPU that is not here: kept, but for its kernel's source
    Store().save(OTHER, replace(tuned(*allowed(1)), key=replace(entry.key, kernel="somebodys.kernel")))
    assert autotune("clear", "--stale", "--yes") == GOOD
    left = {environment.folder: [each.key for each in Store().entries(environment)] for environment in (HERE, OTHER)}
    assert left == {HERE.folder: [entry.key], OTHER.folder: [replace(entry.key, kernel="somebodys.kernel")]}
    assert [environment for environment, _ in Store().environments()] == [OTHER, HERE]


def never(BLOCK_M):
    """A condition that no config meets."""
    return False


def test_why_of_what_is_known_and_not_taken(capsys, monkeypatch):
    each, _ = asked()
    Store().save(HERE, Entry(each.key, [Trial(each.config).failed(CRASH, "gone")]))
    assert why("--shape", SHAPE) == GOOD
    assert "has no config that works" in capsys.readouterr().out
    Store().save(HERE, tuned(each.config | {"BLOCK_M": 7}))
    lookup.forget()
    assert why("--shape", SHAPE) == GOOD
    assert "BLOCK_M is 7, which is none of" in capsys.readouterr().out
    other = tuned(*allowed(1))  # the formula's own config is always allowed
    monkeypatch.setattr(each.kernel.space, "conditions", [(never, ("BLOCK_M",))])
    assert autotune("clear", "--yes") == GOOD
    Store().save(HERE, other)
    assert why("--shape", SHAPE) == GOOD
    assert "its space does not allow for these sizes (never)" in capsys.readouterr().out
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "0")
    assert why("--shape", SHAPE) == GOOD
    assert "TRITORCH_AUTOTUNE=0" in capsys.readouterr().out


def test_why_of_the_wrong_question(capsys):
    assert autotune("why", "matmull", "--device", "interpreter") == USAGE
    assert "did you mean matmul" in capsys.readouterr().err
    assert autotune("why", "matmul", "--device", "cpu") == NO_DEVICE
    assert autotune("why", "--device", "interpreter") == USAGE


def test_verify_marks_what_does_not_run_and_goes_on_to_the_next(capsys):
    first, second = allowed(2)
    broken = first | {"BLOCK_M": 24}  # no power of two
    Store().save(HERE, tuned(broken, second))
    assert autotune("verify") == FAILED
    wrong, right, closing = capsys.readouterr().out.splitlines()
    assert wrong.startswith("wrong") and "BLOCK_M=24" in wrong
    assert right.startswith("right") and show_config(second) in right
    assert closing == "1 right, 1 wrong, 0 not checked"
    (entry,) = Store().entries(HERE)
    assert [trial.ok for trial in entry.trials] == [False, True] and entry.trials[0].cause
    assert lookup.find(*asked()[0][:4]).config == second


class InThisProcess:
    """A Worker that is none."""

    def bench(self, problem):
        return Bench(problem, devices.INTERPRETER)


def test_verify_marks_wrong_numbers(monkeypatch):
    configs, store = allowed(3), Store()
    store.save(HERE, tuned(*configs))
    tried = []

    def compare(call, results):
        tried.append(results)
        return (3.5, "largest difference at [0, 1]") if len(tried) == 2 else (0.5, "")

    monkeypatch.setattr(OpCall, "compare", compare)
    (entry,) = store.entries(HERE)
    found = list(verified(InThisProcess(), store, HERE, entry, every=True))
    assert [state for state, _ in found] == [RIGHT, BAD, RIGHT]
    assert "largest difference at [0, 1]" in found[1][1]
    assert [trial.state for trial in store.entries(HERE)[0].trials] == ["ok", "wrong", "ok"]


def test_verify_says_what_it_cannot_check():
    store, (config,) = Store(), allowed(1)
    entry = tuned(config)
    for problem in ({}, {"kind": []}, {"kind": "op", "op": "none"}, {"kind": "kernel", "file": "/x.py", "kernel": "k"}):
        ((state, line),) = verified(InThisProcess(), store, HERE, replace(entry, problem=problem))
        assert state == SKIPPED and f"{entry.key.kernel[-13:]}" in line
    old = replace(entry, key=replace(entry.key, source="0" * 12))
    ((state, line),) = verified(InThisProcess(), store, HERE, old)
    assert state == SKIPPED and f"source ({'0' * 12} then, {entry.key.source} now)" in line


def test_verify_of_nothing():
    Store().save(OTHER, row_wise("softmax", 64, 64))  # of a GPU that is not here
    assert autotune("verify") == NOTHING_VALID


def test_verify_without_memory_marks_nothing(monkeypatch):
    store = Store()
    store.save(HERE, tuned(*allowed(2)))
    monkeypatch.setattr(Bench, "trial", lambda bench, name, key, config, others: Trial(config, NO_MEMORY, cause="full"))
    ((state, line),) = verified(InThisProcess(), store, HERE, store.entries(HERE)[0])
    assert state == SKIPPED and line.endswith(": full")
    assert all(trial.ok for trial in store.entries(HERE)[0].trials)
