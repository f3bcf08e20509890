"""Candidates compiled in processes: what they take, which cannot run and why, and no process is left behind."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import tuning_toys as toys
from tuning_toys import MULTIPLY, Product, ends, program

from tritorch.autotune import generation, precompile
from tritorch.autotune.bench import NotAsked
from tritorch.autotune.precompile import Compilers, distinct, judged, spills_much
from tritorch.autotune.problem import configs_asked
from tritorch.autotune.trial import COMPILE, RESOURCES, TIMEOUT, Resources
from tritorch.autotune.tunable import pretending
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import Kernel, materialise, recording_launches
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

H200 = generation(90)


@pytest.fixture(scope="module")
def key():
    with pretending(H200):
        (asked,) = configs_asked(Product().call(INTERPRETER, values=False))
    return asked.key


@pytest.fixture(scope="module")
def compilers():
    with Compilers(jobs=2) as compilers:
        yield compilers


def config(**knobs):
    return {"SIDE": 64, "DEPTH": 32, "DOES": toys.GOOD, "num_warps": 4, "num_stages": 2} | knobs


def results(found):
    """What was found, by the knobs in which a config differs from the usual one."""
    return [({name: value for name, value in each.items() if value != config()[name]}, what) for each, what in found]


def test_what_runs_and_what_does_not(compilers, key, monkeypatch):
    monkeypatch.setattr(compilers, "jobs", 1)  # in order
    deep = {"DEPTH": 256}
    candidates = [{}, {"DOES": toys.RAISES}, {"num_warps": 64}, deep | {"num_stages": 4}, deep | {"num_stages": 6}]
    there = replace(key, policy="graph")  # how it is timed decides nothing of what is compiled
    found = results(compilers.compile(Product(), H200, MULTIPLY, there, [config(**each) for each in candidates]))
    assert len(found) == len(candidates)
    found = {tuple(differs.items()): what for differs, what in found}
    good, refused, threads, shared, more = (found[tuple(each.items())] for each in candidates)
    assert isinstance(good, Resources) and 0 < good.registers <= 255 and not spills_much(good)
    assert 0 < good.shared_memory <= H200.shared_memory
    assert refused.state == COMPILE and "this config cannot be compiled" in refused.cause
    assert (threads.state, threads.cause) == (RESOURCES, "2048 threads, a block has at most 1024")
    assert shared.state == RESOURCES and shared.resources.shared_memory > H200.shared_memory
    assert shared.cause.endswith("bytes of shared memory, a block of sm_90 has 232448")
    cause = "needs more shared memory than with num_stages=4, which does not fit"
    assert (more.state, more.cause, more.resources) == (RESOURCES, cause, Resources())


def test_a_compiler_that_dies_or_hangs_costs_one_config(compilers, key, monkeypatch):
    good = [config(), config(SIDE=16)]
    list(compilers.compile(Product(), H200, MULTIPLY, key, good))  # then two processes are there, and know these
    monkeypatch.setattr(precompile, "COMPILE_SECONDS", 4.0)
    candidates = [config(DOES=toys.DIES), config(DOES=toys.HANGS), *good]
    found = {each["DOES"]: what for each, what in compilers.compile(Product(), H200, MULTIPLY, key, candidates)}
    died = found[toys.DIES]
    assert (died.state, died.cause) == (COMPILE, "the compiler died: the process ended with exit code 3")
    assert (found[toys.HANGS].state, found[toys.HANGS].cause) == (TIMEOUT, "not compiled within 4 s")
    assert isinstance(found[toys.GOOD], Resources)


def test_leaving_early_ends_the_processes(key):
    pool = Compilers(jobs=2)
    work = pool.compile(Product(), H200, MULTIPLY, key, [config(), config(DOES=toys.HANGS), config(SIDE=16)])
    next(work)
    processes = [child.process for child in (*pool._idle, *pool._busy)]
    assert len(processes) == 2
    work.close()
    assert all(process.returncode is not None for process in processes)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_compiler_outlives_its_parent(how):
    text = (
        "from tritorch.autotune import generation, precompile\n"
        "def child(**environment):\n"
        "    started = Child(**environment)\n"
        "    print(started.pid, flush=True)\n"
        "    return started\n"
        "Child, precompile.Child = precompile.Child, child\n"
        "config = multiply_default(None, size=0) | {'DOES': HANGS}\n"
        "list(precompile.precompile(Product(), generation(90), MULTIPLY, None, [config, config], jobs=2))\n"
    )
    with program(text) as parent:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
        assert all(ends(pid) for pid in children) and parent.wait(10) == -how


def test_a_key_that_is_not_asked_is_an_error(compilers, key):
    other = replace(key, sizes=(replace(key.sizes[0], most=48),))
    with pytest.raises(NotAsked, match="another key is asked for"):
        list(compilers.compile(Product(), H200, MULTIPLY, other, [config(SIDE=256)]))


def test_registers_are_counted_by_warp():
    many = judged({"num_warps": 16}, Resources(200, 0, 0), H200)
    assert many.cause == "needs 102400 registers for 512 threads, a multiprocessor has 65536"
    used = Resources(128, 300, 0)
    assert judged({"num_warps": 16}, used, H200) is used and spills_much(used)


@Kernel
def counting(
    x,  # written: (n,)
    step,
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(x + i * step, 1.0)


def test_launches_alike_are_compiled_once():
    x = np.zeros(64, np.float32)
    materialise()
    with recording_launches(run=False) as launches:
        for step in (2, 3, 5, 16, 32):  # 16 divides the last two
            counting[(4,)](x, step, BLOCK=16)
        counting[(4,)](x, 3, BLOCK=32)
    assert [(values[1], values[2]) for _, values, _ in distinct(launches)] == [(2, 16), (16, 16), (3, 32)]
