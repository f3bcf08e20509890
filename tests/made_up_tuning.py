"""A kernel, problems and a worker that are made up: the tuner's whole way without a kernel run, for tests of it.

python made_up_tuning.py STORE LOG EFFORT [PAUSE]     a sweep, which writes to LOG which configs it tries
"""

from __future__ import annotations

import math
import random
import sys
import time
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from tritorch.autotune import choices, kernel, powers, warps
from tritorch.autotune.problem import Call, Problem, Work, configs_asked
from tritorch.autotune.trial import Timing, Trial, config_name
from tritorch.runtime.device import INTERPRETER


def scale_default(device, *, n):
    """Blocks of 256, whatever the size."""
    return {"BLOCK": 256, "num_warps": 4}


@kernel(
    space={"BLOCK": powers(16, 1024), "num_warps": warps(), "UNROLL": choices(1, 2, 4, default=1)},
    default=lambda device, *, n: {**scale_default(device, n=n), "UNROLL": 1},
)
def scale(x, n, BLOCK, UNROLL):
    """Not a kernel that runs."""


@kernel(space={"BLOCK": powers(16, 1024), "num_warps": warps()}, default=scale_default)
def shift(x, n, BLOCK):
    """Nor this."""


class MadeUp(Problem):
    """Asks configs for `scale`, or for both kernels, at a size."""

    kind = "made up"

    def __init__(self, n, both=False, dtype="float32", name="made_up", wrong=False):
        self.n, self.both, self.dtype, self.name, self.wrong = n, both, dtype, name, wrong
        self.label = f"n={n}"

    def to_json(self):
        return {"n": self.n, "both": self.both, "dtype": self.dtype}

    @classmethod
    def from_json(cls, found):
        return cls(**found)

    def call(self, device, values=True):
        return MadeUpCall(self)


class MadeUpCall(Call):
    """Asks, and does nothing else."""

    def __init__(self, problem):
        self.problem, self.work = problem, Work(2 * problem.n, 8 * problem.n, problem.dtype)

    def run(self):
        if self.problem.wrong:
            raise ValueError("a problem that cannot be called")
        array = np.zeros(4, self.problem.dtype)
        scale.config((array,), n=self.problem.n)
        if self.problem.both:
            shift.config((array, None), n=self.problem.n)
        return (array,)

    def compare(self, results):
        return 0.0, ""


def cost(config):
    """Seconds of a config: least for blocks of 64 in 2 warps, unrolled twice; of other kernels, anything."""
    if "BLOCK" not in config:
        return 1e-5 * (1 + zlib.crc32(config_name(config).encode()) % 1000 / 1000)
    steps = [math.log2(config["BLOCK"] / 64), math.log2(config["num_warps"] / 2), config.get("UNROLL", 2) - 2]
    return 1e-5 * (1 + 0.1 * sum(step * step for step in steps))


class MadeUpWorker:
    """In the place of worker.Worker: trials by formula.

    fails   {kernel's name: function of a config that gives a state to fail with, or None}
    tried   (kernel's name, config name, others) of each trial
    asks    what its device asks for, where that is not what the problem says: a function of a list of Asked
    """

    def __init__(self, *settings, **_):
        self.settings = settings
        self.tried, self.finals_held, self.opened, self.closed = [], [], [], 0

    fails: ClassVar = {}
    asks = staticmethod(lambda asked: asked)
    broken: tuple = ()  # problems that cannot be opened
    roofline = 1e-9
    log = None
    pause = 0.0
    ticks = staticmethod(lambda: None)  # called at each trial

    def bench(self, problem):
        self.opened.append(problem)
        return MadeUpBench(self, problem)

    def close(self):
        self.closed += 1


class MadeUpBench:
    """In the place of worker.RemoteBench."""

    def __init__(self, worker, problem):
        self.worker, self.problem, self.roofline = worker, problem, worker.roofline
        self.work = problem.call(INTERPRETER, values=False).work

    def asked(self):
        if self.problem in self.worker.broken:
            raise RuntimeError("the process died at once")
        policy = self.worker.settings[1]
        asked = configs_asked(self.problem.call(INTERPRETER, values=False))
        return self.worker.asks([each._replace(key=each.key.with_policy(policy)) for each in asked])

    def trial(self, kernel_name, key, config, others=()):
        worker = self.worker
        worker.ticks()
        worker.tried.append((kernel_name, config_name(config), list(others)))
        if worker.log is not None:
            with open(worker.log, "a") as file:
                file.write(f"{key.digest} {config_name(config)}\n")
        time.sleep(worker.pause)
        state = worker.fails.get(kernel_name.rpartition(".")[2], lambda config: None)(config)
        if state is not None:
            return Trial(config).failed(state, "it was planned so")
        return Trial(config, timing=_timing(config), error=0.5)

    def finals(self, kernel_name, key, configs, others=()):
        self.worker.finals_held.append((kernel_name, configs))
        return [_timing(each) for each in configs]


def _timing(config):
    seconds = cost(config) * (1 + random.Random(config_name(config)).uniform(0, 0.002))
    return Timing(seconds, seconds, seconds, 10)


def main(root, log, effort, pause="0"):
    """Sweep three problems into a store, one subject of them in common."""
    from tritorch.autotune import tuner
    from tritorch.autotune.store import Store

    tuner.Worker = MadeUpWorker
    MadeUpWorker.log, MadeUpWorker.pause = log, float(pause)
    problems = [tuner.Weighted(MadeUp(n, both)) for n, both in ((100, False), (100, True), (5000, True))]
    tuner.Tuner(problems, INTERPRETER, Store(root), effort=effort).run()
    Path(f"{log}.done").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
