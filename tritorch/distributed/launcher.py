"""Starts local ranks of a script, and ends all of them when one fails: what `tritorch launch` does.

Each rank is two processes. The keeper, which imports nothing, waits for the program and writes down how it ended:
mpiexec tells of signals alone, and goes on waiting for the others when a rank has ended in another way.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

REPORTS = "TRITORCH_LAUNCH_REPORTS"  # the folder where ranks write why they failed
GRACE = 3.0  # seconds between asking ranks to end and killing them
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def find_mpiexec():
    """The mpiexec beside this Python, or one on PATH; None if there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def free_port():
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def launch(program, count, engine, nodes=1, node_rank=0, address="127.0.0.1", port=None, torch=False):
    """Run `program` (a script, or -m and a module, and its arguments) on `count` local ranks; gives the exit code."""
    with tempfile.TemporaryDirectory(prefix="tritorch-launch-") as reports:
        rank = [sys.executable, "-m", __name__, "--torch" if torch else "--own", *program]
        own = [sys.executable, "-I", "-S", __file__, "--keep", *rank]
        shared = dict(os.environ, WORLD_SIZE=str(count * nodes), LOCAL_WORLD_SIZE=str(count), MASTER_ADDR=address,
                      MASTER_PORT=str(port or free_port()))  # fmt: skip
        shared[REPORTS] = reports
        shared.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
        processes = []
        before = signal.signal(signal.SIGTERM, _terminated)
        try:
            if engine == "mpi":
                command = [find_mpiexec(), "-n", str(count), *own]
                processes.append(_start(command, shared))
            else:
                for local in range(count):
                    ranks = {"RANK": str(node_rank * count + local), "LOCAL_RANK": str(local)}
                    processes.append(_start(own, {**shared, **ranks}))
            code = _wait(processes, reports)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        finally:
            _end(processes)
            signal.signal(signal.SIGTERM, before)
        return _report(reports, code)


def _start(command, environment):
    return subprocess.Popen(command, env=environment, preexec_fn=die_with_parent, start_new_session=True)


def die_with_parent():
    """Let the kernel kill this process when the one that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _terminated(number, frame):
    raise SystemExit(128 + number)


def _wait(processes, reports):
    """The exit code of the rank that fails first, or 0 when all are done; a signal is 128 and its number."""
    while True:
        codes = [process.poll() for process in processes]  # before the reports, which are written earlier
        ends = _read(reports, "ended")
        failed = [code for code in codes if code]
        if ends:
            return int(ends[0][2])
        if failed:
            return _shown(failed[0])
        if None not in codes:
            return 0
        time.sleep(0.05)


def _shown(code):
    return code if code >= 0 else 128 - code


def _write(kind, text):
    """Write down, whole or not at all, what became of this rank, and when."""
    rank = os.environ["RANK"]
    path = Path(os.environ[REPORTS], f"{rank}.part-{kind}")
    path.write_text(f"{time.time()}\n{rank}\n{text}")
    path.rename(path.with_suffix(f".{kind}"))


def _read(folder, kind):
    """What ranks have written, the earliest first: time, rank, text."""
    found = [path.read_text().split("\n", 2) for path in Path(folder).glob(f"*.{kind}")]
    return sorted(found, key=lambda report: float(report[0]))


def _end(processes):
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)
        limit = time.monotonic() + GRACE
        while time.monotonic() < limit and any(process.poll() is None for process in processes):
            time.sleep(0.02)


def _report(folder, code):
    """Print the traceback of the rank that failed first, last of all; gives its exit code, or `code`."""
    reports = _read(folder, "failed")
    if reports and code not in (0, 128 + signal.SIGINT):
        _, rank, trace = reports[0]
        print(f"tritorch launch: rank {rank} failed first:\n{trace}", end="", file=sys.stderr)
    return code


def _keep(command):
    """Run a rank's program, write down an end other than a good one, and end as it did."""
    die_with_parent()
    for name, theirs in (("RANK", ("PMI_RANK", "OMPI_COMM_WORLD_RANK")),
                         ("LOCAL_RANK", ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_RANK"))):  # fmt: skip
        found = [os.environ[each] for each in theirs if each in os.environ]
        if found:
            os.environ[name] = found[0]
    child = subprocess.Popen(command, close_fds=False, preexec_fn=die_with_parent)  # MPI's sockets are passed on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    code = _shown(child.wait())
    if code:
        _write("ended", str(code))
    os._exit(code)


def _run_rank():
    """Run the program of this rank, and write down an exception that ends it."""
    names, program = sys.argv[1], sys.argv[2:]
    if names == "--torch":
        from tritorch import alias

        alias.install()
    module = program[0] == "-m"
    sys.argv = program[1:] if module else program
    sys.path[0] = os.getcwd() if module else os.path.dirname(os.path.realpath(program[0]))
    try:
        if module:
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program[0], run_name="__main__")
    except Exception:
        _write("failed", traceback.format_exc())
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # without MPI_Finalize, which would wait for the others


if __name__ == "__main__":
    if sys.argv[1] == "--keep":
        _keep(sys.argv[2:])
    _run_rank()
