"""`tritorch bench`: rows against a made-up peer, the JSON's form, refusals, and exit codes."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_peer import Stand, install, stand_in

import tritorch
from tritorch.autotune.trial import Timing
from tritorch.bench import measure as measuring
from tritorch.bench import peer as peers
from tritorch.bench import stopwatch, training
from tritorch.bench.case import UNITS, Case, Input, work_of
from tritorch.bench.environment import commit
from tritorch.bench.measure import drawn, measure
from tritorch.bench.suites import suites
from tritorch.bench.training import TrainingCase
from tritorch.cli.main import FAILED, GOOD, INTERRUPTED, NO_DEVICE, USAGE, main
from tritorch.runtime import precision
from tritorch.runtime.device import CPU

ROW = ["case", "dtype", "ours", "theirs", "unit", "ratio", "roofline", "spread", "agree"]
ENVIRONMENT = ["gpu", "driver", "cuda", "triton", "torch", "python", "commit"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few and short rounds."""
    monkeypatch.setattr(stopwatch, "ROUNDS", 2)
    monkeypatch.setattr(stopwatch, "ROUND_SECONDS", 1e-5)
    monkeypatch.setattr(stopwatch, "STEP_ROUND_SECONDS", 1e-5)
    monkeypatch.setattr(stopwatch, "WARM_CALLS", 1)
    monkeypatch.setattr(training, "COMPARED", 2)


@pytest.fixture
def torch(monkeypatch):
    """A library in torch's place."""
    return install(monkeypatch, stand_in())


@pytest.fixture
def timed(monkeypatch):
    """Times of the first function, and of the others after it, in milliseconds, in the place of any stopwatch."""

    def give(*milliseconds):
        timings = [Timing(each * 0.9e-3, each * 1e-3, each * 1.2e-3, 5) for each in milliseconds]
        watch = SimpleNamespace(turns=lambda functions: timings[: len(functions)])
        monkeypatch.setattr(measuring, "stopwatch_for", lambda device, on_host, is_whole: watch)

    return give


def ran(*arguments, device="cpu"):
    return main(["bench", *arguments, "--device", device])


def product(**settings):
    """A small product."""
    return Case("a product", "float32", (Input((8, 4)), Input((4, 8))), lambda lib, a, b: lambda: a @ b, **settings)


@pytest.mark.parametrize("name", suites())
def test_a_suite_on_the_cpu(name, torch, tmp_path, capsys):
    file = tmp_path / "rows.json"
    assert ran(name, "--quick", "--against", "torch", "--json", str(file)) == GOOD
    found = json.loads(file.read_text())
    assert list(found) == ["suite", "environment", "rows"] and found["suite"] == name
    assert list(found["environment"]) == ENVIRONMENT
    assert found["environment"]["torch"] == "made up" and found["environment"]["gpu"] is None
    assert len({row["case"] for row in found["rows"]}) == len(found["rows"]) >= 1
    for row in found["rows"]:
        assert (
            list(row)[: len(ROW)] == ROW
            and row["dtype"] == "float32"
            and row["roofline"] is None
            and row["agree"] is True
        )
        assert min(row["ours"], row["theirs"], row["ratio"]) > 0 <= row["spread"]
    out = capsys.readouterr().out
    assert f"{name} on cpu against torch made up" in out and found["rows"][-1]["case"] in out


def test_without_a_peer_its_columns_are_null(tmp_path, capsys):
    file = tmp_path / "rows.json"
    assert ran("launch", "--quick", "--json", str(file)) == GOOD
    for row in json.loads(file.read_text())["rows"]:
        assert row["ours"] > 0 and [row[name] for name in ("theirs", "ratio", "agree")] == [None] * 3
    assert "against" not in capsys.readouterr().out
    assert "torch" not in sys.modules


def test_all_suites_are_told_apart(tmp_path, monkeypatch, timed):
    timed(1.0)
    assert ran("--quick", "--dtype", "float16", "--json", str(tmp_path / "rows.json")) == GOOD
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["suite"] == "all"
    having = {name for name, suite in suites().items() if "float16" in suite.DTYPES}
    assert {row["case"].split(":")[0] for row in found["rows"]} == having >= {"matmul", "softmax"}


def test_every_suite_has_cases_of_all_sizes():
    for suite in suites().values():
        full, quick, small = (
            list(suite.cases(suite.DTYPES, *how)) for how in ((False, False), (True, False), (True, True))
        )
        assert len(full) >= len(quick) > 0 < len(small)
        for case in (*full, *quick, *small):
            assert case.dtype in suite.DTYPES and (case.work is None) == (case.unit == "us")
            assert isinstance(case, TrainingCase) or case.unit in UNITS
        assert len({(case.name, case.dtype) for case in full}) == len(full)


# ------------------------------------------------------------------------------------------------------- what is said


