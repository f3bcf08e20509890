"""Tuning from Python: `tritorch.autotune.tune(kernel, M=4096, N=4096, K=4096)`, what `tritorch autotune sweep` does."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from tritorch.autotune import lookup
from tritorch.autotune.kernel_problem import KernelProblem
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.search import EFFORTS
from tritorch.autotune.store import Store
from tritorch.autotune.tuner import Subject, Tuner, Weighted
from tritorch.autotune.user_kernel import SelfTuned
from tritorch.runtime import device as devices


@dataclass(frozen=True)
class Tuned:
    """What was found. An op may launch several kernels, each a subject; the rest is about the first of them.

    best, default   the Trial of the best config, and that of the config by formula: `.config`, `.seconds`, `.error`;
                    None where none runs, or the budget ended before
    trials          all there are, in the order they were made, also by earlier runs;  new  how many this run made
    gain            how many times as fast the best one is;  None where one of the two does not run
    """

    subjects: tuple[Subject, ...]

    best = property(lambda self: self.subjects[0].entry.best())
    default = property(lambda self: self.subjects[0].entry.find(self.subjects[0].default))
    trials = property(lambda self: self.subjects[0].entry.trials)
    new = property(lambda self: self.subjects[0].new)
    gain = property(lambda self: self.subjects[0].gain)


def tune(kernel, *, dtype="float32", effort="quick", budget=math.inf, device=None, policy="eager", seed=0, **sizes):
    """Find the best config of a kernel of one's own, or of an op, for some sizes; launches take it from then on.

    `kernel` is a kernel made by `tritorch.autotune.kernel`, its place, `path/to/file.py:kernel`, or an op's name; sizes
    are those that its `inputs`, or the op, names, by default as they say. `effort` is one of none, quick and full;
    `budget` is in seconds. Every trial is kept in the user's cache, and a second run makes none again; it runs in a
    process of its own, which imports the file of the kernel.
    """
    if effort not in EFFORTS:
        raise ValueError(f"tune(): no effort named {effort!r}; there are {', '.join(EFFORTS)}")
    where = devices.resolve(device)
    if where.type == "cpu":
        raise ValueError(
            "tune(): the cpu device runs NumPy and launches no kernels; device='interpreter' goes through everything "
            "with made-up times, device='cuda' needs a GPU"
        )
    jobs = os.cpu_count() or 1
    problem = _problem_of(kernel, dtype, sizes)
    tuner = Tuner(
        [Weighted(problem)], where, Store(), effort=effort, seconds=budget, policy=policy, seed=seed, jobs=jobs
    )
    tuner.run()
    for subject in tuner.subjects:
        if subject.trouble:
            raise RuntimeError(f"tune(): {problem.name} {problem.label} cannot be run: {subject.trouble}")
    lookup.forget()
    return Tuned(tuple(tuner.subjects))


def _problem_of(kernel, dtype, sizes):
    if isinstance(kernel, SelfTuned):
        return KernelProblem(kernel, dtype, sizes)
    if not isinstance(kernel, str):
        raise TypeError(
            f"tune() takes a kernel with inputs= and reference=, the place of one, path/to/file.py:kernel, or the name "
            f"of an op, not a {type(kernel).__name__}"
        )
    return (KernelProblem if ":" in kernel else OpProblem).sized(kernel, dtype, sizes)
