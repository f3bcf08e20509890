"""Whether the configs of kernels' spaces compile for a GPU and fit it, without one."""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tritorch.autotune.command.cases import Case, name_of
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.precompile import Compilers
from tritorch.autotune.trial import RESOURCES, Trial, show_config
from tritorch.autotune.tunable import KERNELS
from tritorch.autotune.tuner import Weighted, find_subjects
from tritorch.ops.base import TABLE, Op
from tritorch.runtime import dtypes
from tritorch.runtime.compile import spilled
from tritorch.validation import samples_of

_MOST_OF_A_FAMILY = 2


FITS, SPILLS, TOO_LARGE, BROKEN = KINDS = "fit", "spill", "do not fit", "do not compile"


def compiled_cases(subjects, info, jobs, strict=False):
    """A Case for each subject: every config of its kernel compiled for the GPU that a DeviceInfo describes."""
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
            yield _case(subject, configs, compilers, info, strict, lambda: progress.advance(task))


def _case(subject, configs, compilers, info, strict, advance):
    """The Case of a kernel: every config of its space compiled for the launch that a subject's problem makes."""
    start, counts, name = time.perf_counter(), Counter(), subject.kernel.kernel_name
    case = Case(f"compile {info.name}", name_of(subject))
    if subject.default not in configs:
        case.failures.append(f"the default is no config of the space: {show_config(subject.default)}")
        configs = [*configs, subject.default]
    for config, found in compilers.compile(subject.problem, info, name, subject.key, configs):
        kind, text = _judged(config, found)
        counts[kind] += 1
        if kind != FITS:
            matters = kind == BROKEN or config == subject.default or (strict and kind == TOO_LARGE)
            (case.failures if matters else case.notes).append(
                f"{'the default ' if config == subject.default else ''}{show_config(config)}: {text}"
            )
        advance()
    if not counts[FITS] and not counts[SPILLS]:
        case.failures.append("none of its configs fits")
    case.summary = f"{len(configs)} configs, " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
    case.seconds = time.perf_counter() - start
    return case


def _judged(config, found):
    """(one of KINDS, why) for a config and what the compilers say of it."""
    if isinstance(found, Trial):
        return (TOO_LARGE if found.state == RESOURCES else BROKEN), f"{found.state}: {found.cause}"
    lost = spilled(found.registers, found.spills, config.get("num_warps") or 4)
    if lost:
        return SPILLS, f"spills {lost} bytes of each thread, at {found.registers} registers"
    return FITS, ""


def one_of_each(dtype, info):
    """(a subject for each kernel of an op, the one with most configs; names of kernels that nothing launches)."""
    waiting = {name for name, kernel in KERNELS.items() if kernel.__module__.startswith("tritorch.ops.")}
    found: dict = {}  # name -> (how many configs, subject)
    for problems in (_sized_problems(dtype), _sample_problems(dtype)):
        for problem in problems if waiting - found.keys() else ():
            for subject in find_subjects([Weighted(problem)], info):
                name, count = subject.kernel.kernel_name, sum(1 for _ in subject.kernel.space.configs(**subject.known))
                if name not in found or count > found[name][0]:
                    found[name] = count, subject
    return [found[name][1] for name in sorted(found)], sorted(waiting - found.keys())


def _sized_problems(dtype):
    """Problems of a usual size; of ops that share a family, and so its kernels, the first two."""
    families: Counter = Counter()
    for name, op in TABLE.items():
        if op.sized is not None:
            family = op.__bases__[0]
            families[family] += family is not Op
            if families[family] <= _MOST_OF_A_FAMILY:
                yield OpProblem.sized(name, dtype)


def _sample_problems(dtype):
    for op in TABLE.values():
        for sample in samples_of(op, dtypes.NAMES[dtype].numpy):
            try:
                yield OpProblem.of(op, (*sample, None) if op.creates else sample)
            except ValueError:  # a view, or an op without kernels
                break
