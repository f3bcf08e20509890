"""The command line: exit codes, output, JSON, and words for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, USAGE, main
from tritorch.ops.base import TABLE


def test_validate_one_op_writes_a_row_for_every_check(tmp_path, capsys):
    file = tmp_path / "report.json"
    assert main(["validate", "--device", "cpu", "--op", "mul", "--json", str(file), "-v"]) == GOOD
    assert "mul" in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["device"] == "cpu" and report["failed"] == 0
    assert {row["what"] for row in report["findings"]} == {"forward", "gradient"}
    assert report["environment"]["numpy"] == np.__version__
    assert report["ops"]["mul"]["float32"]["checks"] == len(report["findings"])


def test_validate_writes_only_what_failed_beside_the_summary(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(TABLE["neg"], "backward", lambda self, grad: (grad,))
    file = tmp_path / "report.json"
    assert main(["validate", "--device", "cpu", "--op", "neg", "--op", "mul", "--json", str(file)]) == FAILED
    report = json.loads(file.read_text())
    assert report["failed"] == report["ops"]["neg"]["float32"]["failed"] == len(report["findings"]) > 0
    assert report["ops"]["mul"]["float32"]["failed"] == 0


def test_validate_finds_a_wrong_kernel_and_says_where(monkeypatch, capsys):
    mul = TABLE["mul"]
    monkeypatch.setattr(mul, "forward", lambda self, x, y: TABLE["add"]().forward(x, y))
    assert main(["validate", "--device", "interpreter", "--op", "mul"]) == FAILED
    out = capsys.readouterr().out
    assert "mul" in out and "forward" in out and "failed" in out


def test_validate_finds_a_wrong_gradient(monkeypatch, capsys):
    monkeypatch.setattr(TABLE["neg"], "backward", lambda self, grad: (grad,))
    assert main(["validate", "--device", "cpu", "--op", "neg"]) == FAILED
    assert "gradient" in capsys.readouterr().out


def test_validate_an_unknown_op_names_close_ones(capsys):
    assert main(["validate", "--op", "softmx", "--device", "cpu"]) == USAGE
    assert "softmax" in capsys.readouterr().err


def test_validate_without_the_device_says_why(capsys, monkeypatch):
    from tritorch.runtime.cuda import driver

    if driver.is_available():
        monkeypatch.setattr(driver, "is_available", lambda: False)
    assert main(["validate", "--device", "quantum", "--op", "mul"]) == NO_DEVICE
    assert "quantum" in capsys.readouterr().err


def test_validate_in_processes_finds_the_same(tmp_path):
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file, jobs in zip(files, ("1", "2"), strict=True):
        call = ["validate", "--device", "cpu", "--op", "mul", "--op", "sum", "-v", "-j", jobs, "--json", str(file)]
        assert main(call) == GOOD
    one, two = (json.loads(file.read_text())["findings"] for file in files)
    assert one == two and len(one) > 10


def test_validate_needs_a_process(capsys):
    assert main(["validate", "--op", "mul", "--device", "cpu", "--jobs", "0"]) == USAGE
    assert "at least 1" in capsys.readouterr().err


def test_doctor_says_what_works(capsys):
    assert main(["doctor"]) == GOOD
    out = capsys.readouterr().out
    for word in ("Python", "numpy", "triton", "device cpu", "device interpreter", "cache folder"):
        assert word in out


def test_usage_errors_are_exit_code_2():
    with pytest.raises(SystemExit) as caught:
        main(["no-such-command"])
    assert caught.value.code == USAGE


def test_as_a_module():
    found = subprocess.run([sys.executable, "-m", "tritorch", "--version"], capture_output=True, text=True, check=False)
    assert found.returncode == 0 and found.stdout.startswith("tritorch ")


def test_ctrl_c_while_commands_are_imported_is_no_traceback(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("tritorch.cli.main.commands", interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
