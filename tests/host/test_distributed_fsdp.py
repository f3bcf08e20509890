"""Fully sharded modules on 1, 2 and 4 ranks: every check of tests/fsdp_checks.py in one start each."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = (ROOT / "tests" / "fsdp_checks.py").read_text()


def run_checks(ranks, *names):
    """The checks on so many ranks, ended after two minutes."""
    mpiexec = shutil.which("mpiexec", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    return subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, "-W", "error", "-m", "tests.fsdp_checks", *names],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_sharded_training_is_plain_training(ranks):
    found = run_checks(ranks)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("checked check_") == CHECKS.count("\ndef check_")


def test_a_checkpoint_of_one_number_of_ranks_is_loaded_by_others(tmp_path):
    for ranks in (4, 2, 1):
        found = run_checks(ranks, "--folder", str(tmp_path / "saved"))
        assert found.returncode == 0, found.stdout + found.stderr
