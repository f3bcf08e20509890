"""A Bench in a process of its own: what hangs or crashes there costs one trial, and the sweep goes on.

    with Worker(device, policy="eager", seed=0, verify=True, timeout=60) as worker:    one for each GPU
        bench = worker.bench(problem)      has the methods of Bench: asked, work, roofline, trial, finals

A trial that does not come back within `timeout` seconds ends as TIMEOUT, one whose process dies or loses its CUDA
context as CRASH, with what was said last as its cause; the next call starts a fresh process. What is not a trial
(`asked`, `work`, `roofline`) raises a ChildError then. Ctrl-C reaches this process only, and leaving the block ends the
other at once.

A problem goes to the process as its class and `to_json()`; the class must be one that can be imported there. The
precision of float32 products goes with it.
"""

from __future__ import annotations

import functools
import importlib
from operator import attrgetter

from tritorch.autotune.bench import Bench, in_one_line
from tritorch.autotune.child import Child, ChildError, ChildTimeout
from tritorch.autotune.key import POLICIES, fact_text
from tritorch.autotune.problem import from_process, to_process
from tritorch.autotune.trial import CRASH, TIMEOUT, Trial
from tritorch.autotune.tunable import KERNELS, Asked
from tritorch.runtime.kernel import Kernel

TRIAL_SECONDS = 60.0
START_SECONDS = 300.0  # a fresh process imports, compiles and makes its reference before the first answer


class DeviceLost(ChildError):
    """A child whose process lived on, but can no longer use its device."""


class Worker:
    """A process that benches problems on one device; see the module's text."""

    def __init__(self, device, policy=POLICIES[0], seed=0, verify=True, timeout=TRIAL_SECONDS):
        self.settings = device, policy, seed, verify
        self.timeout, self.restarts, self._child, self._ready = timeout, 0, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def bench(self, problem):
        """The bench of a problem in the process."""
        return RemoteBench(self, problem)

    def close(self):
        """End the process; the next call starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = self._ready = None

    def ask(self, problem, function, *arguments, timeout=None):
        """What a module's `function(bench, *arguments)` gives there; a ChildError where nothing came back."""
        described = to_process(problem)
        if self._child is not None and self._child.ended:  # by an interrupt
            self.close()
        if self._child is None:
            self._child = Child()
        try:
            if self._ready != described:  # what this takes is not to be counted against the first trial
                self._child.call(open_bench, described, self.settings, timeout=START_SECONDS)
                self._ready = described
            answer, lost = self._child.call(answer_from_bench, function, arguments, timeout=timeout or START_SECONDS)
        except ChildError:
            self._restart()
            raise
        if lost:
            self._restart()
        return answer

    def _restart(self):
        self.restarts += 1
        self.close()


class RemoteBench:
    """A Bench whose work is done by a Worker's process."""

    def __init__(self, worker, problem):
        self.worker, self.problem = worker, problem

    def asked(self):
        """What the problem asks configs for; a fact that is a kernel comes as text."""
        return [_here(*each) for each in self._ask(_portable_asked)]

    @functools.cached_property
    def work(self):
        """The Work of one call."""
        return self._ask(attrgetter("work"))

    @functools.cached_property
    def roofline(self):
        """The seconds that one call takes at least on the device."""
        return self._ask(attrgetter("roofline"))

    def trial(self, kernel_name, key, config, others=()):
        """The Trial of a config, whatever becomes of it or of the process."""
        try:
            return self._ask(Bench.trial, kernel_name, key, config, others, timeout=self.worker.timeout)
        except ChildTimeout as error:
            return Trial(config).failed(TIMEOUT, in_one_line(str(error)))
        except ChildError as error:
            return Trial(config).failed(CRASH, in_one_line(str(error)))

    def finals(self, kernel_name, key, configs, others=()):
        """The Timing of each config, turn by turn; where the process ends, of each that can be measured alone."""
        configs, timeout = list(configs), self.worker.timeout * max(len(configs), 1)
        try:
            return self._ask(Bench.finals, kernel_name, key, configs, others, timeout=timeout)
        except ChildError:
            if len(configs) <= 1:
                return [None] * len(configs)
        return [timing for config in configs for timing in self.finals(kernel_name, key, [config], others)]

    def _ask(self, function, *arguments, timeout=None):
        return self.worker.ask(self.problem, function, *arguments, timeout=timeout)


def _here(kernel_name, *rest):
    """An Asked of the process as one of this process."""
    if kernel_name not in KERNELS:
        importlib.import_module(kernel_name.rpartition(".")[0])
    return Asked(KERNELS[kernel_name], *rest)


def _portable(value):
    """A size or a fact as what another process can read."""
    if isinstance(value, tuple):
        return tuple(map(_portable, value))
    return fact_text("", value) if isinstance(value, Kernel) else value


# What follows runs in the process.

_benches: list[Bench] = []  # the one that is open


def open_bench(described, settings):
    """Make the bench of a problem, in the place of the one before."""
    _benches.clear()
    bench = Bench(from_process(described), *settings)
    _benches.append(bench)
    bench.asked()
    bench.prepare()


def answer_from_bench(function, arguments):
    """What a function of the open bench gives, and whether the device is lost since."""
    (bench,) = _benches
    try:
        return function(bench, *arguments), bench.lost
    except Exception as error:
        if bench.lost:
            raise DeviceLost(str(error)) from None
        raise


def _portable_asked(bench):
    return [
        (each.kernel.kernel_name, each.key, each.device, {name: _portable(what) for name, what in each.known.items()},
         each.config)
        for each in bench.asked()
    ]  # fmt: skip
