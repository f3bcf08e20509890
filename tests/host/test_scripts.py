"""Scripts in PyTorch's style train under `tritorch run`, and their losses are PyTorch's.

What PyTorch gives stands in tests/scripts/expected.json, written by `python tests/scripts/record.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
EXPECTED = json.loads((SCRIPTS / "expected.json").read_text())
HELPERS = {"alike", "corpora", "record"}
WITHIN = 1e-4  # relative to max(1, |loss|): as record.py --compare has it
INTERPRETED = ("logistic_regression.py", "mixture_density.py", "realnvp.py")  # name no device


def losses(command, folder, *options):
    """The losses of a script run by `tritorch run`, with warnings as errors."""
    script, *arguments = command.split()
    file = folder / "losses.json"
    environment = {**os.environ, "LOSSES_FILE": str(file), "OMP_NUM_THREADS": "1", "TRITORCH_DEVICE": "cpu"}
    call = [sys.executable, "-W", "error", "-m", "tritorch", "run", *options, str(SCRIPTS / script), *arguments]
    found = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not found.stderr
    return json.loads(file.read_text())


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert abs(ours - theirs) <= WITHIN * max(1.0, abs(theirs)), f"loss {step}: {ours}, PyTorch {theirs}"


@pytest.mark.parametrize("command", EXPECTED)
def test_a_script_trains_as_in_pytorch(command, tmp_path):
    assert_equal(losses(command, tmp_path), EXPECTED[command])


@pytest.mark.parametrize("script", INTERPRETED)
def test_a_script_trains_through_the_kernels(script, tmp_path):
    found = losses(f"{script} --steps 1", tmp_path, "--device", "interpreter")
    assert_equal(found, EXPECTED[f"{script} --steps 5"][:1])


def test_every_script_is_compared():
    scripts = {path.name for path in SCRIPTS.glob("*.py") if path.stem not in HELPERS}
    assert {command.split()[0] for command in EXPECTED} == scripts and len(scripts) >= 28


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_know_nothing_of_tritorch_and_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 160
    if path.stem not in HELPERS:
        assert "tritorch" not in text and "import torch" in text
