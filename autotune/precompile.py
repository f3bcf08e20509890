"""Compiles candidates in many processes before one of them is launched: no GPU is needed, and Triton's cache keeps all.

    with Compilers(jobs=None) as compilers:         one process for each core, started when there is work
        for config, found in compilers.compile(problem, device_info, kernel_name, key, configs, others=()):
            found is a Resources, or a Trial that says why the config cannot run

They come as they are done, each config once. `precompile(..., jobs=None)` does it with processes of its own. What
cannot run is told by rules, in this order:

- more than 1024 threads: RESOURCES, without compiling;
- a config that differs from one whose shared memory does not fit in a larger num_stages only: RESOURCES, without
  compiling, since every stage holds another copy of the operands;
- the compiler refuses it, or dies: COMPILE; it does not end: TIMEOUT;
- more shared memory than a block of the device may have, or more registers for its threads than a multiprocessor has:
  RESOURCES.

A config that spills runs, and is slow: `spills_much` says for which a search had better try all others first.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from multiprocessing.connection import wait

import numpy as np

from tritorch.autotune.bench import NotAsked, explained, in_one_line
from tritorch.autotune.child import Child, ChildDied
from tritorch.autotune.key import POLICIES
from tritorch.autotune.problem import from_process, to_process
from tritorch.autotune.trial import COMPILE, RESOURCES, TIMEOUT, Resources, Trial
from tritorch.autotune.tunable import KERNELS, pretending, using
from tritorch.runtime import transfer
from tritorch.runtime.binding import binder_of, checked_grid
from tritorch.runtime.compile import REGISTERS
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import materialise, recording_launches

COMPILE_SECONDS = 120.0  # of one config
START_SECONDS = 120.0  # more, for the first of a process, which imports
MOST_THREADS = 1024  # of a block, on every GPU
_REGISTER_UNIT = 256  # a warp gets a multiple of these
MUCH_SPILLED = 256  # bytes of a thread

# NumPy would start threads in each process, which compiling does not use.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def precompile(problem, device, kernel_name, key, configs, others=(), jobs=None):
    """Compile configs of a problem's kernel for the GPU that a DeviceInfo describes; see the module's text."""
    with Compilers(jobs) as compilers:
        yield from compilers.compile(problem, device, kernel_name, key, configs, others)


def spills_much(resources):
    """Whether a thread keeps so much in memory that every config which does not is better tried first."""
    return (resources.spills or 0) >= MUCH_SPILLED


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Compilers:
    """Processes that compile; see the module's text."""

    def __init__(self, jobs=None):
        self.jobs = jobs or _cores()
        self._idle: list[Child] = []
        self._busy: dict[Child, tuple] = {}  # child -> (config, when it is given up)
        self._fresh: set[Child] = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all processes at once."""
        for child in (*self._idle, *self._busy):
            child.kill()
        self._idle.clear()
        self._busy.clear()
        self._fresh.clear()

    def compile(self, problem, device, kernel_name, key, configs, others=()):
        """(config, Resources or a failed Trial) for each config, as they are done."""
        call = to_process(problem), device, kernel_name, key, tuple(others)
        waiting = sorted(configs, key=lambda config: config.get("num_stages") or 0)  # least shared memory first
        too_large: list[dict] = []
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < self.jobs:
                    config = waiting.pop(0)
                    cause = _refused(config, too_large)
                    if cause:
                        yield config, Trial(config).failed(RESOURCES, cause)
                    else:
                        self._start(config, call)
                for config, found in self._done(device):
                    if isinstance(found, Trial) and (found.resources.shared_memory or 0) > device.shared_memory:
                        too_large.append(config)
                    yield config, found
        except BaseException:
            self.close()  # what is left would answer the next call
            raise

    def _start(self, config, call):
        if not self._idle:
            self._idle.append(Child(**_ONE_THREAD))
            self._fresh.add(self._idle[-1])
        child = self._idle.pop()
        limit = COMPILE_SECONDS + (START_SECONDS if child in self._fresh else 0)
        self._fresh.discard(child)
        self._busy[child] = config, time.monotonic() + limit
        child.send(compile_one, *call, config)

    def _done(self, device):
        """(config, what was found) of the processes that are ready or are given up, after waiting for one."""
        if not self._busy:
            return
        until = min(limit for _, limit in self._busy.values())
        ready = wait([child.connection for child in self._busy], max(until - time.monotonic(), 0))
        for child, (config, limit) in list(self._busy.items()):
            if child.connection in ready:
                yield config, self._received(child, config, device)
            elif time.monotonic() >= limit:
                del self._busy[child]
                child.kill()
                yield config, Trial(config).failed(TIMEOUT, f"not compiled within {COMPILE_SECONDS:g} s")

    def _received(self, child, config, device):
        del self._busy[child]
        self._idle.append(child)
        try:
            found = child.receive()
        except ChildDied as error:
            self._idle.remove(child)
            return Trial(config).failed(COMPILE, in_one_line(f"the compiler died: {error}"))
        return judged(config, found, device) if isinstance(found, Resources) else Trial(config).failed(*found)


def _refused(config, too_large):
    """Why a config need not be compiled, or an empty text."""
    if 32 * (config.get("num_warps") or 4) > MOST_THREADS:
        return f"{32 * config['num_warps']} threads, a block has at most {MOST_THREADS}"
    for other in too_large:
        stages = other.get("num_stages") or 0
        if config | {"num_stages": stages} == other | {"num_stages": stages} and config["num_stages"] > stages:
            return f"needs more shared memory than with num_stages={stages}, which does not fit"
    return ""


def judged(config, used, device):
    """What a config takes, or a Trial saying that a block of the device does not have it."""
    if used.shared_memory is not None and used.shared_memory > device.shared_memory:
        cause = (
            f"needs {used.shared_memory} bytes of shared memory, a block of {device.name} has {device.shared_memory}"
        )
        return Trial(config, resources=used).failed(RESOURCES, cause)
    warps = config.get("num_warps") or 4
    unit = -(-(used.registers or 0) * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    if unit * warps > REGISTERS:
        cause = f"needs {unit * warps} registers for {32 * warps} threads, a multiprocessor has {REGISTERS}"
        return Trial(config, resources=used).failed(RESOURCES, cause)
    return used


# What follows runs in the processes.

_calls: list = []  # what is compiled for, and its call


def compile_one(described, device, kernel_name, key, others, config):
    """What a config takes, as Resources, or (state, cause) where it cannot be compiled."""
    call = _call_of(described, device)
    try:
        launches = launches_with(call, device, kernel_name, key, config, others)
        used = [_compiled(*each, device) for each in distinct(launches)]
    except NotAsked:
        raise
    except Exception as error:
        return explained(error)
    return Resources(*(max(values) for values in zip(*used, strict=True)))


def _call_of(described, device):
    if not _calls or _calls[0] != (described, device):
        transfer.empty_on_host = np.zeros  # nothing runs, and what is not touched takes no memory
        with pretending(device):
            _calls[:] = (described, device), from_process(described).call(INTERPRETER, values=False)
        materialise()  # a user's kernels too, which were imported just now
    return _calls[1]


def launches_with(call, device, kernel_name, key, config, others=()):
    """The launches of a kernel that a call on the host would make on a GPU with a config, without making them."""
    with ExitStack() as stack:
        stack.enter_context(pretending(device))
        for name, where, what in ((kernel_name, key, config), *others):
            stack.enter_context(using(KERNELS[name], where.with_policy(POLICIES[0]), what))
        launches = stack.enter_context(recording_launches(run=False))
        call.run()
    found = [each for each in launches if each.kernel is KERNELS[kernel_name]]
    if not any(all(each.keywords.get(name, value) == value for name, value in config.items()) for each in found):
        raise NotAsked(f"no launch of {kernel_name} takes the config {config}: another key is asked for")
    return found


def distinct(launches):
    """(kernel, values of its parameters, options) of launches, once for all that the compiler is told the same of.

    A recurrent layer may launch its kernel for each step, with another number of the step.
    """
    from tritorch.runtime.specialise import specialise

    found = {}
    for launch in launches:
        checked_grid(launch.kernel, launch.grid)
        values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
        found.setdefault(repr((specialise(launch.kernel, values), options)), (launch.kernel, values, options))
    return list(found.values())


def _compiled(kernel, values, options, device):
    from tritorch.runtime.compile import compile_values, resources

    used = resources(compile_values(kernel, values, options, device.capability))
    return used.registers, used.spills, used.shared_memory
