"""Check, for CI, that configs are there, that they compile, and that they are as fast as they were.

    tritorch autotune check --shapes shapes.json --require-hit --device cuda
    tritorch autotune check --compile-only --arch sm_80,sm_90 --junit report.xml
    tritorch autotune check path/to/file.py:kernel --compile-only --arch sm_90
    tritorch autotune check matmul --shape M=4096,N=4096,K=4096 --max-regress 5%

--require-hit: every kernel that these calls launch has a tuned config in a table or in the cache. A miss says in what
the nearest entry differs.

--compile-only: every config of the kernels' spaces is compiled for --arch; no GPU is needed. Without OP or --shapes it
is those of all ops, each with one launch. A config that the compiler refuses is a failure, and so is a default that
does not fit or spills. Others that do not fit, which a sweep passes over, are named; with --strict they are failures.

--max-regress: every tuned config is measured again, in turn with the default, and must not be slower than that, or than
what was recorded, by more than this share.

Exit codes: 0 good, 1 a check failed, 2 usage, 3 no such device, 4 there was nothing to check, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os

from tritorch.autotune.command.cases import Case, write_junit
from tritorch.autotune.command.compiled import compiled_cases, one_of_each
from tritorch.autotune.command.held import hit_cases, regress_cases
from tritorch.autotune.command.problems import add_problem_arguments, problems_of
from tritorch.autotune.command.selection import Refused, need_triton, need_writable, refusing
from tritorch.autotune.command.sweep import device_to_tune, positive
from tritorch.autotune.device import generation
from tritorch.autotune.tuner import find_subjects
from tritorch.cli.main import FAILED, GOOD, NOTHING_VALID


def add_arguments(parser):
    """Problems, what to check of them, and where to write it."""
    add_problem_arguments(parser)
    parser.add_argument("--require-hit", action="store_true", help="every launch finds a tuned config")
    parser.add_argument("--compile-only", action="store_true", help="every config compiles for --arch; needs no GPU")
    parser.add_argument("--arch", type=_generations, metavar="sm_80,sm_90", help="the GPUs to compile for")
    parser.add_argument("--strict", action="store_true", help="a config that does not fit is a failure")
    parser.add_argument("--max-regress", type=_share, metavar="5%", help="tuned configs are not slower by more")
    parser.add_argument("--device", help="cuda, cuda:1 or interpreter; default: the GPU")
    parser.add_argument("--jobs", "-j", type=positive, default=os.cpu_count() or 1, metavar="N",
                        help="processes that compile (default %(default)s)")  # fmt: skip
    parser.add_argument("--junit", metavar="FILE", help="write all cases to FILE as JUnit XML")


def _generations(text):
    """The DeviceInfo of each architecture in a text such as "sm_80,sm_90"."""
    try:
        return [generation(each.strip()) for each in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text):
    """The share that a text such as "5%" says."""
    number, percent, rest = text.partition("%")
    try:
        found = float(number) / 100
    except ValueError:
        found = -1.0
    if not percent or rest or not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; shares are given as 5%")
    return found


@refusing
def run(options):
    """Check, a line for each case; the exit code says whether all are good."""
    if not (options.require_hit or options.compile_only or options.max_regress is not None):
        raise Refused("nothing to check: say --require-hit, --compile-only or --max-regress 5%")
    if options.compile_only != bool(options.arch):
        raise Refused("--compile-only and --arch go together: --compile-only --arch sm_80,sm_90")
    if options.junit:
        need_writable(options.junit, "--junit")
    need_triton()
    cases = []
    try:
        for case in _cases(options):
            cases.append(case)
            print("\n".join(case.lines()), flush=True)
    finally:
        if options.junit:
            write_junit(options.junit, cases)
    failed = sum(not case.ok for case in cases)
    print(f"{len(cases)} checked, {failed} failed")
    if not cases:
        raise Refused("none of these calls launches a kernel that was tuned", NOTHING_VALID)
    return FAILED if failed else GOOD


def _cases(options):
    on_device = options.require_hit or options.max_regress is not None
    problems = problems_of(options) if options.ops or options.shapes or on_device else None
    if on_device:
        device = device_to_tune(options)
        if options.require_hit:
            yield from hit_cases(problems, device)
        if options.max_regress is not None:
            yield from regress_cases(problems, device, options.max_regress)
    for info in options.arch or ():
        if problems is not None:
            yield from compiled_cases(find_subjects(problems, info), info, options.jobs, options.strict)
        for dtype in options.dtype or ["float32"] if problems is None else ():
            subjects, unlaunched = one_of_each(dtype, info)
            for name in unlaunched:
                yield Case(f"compile {info.name}", name, failures=[f"no op launches it in {dtype}"])
            yield from compiled_cases(subjects, info, options.jobs, options.strict)
