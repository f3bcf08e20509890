"""`tritorch autotune check`: what is not found, does not fit or got slower fails it; JUnit XML says the same."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as xml
from types import SimpleNamespace

import numpy as np
import pytest

from tritorch import autotune
from tritorch.autotune import lookup
from tritorch.autotune.command import compiled, held
from tritorch.autotune.command.cases import Case, write_junit
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.kernel_problem import KernelProblem
from tritorch.autotune.store import Store
from tritorch.autotune.trial import COMPILE, RESOURCES, Entry, Resources, Timing, Trial
from tritorch.autotune.tuner import Weighted, find_subjects
from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, NOTHING_VALID, USAGE, main
from tritorch.ops.base import TABLE
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FILE = """
import numpy as np
from tritorch import autotune
from tritorch.runtime import tl


@autotune.kernel(
    space={"BLOCK": autotune.powers(64, 512, default=128)}, key=("n",),
    grid=lambda meta: (autotune.cdiv(meta["n"], meta["BLOCK"]),),
    inputs=lambda draw, n=1000: (draw(n), np.empty(n, draw.dtype), n), reference=lambda x: {"out": x * 2},
)
def double(x, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where a kernel is, as the command line takes it, with a cache of its own."""
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TRITORCH_NAMED_KERNEL_FILES", raising=False)
    (tmp_path / "doubling.py").write_text(FILE)
    yield f"{tmp_path / 'doubling.py'}:double"
    for name in [name for name in sys.modules if name.startswith("_tritorch_kernels_")]:
        del sys.modules[name]
    lookup.forget()


def subject_of(place, n=1000, info=INTERPRETER):
    (found,) = find_subjects([Weighted(KernelProblem.sized(place, sizes={"n": n}))], info)
    return found


def keep(place, seconds, n=1000):
    """Put trials in the store: (seconds) by block."""
    trials = [Trial({"BLOCK": block}, timing=Timing(each, each, each, 9)) for block, each in seconds.items()]
    Store().save(environment_of(INTERPRETER), Entry(subject_of(place, n).key, trials))
    lookup.forget()


def check(*arguments):
    return main(["autotune", "check", *arguments])


def test_a_miss_fails_and_says_in_one_line_what_the_nearest_entry_differs_in(place, capsys, tmp_path):
    keep(place, {64: 1e-6, 128: 2e-6})
    shapes = ("--shape", "n=1000", "--shape", "n=5000")
    assert (
        check(place, *shapes, "--require-hit", "--device", "interpreter", "--junit", str(tmp_path / "j.xml")) == FAILED
    )
    hit, miss, count = capsys.readouterr().out.splitlines()
    assert hit.startswith("ok ") and "BLOCK=64 of the cache" in hit
    assert miss.startswith("FAILED ") and "differs in n (<=6144 here, <=1024 there)" in miss
    assert count == "2 checked, 1 failed"
    report = xml.parse(tmp_path / "j.xml").getroot()
    assert (report.get("tests"), report.get("failures")) == ("2", "1")
    assert [len(case.findall("failure")) for case in report.iter("testcase")] == [0, 1]
    assert check(place, "--require-hit", "--device", "interpreter") == GOOD


class FakeCompilers:
    """Says of each config what a test wants."""

    found: dict

    def __init__(self, jobs):
        pass

    __enter__ = __exit__ = lambda self, *_: self

    def compile(self, problem, info, name, key, configs):
        for config in configs:
            yield config, self.found.get((info.name, config["BLOCK"]), Resources(32, 0, 0))


def outcomes(monkeypatch, **found):
    large = Trial({}).failed(RESOURCES, "needs 300000 bytes of shared memory, a block of sm_90 has 232448")
    broken = Trial({}).failed(COMPILE, "CompilationError: \x1b[31mno\x1b[0m")
    what = {"large": large, "broken": broken, "spills": Resources(255, 64, 0), "arrays": Resources(40, 64, 0)}
    FakeCompilers.found = {("sm_90", int(block[1:])): what[name] for block, name in found.items()}
    monkeypatch.setattr(compiled, "Compilers", FakeCompilers)


COMPILING = ("--compile-only", "--arch", "sm_80,sm_90")


def test_configs_that_do_not_fit_are_named_and_fail_only_if_they_matter(place, capsys, monkeypatch):
    outcomes(monkeypatch, B256="large", B512="spills", B64="arrays")
    assert check(place, *COMPILING) == GOOD
    out = capsys.readouterr().out
    assert "compile sm_80  doubling.double [double n=1000 float32]: 4 configs, 4 fit" in out
    assert "4 configs, 2 fit, 1 spill, 1 do not fit" in out
    assert "\n        BLOCK=256: resources: needs 300000 bytes" in out
    assert "\n        BLOCK=512: spills 64 bytes of each thread, at 255 registers" in out
    assert check(place, *COMPILING, "--strict") == FAILED


@pytest.mark.parametrize("found", [{"B512": "broken"}, {"B128": "large"}, {"B128": "spills"}])
def test_what_the_compiler_refuses_and_defaults_that_do_not_fit_fail(found, place, capsys, monkeypatch, tmp_path):
    outcomes(monkeypatch, **found)
    assert check(place, *COMPILING, "--junit", str(tmp_path / "j.xml")) == FAILED
    assert "2 checked, 1 failed" in capsys.readouterr().out
    failure = xml.parse(tmp_path / "j.xml").getroot().find(".//failure")
    assert failure.text.startswith(f"{'the default ' if 'B128' in found else ''}BLOCK=")


def test_a_default_outside_of_its_space_fails(place, monkeypatch):
    outcomes(monkeypatch)
    subject = subject_of(place, info=autotune.generation("sm_90"))
    subject.default = {"BLOCK": 100}
    (case,) = compiled.compiled_cases([subject], autotune.generation("sm_90"), 1)
    assert case.failures == ["the default is no config of the space: BLOCK=100"]
    assert case.summary == "5 configs, 5 fit"


def measured(monkeypatch, *rounds):
    """Let measurements come out so: for each round, seconds of the tuned config and of the default."""
    left = [[None if each is None else Timing(each, each, each, 9) for each in pair] for pair in rounds]

    class FakeWorker:
        def __init__(self, device, policy):
            pass

        __enter__ = __exit__ = lambda self, *_: self

        def bench(self, problem):
            return SimpleNamespace(finals=lambda name, key, configs: left.pop(0)[: len(configs)])

    monkeypatch.setattr(held, "Worker", FakeWorker)
    return left


REGRESSING = ("--max-regress", "5%", "--device", "interpreter")


@pytest.mark.parametrize(
    ("rounds", "code", "text"),
    [
        ([(1.04e-6, 2e-6)], GOOD, "1.04 us, default 2.00 us, recorded 1.00 us"),
        ([(2e-6, 3e-6), (1e-6, 3e-6)], GOOD, ""),  # what is slower is measured again
        ([(1.1e-6, 2e-6)] * 2, FAILED, "1.10 us, 10.0% slower than recorded, 1.00 us"),
        ([(1.04e-6, 0.9e-6)] * 2, FAILED, "15.6% slower than the default, 900 ns"),
        ([(None, 1e-6)] * 2, FAILED, "it does not run"),
    ],
)
def test_a_config_that_got_slower_fails(rounds, code, text, place, capsys, monkeypatch):
    keep(place, {64: 1e-6, 128: 2e-6})
    left = measured(monkeypatch, *rounds)
    assert check(place, *REGRESSING) == code
    assert text in capsys.readouterr().out
    assert not left


def test_where_the_default_won_it_is_held_against_the_record_alone(place, monkeypatch, capsys):
    keep(place, {128: 1e-6, 64: 2e-6})
    measured(monkeypatch, (1e-6, 0.1e-6))
    assert check(place, *REGRESSING) == GOOD
    assert "default -, recorded 1.00 us" in capsys.readouterr().out


def test_nothing_to_check_is_not_good(place, capsys):
    assert check(place, *REGRESSING) == NOTHING_VALID
    assert check(place) == USAGE
    assert check(place, "--compile-only") == USAGE
    assert check("--require-hit", "--device", "interpreter") == USAGE
    assert check(place, "--require-hit", "--device", "cpu") == NO_DEVICE
    for arguments in (("--max-regress", "5"), ("--max-regress", "-1%"), ("--arch", "sm_12")):
        with pytest.raises(SystemExit):
            check(place, *arguments)
    assert "no architecture named 'sm_12'" in capsys.readouterr().err


def test_without_ops_each_kernel_is_launched_by_some_op(monkeypatch):
    names = ("softmax", "matmul", "mul", "neg", "transpose")
    monkeypatch.setattr(compiled, "TABLE", {name: TABLE[name] for name in names})
    monkeypatch.setattr(
        TABLE["matmul"], "sized", staticmethod(lambda draw, M=1024: (draw(M, M), draw(M, M), False, False))
    )
    monkeypatch.setattr(TABLE["softmax"], "sized", None)
    subjects, missing = compiled.one_of_each("float32", autotune.generation("sm_90"))
    assert {subject.kernel.__name__ for subject in subjects} == {
        "pointwise_kernel", "matmul_kernel", "sum_parts_kernel", "softmax_kernel",
    }  # fmt: skip
    assert f"tritorch.ops.scan.kernel.{'scan_kernel'}" in missing
    by_name = {subject.kernel.__name__: subject for subject in subjects}
    assert by_name["matmul_kernel"].problem.label == "M=1024"
    rows = by_name["softmax_kernel"]  # of all samples the one that allows most configs
    most = sum(1 for _ in rows.kernel.space.configs(**rows.known))
    every = [compiled.find_subjects([Weighted(problem)], autotune.generation("sm_90")) for problem in
             compiled._sample_problems("float32") if problem.name == "softmax"]  # fmt: skip
    assert most == max(sum(1 for _ in each.kernel.space.configs(**each.known)) for found in every for each in found)


def test_junit_holds_what_a_compiler_prints(tmp_path):
    write_junit(tmp_path / "j.xml", [Case("compile sm_90", "a<b", failures=["\x1b[31m\x00 & \ud800<"], seconds=1.5)])
    report = xml.parse(tmp_path / "j.xml").getroot()
    assert report.find(".//testcase").get("name") == "a<b"
    assert report.find(".//failure").text == "�[31m� & �<"
    assert report.find("testsuite").get("time") == "1.500"


def test_tuned_from_python_and_held_by_the_command(place, capsys):
    """The whole of it, with a worker: a kernel is tuned, launches take the best config, and check finds it as fast."""
    kernel = KernelProblem.sized(place).kernel
    found = autotune.tune(kernel, device="interpreter", n=3000)
    assert found.new == len(found.trials) == 4
    assert found.best.ok and found.gain >= 1 and found.default.config == {"BLOCK": 128}
    x, out = np.ones(3000, np.float32), np.zeros(3000, np.float32)
    assert lookup.find(kernel, subject_of(place, 3000).key, INTERPRETER, {"n": 3000}).config == found.best.config
    kernel[kernel.grid](x, out, 3000)
    assert out.sum() == 6000
    assert autotune.tune(place, device="interpreter", n=3000).new == 0
    assert check(place, "--shape", "n=3000", "--require-hit", *REGRESSING) == GOOD
    assert "2 checked, 0 failed" in capsys.readouterr().out


def test_what_cannot_be_tuned_from_python_says_why():
    for arguments, error, text in (
        ({"kernel": "matmul", "device": "cpu"}, ValueError, "launches no kernels"),
        ({"kernel": "matmul", "effort": "much"}, ValueError, "no effort named 'much'"),
        ({"kernel": test_nothing_to_check_is_not_good, "device": "interpreter"}, TypeError, "not a function"),
        ({"kernel": "matmul", "device": "interpreter", "L": 3}, ValueError, "no size 'L'"),
    ):
        with pytest.raises(error, match=text):
            autotune.tune(**arguments)
