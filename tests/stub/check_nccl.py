"""The NCCL engine on the stub driver and a stub libnccl: one, two and three ranks, each a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tritorch.distributed.launcher import free_port

pytest.importorskip("nccl.bindings", reason="needs nccl4py")

HERE = Path(__file__).parent


def run(what, count, folder, timeout=60, script="nccl_ranks.py", **settings):
    """Run a script (nccl_ranks.py takes a function's name) on `count` ranks; what each printed, and none may fail."""
    environment = os.environ | {
        "WORLD_SIZE": str(count), "STORE": str(folder), "STUB_NCCL_FOLDER": str(folder), "OMP_NUM_THREADS": "1",
    } | settings  # fmt: skip
    command = [sys.executable, "-W", "error", str(HERE / script), what]
    ranks = [
        subprocess.Popen(
            command, env=environment | {"RANK": str(rank)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for rank in range(count)
    ]
    try:
        found = [each.communicate(timeout=timeout)[0] for each in ranks]
    finally:
        for each in ranks:
            each.kill()
    for rank, each in enumerate(ranks):
        assert each.returncode == 0, f"rank {rank}: {found[rank][-4000:]}"
    return found


@pytest.mark.parametrize("count", [1, 2, 3])
def test_collectives(count, tmp_path):
    run("collectives", count, tmp_path)
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith("stub-nccl")]


def test_streams_and_memory(tmp_path):
    run("streams", 1, tmp_path, STUB_DEVICES="2")


def test_failures(tmp_path):
    """A rank that stays away, one that stalls, other shapes, an error of NCCL's, no communicator."""
    run("failures", 2, tmp_path)


def test_a_rank_that_is_late_is_named(tmp_path):
    run("late", 2, tmp_path, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))


@pytest.mark.parametrize("count", [1, 2])
def test_training_through_the_public_names(count, tmp_path):
    run("", count, tmp_path, script="nccl_training.py", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
