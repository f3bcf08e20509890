"""Whether the configs of kernels' spaces compile for a GPU and fit it, without one."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tritorch.autotune.command.cases import Case
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.precompile import Compilers
from tritorch.autotune.trial import RESOURCES, Trial, config_name, show_config
from tritorch.autotune.tunable import KERNELS
from tritorch.autotune.tuner import Weighted, find_subjects
from tritorch.ops.base import TABLE
from tritorch.runtime import dtypes
from tritorch.validation import samples_of

_MOST_REGISTERS = 255  # of a thread, on every GPU
_REGISTERS = 65536  # of a multiprocessor


def compiled_cases(problems, dtype, info, jobs, strict):
    """A Case for each kernel and key that `problems` ask for; for each kernel of an op where that is None."""
    subjects, missing = (find_subjects(problems, info), []) if problems else one_of_each(dtype, info)
    suite = f"compile {info.name}"
    for name in missing:
        yield Case(suite, name, failures=[f"no op launches it in {dtype}"])
    counted = [(subject, list(subject.kernel.space.configs(**subject.known))) for subject in subjects]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Compilers(jobs) as compilers,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=sum(len(configs) for _, configs in counted))
        for subject, configs in counted:
            progress.update(task, description=f"{info.name} {subject.kernel.__name__}")
            yield _case(suite, subject, configs, compilers, info, strict, lambda: progress.advance(task))


def one_of_each(dtype, info):
    """(a subject for each kernel of an op, the one with most configs; names of kernels that nothing launches)."""
    waiting = {name for name, kernel in KERNELS.items() if kernel.__module__.startswith("tritorch.ops.")}
    found: dict = {}
    for problems in (_sized_problems(dtype), _sample_problems(dtype)):
        if waiting - found.keys():
            for problem in problems:
                _enter(found, problem, info)
    return [found[name] for name in sorted(found)], sorted(waiting - found.keys())


def _enter(found, problem, info):
    for subject in find_subjects([Weighted(problem)], info):
        name = subject.kernel.kernel_name
        configs = sum(1 for _ in subject.kernel.space.configs(**subject.known))
        if name not in found or configs > found[name].configs:
            subject.configs = configs
            found[name] = subject


def _sized_problems(dtype):
    for name, op in TABLE.items():
        if op.sized is not None:
            yield OpProblem.sized(name, dtype)


def _sample_problems(dtype):
    for op in TABLE.values():
        for sample in samples_of(op, dtypes.NAMES[dtype].numpy):
            try:
                yield OpProblem.of(op, (*sample, None) if op.creates else sample)
            except ValueError:  # a view, or an op without kernels
                break
