"""Ranks that die, stall or disagree: every rank ends, in time and with a reason, and none is left."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from ranks import run_ranks

from tritorch.distributed.store import TCPStore
from tritorch.distributed.watch import Watch

TIMEOUT = 2

_SCRIPT = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
import tritorch as torch, tritorch.distributed as dist

what, folder = sys.argv[1], Path(sys.argv[2])
dist.init_process_group("mpi", timeout=timedelta(seconds=2))
rank = dist.get_rank()
(folder / f"{rank}.pid").write_text(str(os.getpid()))
pair = dist.new_group([1, 2])
dist.all_reduce(torch.ones(3))
if what in ("stall", "caught"): time.sleep(0.7)  # the board hears of it
dist.barrier()
if rank == 1:
    (folder / "event").touch()
    if what == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave": os._exit(7)
    if what == "raise": raise ValueError("broken here")
    if what == "interrupt": os.kill(os.getpid(), signal.SIGINT); time.sleep(60)
    if what in ("stall", "caught"): time.sleep(60)
if what == "disagree":
    try: dist.broadcast(torch.ones(3 + rank), 0)
    except RuntimeError as error: print(error)
    if rank == 1: dist.broadcast(torch.ones(4), 0)
if what == "caught":
    try: dist.recv(torch.ones(4), 1) if rank == 0 else dist.all_reduce(torch.ones(4), group=pair)
    except RuntimeError as error: print(error, flush=True)
    time.sleep(0.7)
    sys.exit(1)
dist.all_reduce(torch.ones(4))
"""

_WAITED = "waited for rank 1, whose last call was barrier #3"


@pytest.mark.parametrize(
    "what, messages",
    [
        ("kill", []),
        ("raise", ["broken here"]),
        ("interrupt", ["MPI_Abort(", ", 130) - process 1"]),
        ("stall", ["timed out after 2 s in all_reduce SUM of float32[4] #4: " + _WAITED]),
        (
            "caught",
            [
                "rank 0 timed out after 2 s in receive of float32[4] from rank 1: " + _WAITED,
                "rank 2 timed out after 2 s in all_reduce SUM of float32[4] #1 of group '1': waited for rank 1",
            ],
        ),
        (
            "disagree",
            [
                "rank 1 called broadcast of float32[4] from rank 0; rank 2 called broadcast of float32[5]",
                "ranks 0, 2 called all_reduce SUM of float32[4]; rank 1 called broadcast of float32[4] from rank 0",
            ],
        ),
    ],
)
def test_a_rank_that_fails_ends_all(tmp_path, what, messages):
    done = run_ranks(3, _SCRIPT, arguments=[what, tmp_path])
    assert time.time() - (tmp_path / "event").stat().st_mtime < TIMEOUT + 5
    said = done.stdout + done.stderr
    assert done.returncode and all(message in said for message in messages), said
    assert "KeyboardInterrupt" not in said and ("timed out" in said) == (what in ("stall", "caught"))
    assert not [path for path in tmp_path.glob("*.pid") if Path("/proc", path.read_text()).exists()]


def test_whoever_waits_for_a_dead_rank_is_told(tmp_path):
    keep = ["-disable-auto-cleanup"]  # else mpiexec ends the others before they can say why
    done = run_ranks(3, _SCRIPT, arguments=["leave", tmp_path], options=keep)
    assert time.time() - (tmp_path / "event").stat().st_mtime < TIMEOUT + 5
    assert done.returncode and "rank 1 died while rank " in done.stderr, done.stderr
    assert "waited in all_reduce SUM of float32[4] #4" in done.stderr


_PEER = """
import sys
from tritorch.distributed.store import TCPStore
from tritorch.distributed.watch import Watch
watch = Watch(int(sys.argv[2]), TCPStore("127.0.0.1", int(sys.argv[1])))
watch.calls["world"] = [1, "barrier #1"]
print("here", flush=True)
if input() == "goodbye": watch.close()
"""


def test_a_dropped_connection_is_a_death_and_a_goodbye_is_not():
    store = TCPStore("127.0.0.1", is_master=True)
    watch, engine = Watch(0, store), SimpleNamespace(rank=0, size=3, ranks=[0, 1, 2], timeout=60, group_name="world")
    peers = [
        subprocess.Popen([sys.executable, "-c", _PEER, str(store.port), str(rank)], stdin=-1, stdout=-1, text=True)
        for rank in (1, 2)
    ]
    assert [peer.stdout.readline() for peer in peers] == ["here\n"] * 2
    peers[0].communicate("goodbye\n")
    peers[1].kill()
    peers[1].communicate()
    store.wait(["dead/2"], timedelta(seconds=10))
    with pytest.raises(RuntimeError, match=r"^rank 2 died while rank 0 waited in barrier #2$"):
        begun, ends = time.monotonic(), time.monotonic() + 10
        while time.monotonic() < ends:
            watch.look(engine, "barrier #2", begun)
            time.sleep(0.02)
    assert not store.check(["dead/1"])
    watch.look(SimpleNamespace(**{**vars(engine), "size": 2, "ranks": [0, 1]}), "barrier #2", begun)
    watch.close()
    store.close()


_MASTER = """
from tritorch.distributed.store import TCPStore
print(TCPStore("127.0.0.1", is_master=True).port, flush=True)
input()
"""


def test_rank_0_is_dead_when_its_store_is_gone(capfd):
    master = subprocess.Popen([sys.executable, "-c", _MASTER], stdin=-1, stdout=-1, text=True)
    watch = Watch(1, TCPStore("127.0.0.1", int(master.stdout.readline())))
    master.kill()
    master.communicate()
    engine, begun = SimpleNamespace(rank=1, size=2, ranks=[0, 1], timeout=60, group_name="world"), time.monotonic()
    with pytest.raises(RuntimeError, match=r"^rank 0 died while rank 1 waited in barrier #1$"):
        while time.monotonic() < begun + 10:
            watch.look(engine, "barrier #1", begun)
            time.sleep(0.02)
    watch.close()
    watch.store.close()
    assert not capfd.readouterr().err
