"""Ranks for tests: a script under mpiexec, ended with all its processes when it takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tritorch.distributed.launcher import find_mpiexec


def run_ranks(n, source, timeout=60, env=None, arguments=(), options=()):
    """Run a script, given as its text or its path, on `n` ranks; returns the completed process.

    `options` are mpiexec's.
    """
    command = [
        sys.executable,
        "-W",
        "error",
        *([str(source)] if isinstance(source, Path) else ["-c", textwrap.dedent(source)]),
    ]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **(env or {})}
    started = subprocess.Popen(
        [find_mpiexec(), *options, "-n", str(n), *command, *arguments],
        env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, error = started.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        out, error = started.communicate()
        raise AssertionError(f"{n} ranks took longer than {timeout} s:\n{out}\n{error}") from None
    return subprocess.CompletedProcess(started.args, started.returncode, out, error)
