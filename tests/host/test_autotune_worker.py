"""Trials in another process: what hangs or dies there is a failed trial with its cause, and the next one runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tuning_toys as toys
from tuning_toys import NAME, Toy, config

from tritorch.autotune.bench import Bench
from tritorch.autotune.trial import COMPILE, CRASH, OK, TIMEOUT, WRONG
from tritorch.autotune.worker import Worker
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def key():
    return Bench(Toy(), INTERPRETER).asked()[0].key


def ends(pid, seconds=10.0):
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_a_sweep_goes_on_after_every_fault(key):
    """Fault 39: one config cannot be compiled, gives wrong numbers, hangs, or takes its process with it."""
    here = Bench(Toy(), INTERPRETER)
    with Worker(INTERPRETER, timeout=1.5) as work:
        bench = work.bench(Toy())
        assert bench.asked() == here.asked() and (bench.work, bench.roofline) == (here.work, here.roofline)
        found = {}
        for does in (toys.GOOD, toys.RAISES, toys.WRONG, toys.HANGS, toys.DIES, toys.ABORTS, toys.GOOD):
            found[does] = bench.trial(NAME, key, config(DOES=does))
        states = [found[does].state for does in (toys.RAISES, toys.WRONG, toys.HANGS, toys.DIES, toys.ABORTS)]
        assert states == [COMPILE, WRONG, TIMEOUT, CRASH, CRASH] and work.restarts == 3
        assert found[toys.GOOD] == here.trial(NAME, key, config()) and found[toys.GOOD].state == OK
        assert found[toys.HANGS].cause == "no answer within 1.5 s"
        assert found[toys.DIES].cause == "the process ended with exit code 3"
        assert "signal 6" in found[toys.ABORTS].cause and "in misbehave" in found[toys.ABORTS].cause
        first, broken, second = bench.finals(NAME, key, [config(), config(DOES=toys.DIES), config(BLOCK=32)])
        assert broken is None and [first, second] == here.finals(NAME, key, [config(), config(BLOCK=32)])
        other = work.bench(Toy(7))
        assert other.work.bytes == 56 and other.asked()[0].known == {"size": 7}
        pid = work._child.pid
    assert ends(pid, 0.5)