def test_the_fastest_way_of_the_other_side_counts(torch, timed):
    timed(2.0, 9.0, 3.0)
    case = product(unit="ms", choices=lambda lib: {"slow": Nothing, "fast": Nothing, "broken": Broken})
    row, _ = measure(case, CPU, peers.Torch(CPU))
    assert (row.ours, row.theirs, row.ratio, row.unit, row.agree) == (2.0, 3.0, 1.5, "ms", True)
    assert row.spread == pytest.approx(0.3) and row.roofline is None
    with pytest.raises(RuntimeError, match="torch can do this by no choice of its own: broken: not for these"):
        measure(product(choices=lambda lib: {"broken": Broken}), CPU, peers.Torch(CPU))


class Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class Broken(Nothing):
    def __enter__(self):
        raise RuntimeError("not for these")


def test_figures_are_in_the_cases_unit(timed):
    timed(2.0)
    work = work_of(4e9, 10, "tf32")
    assert (work.bytes, work.dtype) == (40, "tf32")
    assert [measure(product(unit=unit, work=work), CPU)[0].ours for unit in ("us", "ms", "TFLOP/s")] == [2000, 2, 2]


def test_a_gpus_row_says_how_near_the_roofline_is(timed, monkeypatch):
    timed(2.0)
    monkeypatch.setattr(measuring.roofline, "seconds", lambda work, device: 1e-3)
    gpu = SimpleNamespace(is_cuda=True, index=0)
    rows = []
    for case in (
        product(work=work_of(1, 1, "float32")),
        product(),
        product(work=work_of(1, 1, "float32"), on_host=True),
    ):
        monkeypatch.setattr(measuring, "drawn", lambda case, device: drawn(case, CPU))
        rows.append(measure(case, gpu)[0].roofline)
    assert rows == [0.5, None, None]


def test_both_sides_get_the_same_memory(torch, timed):
    timed(1.0, 1.0)
    seen = []

    def step(lib, a):
        seen.append(a)
        return lambda: a * 2

    measure(Case("double", "bfloat16", (Input((3,), requires_grad=True),), step), CPU, peers.Torch(CPU))
    ours, theirs = seen
    assert ours is not theirs and ours.requires_grad and theirs.requires_grad
    assert ours.data_ptr() == theirs.data_ptr() and ours.dtype is tritorch.bfloat16


def test_calls_take_turns_and_who_begins_changes(monkeypatch):
    monkeypatch.setattr(stopwatch, "MOST_CALLS", 1)
    order = []
    timings = stopwatch.HostStopwatch(CPU).turns([lambda: order.append("a"), lambda: order.append("b")])
    assert "".join(order) == "aabb" + "ab" + "ba"  # each warmed and tried, then two turns
    assert all(each.p50 > 0 and each.repeats == 2 for each in timings)


def test_gradients_may_differ_as_the_tolerances_say():
    assert measuring.allowed(product()) == 2
    assert measuring.allowed(product(gives_gradients=True)) == pytest.approx(20)
    for name in ("attention", "conv", "rnn"):
        known = {case.gives_gradients for case in suites()[name].cases(("float32",), True, True)}
        assert known == {True, False}


# ------------------------------------------------------------------------------------------------------ what is refused


def test_results_that_differ_are_said(torch, tmp_path, capsys):
    torch.relu = lambda x: x
    file = tmp_path / "rows.json"
    assert ran("launch", "--against", "torch", "--json", str(file)) == FAILED
    agree = {row["case"]: row["agree"] for row in json.loads(file.read_text())["rows"]}
    assert [name for name, value in agree.items() if not value] == ["relu without gradients", "relu with gradients"]
    output = capsys.readouterr()
    assert "launch relu without gradients float32: results differ: largest difference at" in output.err
    assert "NO" in output.out


def test_unlike_products_are_not_compared(torch, tmp_path, capsys):
    torch.set_float32_matmul_precision = lambda value: None  # which stay as they were, at "medium"
    file = tmp_path / "rows.json"
    assert ran("matmul", "--against", "torch", "--json", str(file)) == USAGE
    assert "tritorch multiplies float32 in ieee, torch in tf32; they are not compared" in capsys.readouterr().err
    assert not file.exists()


def test_the_environment_may_overrule_torchs_switches(torch, monkeypatch):
    gpu = SimpleNamespace(is_cuda=True)
    torch.cuda = SimpleNamespace(is_available=lambda: True)
    other = peers.Torch(gpu)
    with other.multiplying(True):
        assert other.products(gpu) == "tf32"
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        assert other.products(gpu) == "ieee (by NVIDIA_TF32_OVERRIDE=0)"
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
        torch.backends.cudnn.allow_tf32 = False
        assert other.products(gpu) == "tf32 in products but ieee in convolutions"


