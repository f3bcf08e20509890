"""The examples run, and reach what they assert."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "arguments", "written"),
    [
        ("early_stopping.py", ["--log", "runs", "--epochs", "30", "--patience", "5"], ["runs"]),
        ("explain_digits.py", ["--save", "digits.png", "--steps", "60"], ["digits.png"]),
        ("custom_op.py", [], []),
        ("autotune_matmul.py", ["--size", "40"], []),
    ],
)
def test_examples_run(name, arguments, written, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert sorted(each.name for each in tmp_path.iterdir() if each.name != "cache") == written
