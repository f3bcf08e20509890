"""A sweep on device="cuda" of the stub: subjects, candidates compiled ahead, trials here and in a worker."""

from __future__ import annotations

import pytest

from tritorch.autotune import tuner
from tritorch.autotune.bench import Bench
from tritorch.autotune.device import cuda_info
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.precompile import Compilers
from tritorch.autotune.problem import configs_asked
from tritorch.autotune.search import COMPLETE
from tritorch.autotune.store import Store
from tritorch.autotune.tunable import pretending
from tritorch.autotune.tuner import FINISHED, Tuner, Weighted
from tritorch.cli.main import GOOD, main
from tritorch.runtime.device import INTERPRETER, Device
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

CUDA = Device("cuda", 0)
MATMUL = OpProblem.sized("matmul", "float32", {"M": 48, "N": 32, "K": 32})


class Here:
    """A worker that is this process, whose launches are interpreted."""

    def __init__(self, *settings):
        self.settings = settings

    def bench(self, problem):
        return Bench(problem, *self.settings)

    def close(self):
        pass


def unaligned():
    """A product whose left operand begins 4 bytes behind a vector."""
    left = {"tensor": [48, 32], "dtype": "float32", "offset": 1}
    return OpProblem.from_json(
        {"op": "matmul", "arguments": [left, {"tensor": [32, 32], "dtype": "float32"}, False, False]}
    )


def swept(store, *problems, **rest):
    made = Tuner([Weighted(each) for each in problems], CUDA, store, trials=3, **rest)
    made.run()
    return made


def test_a_sweep_compiles_ahead_and_keeps_what_it_finds(interpreted, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner, "Worker", Here)
    compiled = []
    compile = Compilers.compile
    monkeypatch.setattr(Compilers, "compile", lambda self, *call: compiled.append(call[4]) or compile(self, *call))
    made = swept(Store(tmp_path), MATMUL, jobs=1)
    (subject,) = made.subjects
    assert subject.ended == COMPLETE and subject.new == 3 and [len(each) for each in compiled] == [1, len(compiled[1])]
    best = subject.entry.best()
    assert best.error <= 1 and best.resources.registers > 0 and subject.known["device"] == cuda_info(0)
    assert made.environment.capability == 90 and not made.compilers._idle
    assert swept(Store(tmp_path), MATMUL).subjects[0].ended == FINISHED


def test_what_lies_unaligned_has_its_own_key_with_and_without_the_device(interpreted, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner, "Worker", Here)
    made = swept(Store(tmp_path), MATMUL, unaligned(), jobs=1)
    first, second = made.subjects
    assert all(each.ended == COMPLETE and each.new == 3 for each in made.subjects)  # no key was another one there
    assert "float32 unaligned" in second.key.arrays and "float32 unaligned" not in first.key.arrays
    with pretending(cuda_info(0)):
        asked = configs_asked(unaligned().call(INTERPRETER, values=False))
    assert [each.key for each in asked] == [second.key]


def test_the_command_tunes_in_a_process_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    sweep = ["autotune", "sweep", "matmul", "--shape", "M=48,N=32,K=32", "--max-trials", "2", "--jobs", "1"]
    assert main([*sweep, "--no-verify"]) == GOOD  # the stub launches nothing there, so numbers are none
    out = capsys.readouterr().out
    assert "2 new of 2" in out and "\n2 new trials" in out
    assert main(sweep) == GOOD and "\n0 new trials" in capsys.readouterr().out