def test_results_of_unlike_dtypes_are_not_compared(torch, capsys):
    functional = Stand(tritorch.nn.functional, linear=lambda *args: tritorch.nn.functional.linear(*args).half())
    torch.nn = Stand(tritorch.nn, functional=functional)
    assert ran("launch", "--against", "torch") == USAGE
    output = capsys.readouterr()
    assert "results of tritorch are float32, those of torch float16; they are not compared" in output.err
    assert "matmul with gradients" in output.out  # what had finished


def test_a_processor_has_no_tf32(capsys):
    assert ran("matmul", "--dtype", "tf32") == USAGE
    assert "tf32 was asked, tritorch multiplies float32 in ieee on cpu" in capsys.readouterr().err


def test_switches_are_put_back(torch):
    precision.set_float32_matmul_precision("medium")
    try:
        assert ran("matmul", "--quick", "--against", "torch") == GOOD
        assert precision.get_float32_matmul_precision() == "medium"
    finally:
        precision.set_float32_matmul_precision("highest")
    assert torch.products == "medium"
    assert vars(torch.backends.cudnn) == {"allow_tf32": True, "benchmark": False}
    assert set(vars(torch.backends.cuda.matmul).values()) == {True}


@pytest.mark.parametrize("tf32", [False, True])
def test_what_torch_is_told(torch, tf32):
    with peers.Torch(CPU).multiplying(tf32):
        assert torch.products == ("high" if tf32 else "highest")
        assert vars(torch.backends.cudnn) == {"allow_tf32": tf32, "benchmark": True}
        assert set(vars(torch.backends.cuda.matmul).values()) == {False}  # sums of halves stay in float32


def test_without_pytorch(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(peers, "importlib", SimpleNamespace(import_module=missing))
    assert ran("matmul", "--against", "torch") == USAGE
    text = capsys.readouterr().err
    assert "No module named 'torch'" in text and "pip install 'tritorch[bench]'" in text


def test_a_pytorch_without_cuda(torch):
    torch.cuda = SimpleNamespace(is_available=lambda: False)
    with pytest.raises(peers.NoPeer, match=r"torch made up has no CUDA here.*extra `bench`"):
        peers.Torch(SimpleNamespace(is_cuda=True))


def test_without_a_gpu(monkeypatch, capsys):
    def resolve(name):
        raise RuntimeError(f"device={name!r} is not available")

    monkeypatch.setattr("tritorch.runtime.device.resolve", resolve)
    assert main(["bench", "matmul", "--quick"]) == NO_DEVICE
    assert capsys.readouterr().err == "tritorch bench: device='cuda' is not available\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["attention", "--dtype", "int8"], "--dtype int8: attention has it not; there are bfloat16, float16, float32"),
        (["--dtype", "int8"], "--dtype int8: no suite has it; there are bfloat16, float16, float32, tf32"),
        (["matmul", "--json", "no/such/folder/rows.json"], "--json no/such/folder/rows.json: there is no such folder"),
        (["matmul", "--device", "interpreter"], "--device takes cuda or cpu, not interpreter"),
    ],
)
def test_options_that_do_not_fit(arguments, text, capsys):
    assert main(["bench", "--device", "cpu", *arguments]) == USAGE
    assert text in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- what ends it early


def stopping(monkeypatch, *errors):
    """Let measuring a case raise, where the list has an error for it."""
    waiting, before = list(errors), measuring.measure

    def measure(*arguments):
        error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error
        return before(*arguments)

    monkeypatch.setattr(measuring, "measure", measure)


def test_what_has_finished_is_kept_when_interrupted(monkeypatch, tmp_path, capsys):
    stopping(monkeypatch, None, None, KeyboardInterrupt())
    file = tmp_path / "rows.json"
    assert ran("launch", "--json", str(file)) == INTERRUPTED
    assert len(json.loads(file.read_text())["rows"]) == 2
    output = capsys.readouterr()
    assert "interrupted: 2 of 10 cases have finished" in output.err and "add with gradients" in output.out
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]


def test_a_case_that_fails_does_not_end_the_others(monkeypatch, tmp_path, capsys):
    stopping(monkeypatch, MemoryError("no room"))
    file = tmp_path / "rows.json"
    assert ran("launch", "--quick", "--json", str(file)) == FAILED
    assert [row["case"] for row in json.loads(file.read_text())["rows"]] == ["add with gradients"]
    assert "launch add without gradients float32: MemoryError: no room" in capsys.readouterr().err


def test_unsteady_rows_are_said(timed, capsys):
    timed(1.0)
    assert ran("launch", "--quick") == GOOD
    assert "2 of 2 rows have a spread of more than 20%: is the machine busy?" in capsys.readouterr().err


def test_the_commit_is_that_of_the_checkout(monkeypatch, tmp_path):
    found = commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    monkeypatch.setattr(tritorch, "__file__", str(tmp_path / "tritorch" / "__init__.py"))
    assert commit() is None


def test_the_numbers_are_the_same_at_every_call():
    case = product()
    first, second = (drawn(case, CPU) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
