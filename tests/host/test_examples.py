"""The examples run, and reach what they assert."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("early_stopping.py", ["--log", "runs", "--epochs", "30", "--patience", "5"]),
        ("explain_digits.py", ["--save", "digits.png", "--steps", "60"]),
    ],
)
def test_examples_run(name, arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert (tmp_path / arguments[1]).exists()
