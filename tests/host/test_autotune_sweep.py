"""`tritorch autotune sweep`: what it takes, shows, writes and ends with; once with real kernels, else by formula."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from made_up_tuning import MadeUpWorker
from rich.console import Console

from tritorch.autotune import tuner
from tritorch.autotune.command import sweep, watch
from tritorch.autotune.op_problem import OpProblem, op_called
from tritorch.autotune.store import Store, forget_warnings
from tritorch.autotune.trial import CRASH, NO_MEMORY, WRONG
from tritorch.cli.main import GOOD, INTERRUPTED, NO_DEVICE, NOTHING_VALID, USAGE, main
from tritorch.ops.base import TABLE
from tritorch.runtime import device as devices
from tritorch.runtime.cuda import driver

SMALL = ["matmul", "--shape", "M=32,N=32,K=32", "--device", "interpreter"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def worker(monkeypatch):
    """Trials by formula; the class, to be set up as a test likes."""
    worker = type("Worker", (MadeUpWorker,), {})
    monkeypatch.setattr(tuner, "Worker", worker)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return worker


def do(*arguments):
    return main(["autotune", "sweep", *map(str, arguments)])


def entries():
    store = Store()
    return [entry for environment, _ in store.environments() for entry in store.entries(environment)]


def test_a_sweep_of_real_kernels_and_another_run_that_hits(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert do(*SMALL, "--budget", "60s", "--max-trials", 6, "--json", file) == GOOD
    out = capsys.readouterr().out
    assert "gain" in out and "M=32 N=32 K=32" in out and "BLOCK_M=" in out
    report = json.loads(file.read_text())
    (subject,) = report["subjects"]
    assert report["new_trials"] == subject["new_trials"] == len(subject["entry"]["trials"]) == 6
    assert subject["gain"] >= 1 and report["environment"]["device"] == "interpreter" and not report["interrupted"]
    assert all(each["error"] <= 1 for each in subject["entry"]["trials"] if each["state"] == "ok")
    (entry,) = entries()
    assert entry.to_json() == subject["entry"] and entry.finished == "quick" and entry.work["flops"] == 2 * 32**3
    command = [sys.executable, "-m", "tritorch.autotune", "sweep", *SMALL, "--budget", "60s"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == GOOD and "\n0 new trials" in again.stdout and "finished" in again.stdout, again.stderr
    assert entries()[0].to_json() == subject["entry"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["matmull", "--device", "interpreter"], "did you mean matmul"),
        (["conv1d", "--device", "interpreter"], "calls other ops, perhaps convolution"),
        (["nn.functional.conv1d", "--device", "interpreter"], "calls other ops, perhaps convolution"),
        (["kernels.py", "--device", "interpreter"], "kernels.py:kernel"),
        (["matmul", "--device", "interpreter", "--json", "."], "it is a folder"),
        (["matmul", "--device", "interpreter", "--dry-run", "--json", "x.json"], "--dry-run"),
        (["matmul", "--shape", "M=-3", "--device", "interpreter"], "size M is -3;"),
        (["matmul", "--shape", "Q=3", "--device", "interpreter"], "it takes M=4096 N=4096 K=4096"),
        (["--device", "interpreter"], "which ops?"),
        (["matmul", "--dtype", "float99", "--device", "interpreter"], "float99"),
        (["matmul", "--compile-only"], "--arch"),
        (["matmul", "--arch", "sm_90"], "--compile-only"),
        (["matmul", "--compile-only", "--arch", "sm_55"], "sm_90"),
        (["--shapes", "nowhere.json", "--device", "interpreter"], "nowhere.json"),
        (["matmul", "--device", "interpreter", "--json", "no/such/folder/x.json"], "no/such/folder"),
    ],
)
def test_what_is_wrong_is_named(arguments, words, capsys):
    assert do(*arguments) == USAGE
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "M="], "M=256"),
        (["--shape", "M=1,M=2"], "twice"),
        (["--shape", ","], "no size"),
        (["--budget", "soon"], "1h30m"),
        (["--max-trials", "0"], "from 1 on"),
        (["--effort", "great"], "quick"),
        (["--resume", "--fresh"], "not allowed with"),
        (["--shape", "M=1", "--shapes", "x"], "not allowed with"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        do("matmul", *arguments)
    assert ended.value.code == USAGE and words in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("60s", 60), ("10m", 600), ("1h30m", 5400), ("0.5s", 0.5)])
def test_times_are_read(text, seconds):
    assert sweep.seconds_of(text) == seconds


def test_without_a_gpu_it_says_what_can_be_done(capsys, monkeypatch):
    monkeypatch.setattr(driver, "is_available", lambda: False)
    assert do("matmul") == NO_DEVICE
    assert "--device interpreter" in capsys.readouterr().err
    assert do("matmul", "--device", "cpu") == NO_DEVICE
    assert "--compile-only --arch sm_90" in capsys.readouterr().err
    assert do("matmul", "--device", "quantum") == NO_DEVICE
    assert "quantum. Without a GPU" in capsys.readouterr().err
    monkeypatch.setattr(devices, "get_default_device", lambda: devices.Device("quantum"))  # as TRITORCH_DEVICE says
    assert do("matmul") == NO_DEVICE
    assert "quantum. Without a GPU" in capsys.readouterr().err


def test_when_no_config_works_the_exit_code_says_so(worker, tmp_path, capsys):
    worker.fails = {"matmul_kernel": lambda config: WRONG if config["BLOCK_K"] == 32 else CRASH}
    assert do(*SMALL, "--json", tmp_path / "x.json") == NOTHING_VALID
    said = capsys.readouterr()
    assert "no config works for matmul M=32 N=32 K=32, launches take the default: it was planned so" in said.err
    assert "wrong" in said.out and "crash" in said.out and "none works" in said.out
    (subject,) = json.loads((tmp_path / "x.json").read_text())["subjects"]
    assert subject["seconds"] is None and subject["entry"]["best"] is None
    assert do(*SMALL) == NOTHING_VALID  # and nothing is tried again
    assert "\n0 new trials" in capsys.readouterr().out


def test_a_call_that_its_op_cannot_make_is_refused_by_name(tmp_path, capsys):
    tensor = {"tensor": [4, 4], "dtype": "float32"}
    calls = {"softmax": [tensor, 7], "sum": [tensor, tensor, False], "matmul": [tensor, 3, False, False]}
    for op, arguments in calls.items():
        file = shapes(tmp_path, {"problem": {"kind": "op", "op": op, "arguments": arguments}})
        for command in (["sweep"], ["why"], ["check", "--require-hit"]):
            assert main(["autotune", *command, "--shapes", str(file), "--device", "interpreter"]) == USAGE
            assert f"{op} (4, 4)" in (said := capsys.readouterr().err) and " cannot be called: " in said


def test_calls_that_launch_nothing_are_nothing_to_tune(capsys):
    assert do("matmul", "--shape", "M=0", "--device", "interpreter") == NOTHING_VALID
    assert "launch no kernel that can be tuned" in capsys.readouterr().err


def test_a_function_stands_for_the_op_that_it_calls(worker, capsys):
    sizes = ["--shape", "N=1,C=2,H=8,W=8,K=2", "--device", "interpreter", "--dry-run"]
    assert do("conv2d", *sizes) == GOOD
    said = capsys.readouterr()
    assert "conv2d calls the op convolution" in said.err and "N=1 C=2 H=8 W=8 K=2" in said.out
    assert op_called("subtract") == "sub" and op_called("scaled_dot_product_attention") == "attention"
    assert op_called("torch.matmul") == "matmul" and op_called("nn.functional.conv2d") == "convolution"
    assert op_called("conv1d") is None and op_called("matmul") == "matmul"
    for op in TABLE.values():
        assert all(name not in TABLE and op_called(name) == op.op_name and op.sized for name in op.called_by)


def test_a_folder_that_cannot_be_written_is_not_said_to_keep_anything(worker, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "file"))
    forget_warnings()
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        assert do(*SMALL) == GOOD
    assert "none of them can be kept" in capsys.readouterr().out
    forget_warnings()


def test_a_device_without_memory_says_nothing_of_a_config(worker, capsys):
    worker.fails = {"matmul_kernel": lambda config: NO_MEMORY if config["num_stages"] == 2 else None}
    assert do(*SMALL) == GOOD
    assert "found no memory on the device" in (out := capsys.readouterr().out) and "  memory  " in out
    (entry,) = entries()
    assert not entry.finished and all(trial.ok for trial in entry.trials)
    worker.fails = {}
    assert do(*SMALL) == GOOD  # with memory it goes on, and ends
    assert "no memory on" not in capsys.readouterr().out
    (after,) = entries()
    assert after.finished == "quick" and len(after.trials) > len(entry.trials)
    worker.fails = {"matmul_kernel": lambda config: NO_MEMORY}
    assert do(*SMALL, "--fresh") == NOTHING_VALID
    assert "no config works" in capsys.readouterr().err and not entries()


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(worker, tmp_path, capsys):
    count = iter(range(1000))

    def interrupt():
        if next(count) == 3:
            raise KeyboardInterrupt

    worker.ticks = staticmethod(interrupt)
    assert do(*SMALL, "--json", tmp_path / "x.json") == INTERRUPTED
    said = capsys.readouterr()
    assert "the same command goes on from here" in said.err and "3 new of 3" in said.out and "interrupted" in said.out
    assert json.loads((tmp_path / "x.json").read_text())["interrupted"]
    before = entries()[0].trials
    assert do(*SMALL) == GOOD
    (entry,) = entries()
    assert [each.config for each in entry.trials[:3]] == [each.config for each in before]
    assert f"{len(entry.trials) - 3} new trials" in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_tuned_and_runs_nothing(worker, capsys):
    assert do(*SMALL, "--shape", "M=64,N=64,K=64", "--dry-run", "--budget", "2h") == GOOD
    out = capsys.readouterr().out
    assert "M=32 N=32 K=32" in out and "M=64 N=64 K=64" in out and out.count("  1 h  ") == 2
    assert "2 of 2 would be tuned" in out and not entries()
    assert do(*SMALL) == GOOD
    assert do(*SMALL, "--dry-run") == GOOD
    assert "finished, quick" in (out := capsys.readouterr().out) and "0 of 1 would be tuned" in out


def shapes(tmp_path, *problems, **rest):
    file = tmp_path / "shapes.json"
    file.write_text(json.dumps({"format": 1, "problems": list(problems), **rest}))
    return file


def traced(size, share, dtype="float32"):
    tensor = {"tensor": [size, size], "dtype": dtype}
    problem = {"kind": "op", "op": "matmul", "arguments": [tensor, tensor, False, False]}
    return {"problem": problem, "share": share, "count": 12, "seconds": 0.1}


def test_traced_shapes_get_budget_by_their_share(worker, tmp_path, capsys):
    file = shapes(tmp_path, traced(32, 0.1), traced(64, 0.8), traced(128, 0.1, "float16"))
    assert do("--shapes", file, "--device", "interpreter", "--dry-run", "--budget", "1000s") == GOOD
    lines = capsys.readouterr().out.splitlines()
    assert any("(64, 64)" in line and "800 s" not in line and "13 min" in line for line in lines)
    assert do("--shapes", file, "--device", "interpreter", "--json", tmp_path / "x.json") == GOOD
    found = json.loads((tmp_path / "x.json").read_text())["subjects"]
    assert [each["share"] for each in found] == [0.1, 0.8, 0.1] and {each["count"] for each in found} == {12}
    capsys.readouterr()
    assert do("matmul", "--shapes", file, "--dtype", "float16", "--device", "interpreter", "--dry-run") == GOOD
    assert "0 of 1 would be tuned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "no shapes file"),
        ('{"format": 2, "problems": []}', "format 2"),
        ('{"format": 1, "problems": [{"problem": {"kind": "op", "op": "matmull", "arguments": []}}]}', "problem 1"),
        ('{"format": 1, "problems": [{"problem": {"kind": "os.system"}}]}', "os.system"),
        ('{"format": 1, "problems": [7]}', "problem 1"),
        ('{"format": 1, "problems": [{"problem": {"kind": "op", "op": "matmul", "sizes": {}}, "share": -1}]}', "share"),
        ('{"format": 1, "problems": []}', "no such calls"),
    ],
)
def test_a_file_that_holds_no_shapes_is_refused_with_the_reason(tmp_path, text, words, capsys):
    file = tmp_path / "shapes.json"
    file.write_text(text)
    assert do("--shapes", file, "--device", "interpreter") == USAGE
    assert words in (err := capsys.readouterr().err) and "shapes.json" in err


def test_ops_that_the_file_does_not_have_are_named(tmp_path, capsys):
    file = shapes(tmp_path, traced(32, 1))
    assert do("matmulx", "--shapes", file, "--device", "interpreter") == USAGE
    assert "did you mean matmul" in capsys.readouterr().err


def test_on_a_terminal_a_table_follows_the_sweep(worker, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, height=20)
    monkeypatch.setattr(sweep, "Console", lambda: console)
    drawn = []
    tried = watch.LiveWatch.tried

    def look(self, tuner, subject, trial):
        tried(self, tuner, subject, trial)
        plain = Console(file=io.StringIO(), width=200)
        plain.print(self.table())
        drawn.append(plain.file.getvalue())

    monkeypatch.setattr(watch.LiveWatch, "tried", look)
    assert do(*SMALL, "--shape", "M=16,N=16,K=16", "--budget", "10m") == GOOD
    words = ("op", "shape", "done", "time", "gain", "rate", "roofline", "failed", "left")
    assert all(word in drawn[0] for word in words) and "M=16 N=16 K=16" in drawn[0]
    assert "0 of 2 tuned, 10 min of the budget left" in drawn[0] and "1 of 2 tuned" in drawn[-1]
    assert "best config" in screen.getvalue()  # the closing table


@pytest.mark.parametrize(("width", "missing"), [(200, ()), (100, ("roofline",)), (60, ("roofline", "rate"))])
def test_a_terminal_that_is_narrow_goes_without_columns(worker, width, missing):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=30)
    seen, (problem,) = watch.LiveWatch(console), [tuner.Weighted(OpProblem.sized("matmul", sizes={"M": 32, "N": 32}))]
    made = tuner.Tuner([problem], devices.INTERPRETER, Store(), trials=3, listener=seen)
    made.run()
    plain = Console(file=io.StringIO(), width=width)
    plain.print(seen.table())
    found = plain.file.getvalue()
    names = ("op", "shape", "done", "time", "roofline", "rate", "left")
    assert tuple(name for name in names if name not in found) == missing
    assert "matmul" in found and "M=32 N=32" in found and "complete" in found and " us " in found


def test_a_terminal_that_is_short_shows_the_rows_around_the_one_at_hand(worker):
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=14)
    live = watch.LiveWatch(console)
    subjects = [sweep_subject(f"op{number}") for number in range(30)]
    live.tuner = type("Tuner", (), {"subjects": subjects, "left": 60.0, "clock": staticmethod(lambda: 0.0)})
    live.current = subjects[20]
    console.print(live.table())
    shown = console.file.getvalue()
    assert "op20" in shown and "op0 " not in shown and "op29" not in shown


def sweep_subject(name):
    from made_up_tuning import MadeUp

    (subject,) = tuner.find_subjects([tuner.Weighted(MadeUp(100, name=name))], tuner.INTERPRETER)
    return subject
