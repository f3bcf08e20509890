"""Find the best configs of ops and of kernels of your own, for the device at hand.

    tritorch autotune sweep matmul --shape M=4096,N=4096,K=4096 --dtype bfloat16 --budget 10m
    tritorch autotune sweep path/to/file.py:kernel --shape N=1000000
    tritorch autotune sweep --shapes shapes.json --budget 1h       what `tritorch autotune trace` wrote

Every trial is kept as it is made. After Ctrl-C, or a kill, the same command goes on where it was; when it is finished
it tries nothing more, until the kernel, the device or the driver changes. --resume goes on also where a budget ended
the search, --fresh forgets what was found before.

--effort none times the default alone, quick looks around and then downhill, full does so from several places. A config
that fails to compile, gives wrong numbers, hangs or crashes is kept as a failure, with its cause, and not tried again.

Exit codes: 0 good, 2 usage, 3 no such device, 4 no config of some kernel works, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from dataclasses import asdict

from rich.console import Console

import tritorch
from tritorch.autotune.command.problems import add_problem_arguments, problems_of
from tritorch.autotune.command.rehearsal import compile_only, dry_run
from tritorch.autotune.command.selection import Refused, need_triton, need_writable, refusing
from tritorch.autotune.command.table import print_table
from tritorch.autotune.command.watch import CLOSING, LiveWatch, PlainWatch, closing_row, names
from tritorch.autotune.figures import count_text
from tritorch.autotune.key import POLICIES
from tritorch.autotune.problem import describe
from tritorch.autotune.search import EFFORTS
from tritorch.autotune.store import Store
from tritorch.autotune.trial import config_to_json, show_config
from tritorch.autotune.tuner import NOT_REACHED, Tuner
from tritorch.autotune.user_kernel import SelfTuned
from tritorch.cli.doctor import environment
from tritorch.cli.main import GOOD, INTERRUPTED, NO_DEVICE, NOTHING_VALID
from tritorch.runtime import device as devices
from tritorch.runtime.cuda import driver
from tritorch.runtime.files import whole_file

FORMAT = 1  # of the file that --json writes
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_JOBS = 8  # compiling processes at most, if nobody says otherwise


def add_arguments(parser):
    """Problems, device, effort, budget, and what to write."""
    add_problem_arguments(parser)
    parser.add_argument("--device", help="cuda, cuda:1 or interpreter (whose times are made up); default: the GPU")
    parser.add_argument("--effort", choices=EFFORTS, default="quick", help="how much to try (default quick)")
    parser.add_argument("--budget", type=seconds_of, default=math.inf, metavar="TIME", help="for all together, such as "
                        "90s, 10m or 1h30m; default: until the search is done")  # fmt: skip
    parser.add_argument("--max-trials", type=positive, default=math.inf, metavar="N", help="configs a kernel and shape")
    parser.add_argument(
        "--policy", choices=POLICIES, default=POLICIES[0], help="how launches are timed (default eager)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of draws and noise (default 0)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on also where a budget ended an earlier search")
    again.add_argument("--fresh", action="store_true", help="forget what was found before for these kernels and shapes")
    parser.add_argument("--no-verify", action="store_true", help="do not compare results with the reference")
    parser.add_argument("--compile-only", action="store_true", help="compile candidates and say what they take, for "
                        "--arch; needs no GPU")  # fmt: skip
    parser.add_argument("--arch", metavar="sm_90", help="the GPU to compile for")
    parser.add_argument("--jobs", "-j", type=positive, default=min(os.cpu_count() or 1, _JOBS), metavar="N",
                        help="processes that compile (default %(default)s)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write all that was found to FILE")
    parser.add_argument("--dry-run", action="store_true", help="say what would be tuned, and how large its spaces are")


def seconds_of(text):
    """The seconds of a time such as "90s", "10m" or "1h30m"."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; times are given as 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def positive(text):
    """A number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


@refusing
def run(options):
    """Tune, show, write; the exit code says whether every kernel has a config that works."""
    if options.compile_only != bool(options.arch):
        raise Refused("--compile-only and --arch go together: --compile-only --arch sm_90")
    if options.json and options.dry_run:
        raise Refused("--dry-run finds nothing that --json could write")
    if options.json:
        need_writable(options.json, "--json")
    need_triton()
    problems = problems_of(options)
    if options.compile_only:
        return compile_only(options, problems)
    device = device_to_tune(options)
    if options.dry_run:
        return dry_run(options, problems, device)
    console = Console()
    watch = LiveWatch(console) if console.is_terminal else PlainWatch(console)
    tuner = Tuner(
        problems, device, Store(), effort=options.effort, seconds=options.budget, trials=options.max_trials,
        policy=options.policy, seed=options.seed, verify=not options.no_verify, jobs=options.jobs,
        go_on=options.resume, fresh=options.fresh, listener=watch,
    )  # fmt: skip
    for line in remarks(tuner.subjects):
        print(f"tritorch autotune sweep: {line}", file=sys.stderr)
    interrupted = False
    try:
        with watch:
            tuner.run()
    except KeyboardInterrupt:
        interrupted = True
    return _close(options, tuner, interrupted, console)


def remarks(subjects):
    """What a user should know before kernels are tuned: that there are none, that a default of theirs is ruled out."""
    if not subjects:
        raise Refused("these calls launch no kernel that can be tuned", NOTHING_VALID)
    for subject in subjects:
        broken = subject.kernel.space.broken(subject.default, **subject.known)
        if broken and isinstance(subject.kernel, SelfTuned):
            yield (
                f"the default of {' '.join(names(subject))}, {show_config(subject.default)}, is ruled out by its "
                f"space ({', '.join(broken)}): launches take it all the same where nothing is tuned"
            )


def device_to_tune(options):
    """The device to tune for; a Refused where there is none that launches kernels."""
    try:
        found = devices.get_default_device() if options.device is None else options.device
        if found == devices.CPU and driver.is_available():
            found = "cuda"  # tensors may land on the CPU, but what is tuned for is the GPU
        found = devices.resolve(found)
    except RuntimeError as error:
        raise Refused(f"{str(error).rstrip('.')}. {_WITHOUT}", NO_DEVICE) from error
    if found.type == "cpu":
        reason = driver.why_not() if options.device is None else "the cpu device runs NumPy and launches no kernels."
        raise Refused(f"there is nothing to tune for: {reason} {_WITHOUT}", NO_DEVICE)
    return found


_WITHOUT = (
    "Without a GPU, --device interpreter goes through everything with made-up times, and --compile-only --arch sm_90 "
    "compiles configs for one."
)


def _close(options, tuner, interrupted, console):
    """The closing table, what was written, and the exit code."""
    print_table(CLOSING, map(closing_row, tuner.subjects), console=console)
    new = sum(each.new for each in tuner.subjects)
    kept = f"all are kept in {tuner.store.folder(tuner.environment)}"
    print(f"{count_text(new, 'new trial')}; {kept if tuner.store.lasts else 'none of them can be kept'}")
    if options.json:
        _write(options, tuner, interrupted)
    if interrupted:
        again = "the same command without --fresh" if options.fresh else "the same command"
        print(f"interrupted; {again} goes on from here", file=sys.stderr)
        return INTERRUPTED
    unfit = sum(each.unfit for each in tuner.subjects)
    if unfit:
        print(f"{count_text(unfit, 'config')} found no memory on the device; the same command tries them again")
    late = [each for each in tuner.subjects if each.ended == NOT_REACHED]
    if late:
        print(f"the budget did not reach {len(late)} of {len(tuner.subjects)}; the same command goes on with them")
    broken = [each for each in tuner.subjects if each.ended != NOT_REACHED and each.entry.best() is None]
    for each in broken:
        cause = each.trouble or next((trial.cause for trial in each.entry.trials if trial.cause), "")
        print(f"no config works for {' '.join(names(each))}, launches take the default: {cause}", file=sys.stderr)
    return NOTHING_VALID if broken else GOOD


def _write(options, tuner, interrupted):
    report = {
        "format": FORMAT,
        "command": "autotune sweep",
        "tritorch": tritorch.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "device": str(tuner.device),
        "machine": environment(),
        "environment": asdict(tuner.environment),
        "folder": str(tuner.store.folder(tuner.environment)),
        "effort": options.effort,
        "budget": options.budget if math.isfinite(options.budget) else None,
        "max_trials": options.max_trials if math.isfinite(options.max_trials) else None,
        "policy": options.policy,
        "seed": options.seed,
        "verified": not options.no_verify,
        "seconds": round(tuner.clock() - tuner.start, 3),
        "interrupted": interrupted,
        "new_trials": sum(each.new for each in tuner.subjects),
        "subjects": list(map(_subject_json, tuner.subjects)),
    }
    with whole_file(options.json) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")


def _subject_json(subject):
    best = subject.entry.best()
    return {
        "op": subject.problem.name,
        "shape": subject.problem.label,
        "dtype": subject.problem.dtype,
        "problem": describe(subject.problem),
        "kernel": subject.kernel.kernel_name,
        "digest": subject.key.digest,
        "share": subject.share,
        "count": subject.count,
        "default": config_to_json(subject.default),
        "seconds": None if best is None else best.seconds,
        "gain": subject.gain,
        "new_trials": subject.new,
        "tuned_for": round(subject.seconds, 3),
        "ended": subject.ended,
        "trouble": subject.trouble,
        "entry": subject.entry.to_json(),
    }
