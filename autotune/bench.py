"""Tries configs of one problem on one device, in this process: right or wrong, how fast, and what it takes.

    bench = Bench(problem, device, policy="eager", seed=0, verify=True)
    bench.asked()                    [Asked]: what the problem asks configs for; keys carry the bench's policy
    bench.work, bench.roofline       the Work of one call, and the seconds it takes at least on the device
    bench.prepare()                  makes now what the first trial would wait for
    bench.trial(kernel_name, key, config, others=())      -> Trial, whatever becomes of the config
    bench.finals(kernel_name, key, configs, others=())    -> [Timing or None], turn by turn; None where it did not run

`kernel_name` and `key` are those of an Asked (`asked.kernel.kernel_name`, `asked.key`). `others` are the configs that
the problem's other kernels run with, as (kernel_name, key, config); those not named get what launches are answered.

What is timed is the whole call, all its launches one after the other. What is compared are its results, made in memory
full of NaN between canaries; its arguments lie between canaries too, where `Problem.call` places them with
`transfer.mirror`. `Worker` (worker.py) has the same methods, in a process that may die.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace

from tritorch.autotune import roofline
from tritorch.autotune.clock import clock_for
from tritorch.autotune.key import POLICIES, describe_key
from tritorch.autotune.problem import configs_asked
from tritorch.autotune.trial import COMPILE, CRASH, LAUNCH, NO_MEMORY, RESOURCES, WRONG, Resources, Trial
from tritorch.autotune.tunable import KERNELS, noting_configs, using
from tritorch.runtime.compile import refused_by_compiler
from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda.memory import OutOfMemoryError
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.interpreter import KernelError
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.launcher import OutOfResources, entries

CHECKED_BYTES = 64 << 20  # up to here arguments are looked at after each trial, to see that nothing wrote to them
_LONGEST = 500  # characters of a cause


class NotAsked(LookupError):
    """A kernel and key for which a problem does not ask a config, so that trying one would say nothing."""


class Bench:
    """Tries configs of a Problem on a Device; see the module's text."""

    def __init__(self, problem, device, policy=POLICIES[0], seed=0, verify=True):
        if device.type == "cpu":
            raise ValueError("device 'cpu' launches no kernels, so there is nothing to tune; use cuda or interpreter")
        if policy not in POLICIES:
            raise ValueError(f"no policy named {policy!r}; there are {', '.join(POLICIES)}")
        self.problem, self.device, self.policy, self.seed, self.verify = problem, device, policy, seed, verify

    @functools.cached_property
    def _prepared(self):
        """The call, and the guard of its arguments."""
        with guarded_memory() as arguments:
            return self.problem.call(self.device), arguments

    def asked(self):
        """What the problem asks configs for, as a list of Asked, each kernel and key once."""
        return [each._replace(key=each.key.with_policy(self.policy)) for each in configs_asked(self._prepared[0])]

    def prepare(self):
        """Make ready what the first trial would wait for."""
        if self.verify:
            self._prepared[0].prepare()

    @property
    def work(self):
        """The Work of one call."""
        return self._prepared[0].work

    @property
    def roofline(self):
        """The seconds that one call takes at least on this device."""
        return roofline.seconds(self.work, self.device)

    @functools.cached_property
    def clock(self):
        """What times launches here."""
        return clock_for(self.device, self.policy, self.seed, self.roofline)

    @property
    def lost(self):
        """Whether an error has made the device useless in this process."""
        return self.device.is_cuda and driver.context_lost()

    def trial(self, kernel_name, key, config, others=()):
        """Run the problem with a config, compare and time it; the Trial says what became of it."""
        trial, _ = Trial(config), self._prepared  # a problem that cannot be made is no fault of the config
        try:
            with guarded_memory() as results:
                launches, made = self._launched(kernel_name, key, config, others)
            trial = replace(trial, resources=_resources(kernel_name, launches))
            if self.verify:
                trial = self._verified(trial, made, results)
            if trial.state == WRONG:
                self.__dict__.pop("_prepared")  # it may have written anywhere
                return trial
            return replace(trial, timing=self.clock.measure(launches))
        except NotAsked:
            raise
        except Exception as error:
            return trial.failed(*explained(error))

    def finals(self, kernel_name, key, configs, others=()):
        """The Timing of each of a few configs, measured turn by turn; None for one that did not run."""
        _, replays = self._prepared, []
        for config in configs:
            try:
                replays.append(self._launched(kernel_name, key, config, others)[0])
            except Exception as error:
                if self.lost or isinstance(error, NotAsked):
                    raise
                replays.append(None)
        timings = iter(self.clock.finals([each for each in replays if each is not None]))
        return [None if each is None else next(timings) for each in replays]

    def _launched(self, kernel_name, key, config, others):
        """The launches of one call with a config, and its results."""
        chosen = [(kernel_name, key, config), *others]
        with contextlib.ExitStack() as stack:
            for name, where, what in chosen:
                stack.enter_context(using(KERNELS[name], where.with_policy(POLICIES[0]), what))
            asked = stack.enter_context(noting_configs())
            launches = stack.enter_context(recording_launches())
            results = self._prepared[0].run()
        if not any(each.kernel is KERNELS[kernel_name] and each.config is config for each in asked):
            problem = f"{self.problem.name} {self.problem.label}"
            raise NotAsked(f"{problem} asks for no config of {kernel_name} under the key {describe_key(key)}")
        return launches, results

    def _verified(self, trial, made, results):
        """The trial with its error, WRONG where the numbers or what was written differ from what they should be."""
        call, arguments = self._prepared
        error, where = call.compare(made)
        error = float(error)
        trial = replace(trial, error=error)
        if not error <= 1:
            return trial.failed(WRONG, in_one_line(f"{error:.3g} times the difference that is allowed: {where}"))
        broken = results.broken() + arguments.broken()
        if broken:
            buffers = len(results.buffers) + len(arguments.buffers)
            return trial.failed(WRONG, f"wrote beside {broken} of {buffers} arrays")
        if arguments.input_bytes <= CHECKED_BYTES and arguments.changed():
            return trial.failed(WRONG, f"wrote to {arguments.changed()} arguments that it must only read")
        return trial


def _resources(kernel_name, launches):
    """What the versions of a kernel that these launches used take at most; unknown where nothing was compiled."""
    kernel, used = KERNELS[kernel_name], []
    for launch in launches:
        if launch.kernel is kernel:
            wanted = launch.keywords
            for entry in entries(kernel):
                compiled = {**entry.constants, **entry.options}
                if all(name not in compiled or compiled[name] == value for name, value in wanted.items()):
                    used.append((entry.registers, entry.spills, entry.shared_memory))
    return Resources(*map(max, zip(*used, strict=True))) if used else Resources()


def explained(error):
    """The state of a trial that ended with an exception, and its cause in one line."""
    if isinstance(error, OutOfResources):
        state = RESOURCES
    elif _is_out_of_memory(error):
        state = NO_MEMORY
    elif refused_by_compiler(error) or isinstance(error, KernelError):
        state = COMPILE
    elif isinstance(error, driver.CudaError) and error.code in driver.FATAL:
        state = CRASH
    else:
        state = LAUNCH
    return state, in_one_line(f"{type(error).__name__}: {error}")


def _is_out_of_memory(error):
    """Whether memory was lacking, be it the allocator that says so or the driver, at a launch or as code is loaded."""
    return isinstance(error, (OutOfMemoryError, MemoryError)) or (
        isinstance(error, driver.CudaError) and error.code == driver.OUT_OF_MEMORY
    )


def in_one_line(text):
    """A text without its line ends, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
