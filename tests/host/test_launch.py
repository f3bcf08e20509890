"""`tritorch launch`: the first failure's traceback and exit code, and no rank that outlives the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import os, pathlib, signal, sys, time
rank = int(os.environ.get("RANK") or os.environ["PMI_RANK"])
pathlib.Path(sys.argv[2], f"{rank}.pid").write_text(str(os.getpid()))
while len(list(pathlib.Path(sys.argv[2]).glob("*.pid"))) < 2:
    time.sleep(0.02)
if rank == 1 and sys.argv[1] == "raise":
    raise ValueError("broken here")
if rank == 1 and sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if rank == 1 and sys.argv[1] == "exit":
    sys.exit(7)
if sys.argv[1] != "good":
    time.sleep(60)
"""


def start(tmp_path, engine, what):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "tritorch", "launch", "-n", "2", "--engine", engine, script, what, tmp_path]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ranks_of(tmp_path, limit=30):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        texts = [path.read_text() for path in tmp_path.glob("*.pid")]
        if len(texts) == 2 and all(texts):
            return [int(text) for text in texts]
        time.sleep(0.05)
    raise AssertionError("the ranks did not start")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids):
    end = time.monotonic() + 8
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.05)
    assert not any(map(alive, pids)), pids


@pytest.mark.parametrize("engine", ["mpi", "processes"])
@pytest.mark.parametrize("what, code", [("good", 0), ("raise", 1), ("exit", 7), ("kill", 137)])
def test_the_exit_code_is_that_of_the_rank_that_failed(tmp_path, engine, what, code):
    process = start(tmp_path, engine, what)
    errors = process.communicate(timeout=50)[1]
    assert process.returncode == code, errors
    assert_gone(ranks_of(tmp_path))
    if what == "raise":
        assert "rank 1 failed first" in errors and errors.endswith("ValueError: broken here\n")


@pytest.mark.parametrize("engine", ["mpi", "processes"])
@pytest.mark.parametrize("number, code", [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_no_rank_outlives_the_launcher(tmp_path, engine, number, code):
    process = start(tmp_path, engine, "wait")
    pids = ranks_of(tmp_path)
    os.kill(process.pid, number)
    assert process.wait(timeout=20) == code
    process.stderr.close()
    assert_gone(pids)
