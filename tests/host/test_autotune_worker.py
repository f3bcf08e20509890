"""Trials in another process: what hangs or dies there is a failed trial with its cause, and the next one runs."""

from __future__ import annotations

import os
import signal
import time

import pytest
import tuning_toys as toys
from tuning_toys import NAME, Toy, config, ends, program

from tritorch.autotune import child, worker
from tritorch.autotune.bench import Bench
from tritorch.autotune.child import Child, ChildDied, ChildTimeout
from tritorch.autotune.trial import COMPILE, CRASH, OK, TIMEOUT, WRONG
from tritorch.autotune.worker import Worker
from tritorch.runtime import precision
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture(scope="module")
def key():
    return Bench(Toy(), INTERPRETER).asked()[0].key


def switch_of(bench):
    """Of the process it runs in."""
    return precision.get_float32_matmul_precision()


def test_a_sweep_goes_on_after_every_fault(key, monkeypatch):
    """Fault 39: one config cannot be compiled, gives wrong numbers, hangs, or takes its process with it."""
    here = Bench(Toy(), INTERPRETER)
    with Worker(INTERPRETER, timeout=3) as work:
        bench = work.bench(Toy())
        assert bench.asked() == here.asked() and (bench.work, bench.roofline) == (here.work, here.roofline)
        found = {}
        for does in (toys.GOOD, toys.RAISES, toys.WRONG, toys.HANGS, toys.DIES, toys.ABORTS, toys.GOOD):
            found[does] = bench.trial(NAME, key, config(DOES=does))
        states = [found[does].state for does in (toys.RAISES, toys.WRONG, toys.HANGS, toys.DIES, toys.ABORTS)]
        assert states == [COMPILE, WRONG, TIMEOUT, CRASH, CRASH] and work.restarts == 3
        assert found[toys.GOOD] == here.trial(NAME, key, config()) and found[toys.GOOD].state == OK
        assert found[toys.HANGS].cause == "no answer within 3 s"
        assert found[toys.DIES].cause == "the process ended with exit code 3"
        assert "signal 6" in found[toys.ABORTS].cause and "in misbehave" in found[toys.ABORTS].cause
        other = work.bench(Toy(7))
        assert other.work.bytes == 56 and other.asked()[0].known == {"size": 7}
        monkeypatch.setattr(precision, "_chosen", "high")
        assert work.ask(Toy(7), switch_of) == "high"
        monkeypatch.undo()
        first, second, broken = bench.finals(NAME, key, [config(), config(BLOCK=32), config(DOES=toys.DIES)])
        assert broken is None and [first, second] == here.finals(NAME, key, [config(), config(BLOCK=32)])
        assert work._child is None  # the last one died


def test_children_answer_raise_and_die():
    process = Child(EXTRA="seen")
    try:
        assert process.call(os.getenv, "EXTRA", timeout=60) == "seen"
        with pytest.raises(ZeroDivisionError) as raised:
            process.call(divmod, 1, 0, timeout=60)
        assert "in a child process" in raised.value.__notes__[0]
        with pytest.raises(RuntimeError, match="cannot pickle"):
            process.call(os.scandir, "/", timeout=60)
        os.kill(process.pid, signal.SIGINT)  # is for the parent
        assert process.call(abs, -3, timeout=60) == 3
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ChildDied, match="killed by signal 9"):
            process.call(abs, -3, timeout=60)
        with pytest.raises(ChildDied, match="has ended"):
            process.call(abs, -3, timeout=60)
    finally:
        process.kill()


def test_what_a_child_prints_before_it_dies_is_kept():
    process = Child()
    with pytest.raises(ChildDied, match=r"(?s)exit code 1: .*no such thing"):
        process.call(
            exec, "import os, sys; print('no such thing', file=sys.stderr, flush=True); os._exit(1)", timeout=60
        )
    with pytest.raises(ChildDied):
        process.call(abs, 1)
    hanging = Child()
    with pytest.raises(ChildTimeout, match=r"within 0\.1 s"):
        hanging.call(time.sleep, 100, timeout=0.1)
    assert ends(hanging.pid, 0.5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(how):
    """Fault 25, while the child is busy; and Ctrl-C in the parent, which leaves its blocks."""
    text = (
        "from tritorch.autotune.bench import Bench\n"
        "from tritorch.autotune.worker import Worker\n"
        "from tritorch.runtime.device import INTERPRETER\n"
        "key = Bench(Toy(), INTERPRETER).asked()[0].key\n"
        "with Worker(INTERPRETER) as worker:\n"
        "    bench = worker.bench(Toy()); bench.asked()\n"
        "    print(worker._child.pid, flush=True)\n"
        "    bench.trial(NAME, key, config(DOES=HANGS))\n"
    )
    with program(text) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.send_signal(how)
        assert ends(pid)
        assert parent.wait(10) == -how


def test_an_interrupt_ends_the_process_but_not_the_worker(monkeypatch):
    def interrupted(*_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    with Worker(INTERPRETER) as work:
        bench = work.bench(Toy())
        bench.asked()
        first = work._child
        monkeypatch.setattr(child, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.asked()
        assert first.ended and ends(first.pid, 0.5)
        assert bench.work.bytes == 800 and work._child is not first and work.restarts == 0


def test_a_problem_that_cannot_be_made_is_the_callers_error():
    with Worker(INTERPRETER) as work:
        with pytest.raises(ValueError, match="size must not be negative, got -1"):
            work.bench(Toy(-1)).asked()
        assert work.bench(Toy(7)).work.bytes == 56 and work.restarts == 0


def test_a_lost_device_means_a_fresh_process():
    class Lost:
        pid, ended = 0, False

        def call(self, function, *arguments, timeout):
            return ("a trial", True) if function is worker.answer_from_bench else None

        def kill(self):
            self.pid = None

    work, lost = Worker(INTERPRETER), Lost()
    work._child = lost
    assert work.bench(Toy()).trial(NAME, None, config()) == "a trial"
    assert lost.pid is None and work._child is None and work.restarts == 1


def test_a_device_lost_in_the_middle_is_a_crash(monkeypatch):
    class LostBench:
        lost = True

    monkeypatch.setattr(worker, "_benches", [LostBench()])
    with pytest.raises(worker.DeviceLost, match="division by zero"):
        worker.answer_from_bench(lambda _: 1 / 0, ())

    def ask(self, *_, **__):
        raise worker.DeviceLost("an illegal memory access")

    monkeypatch.setattr(Worker, "ask", ask)
    bench = Worker(INTERPRETER).bench(Toy())
    trial = bench.trial(NAME, None, config())
    assert (trial.state, trial.cause) == (CRASH, "an illegal memory access")
    assert bench.finals(NAME, None, [config(), config()]) == [None, None]
