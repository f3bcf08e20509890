"""Hold every op's kernels against its reference on a device, every sample, forward and gradient."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import tritorch
from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, USAGE, device_of

DTYPES = ("float32", "float64", "float16", "bfloat16")


def add_arguments(parser):
    """--device, --op, --dtype, --jobs, --json."""
    parser.add_argument("--device", help="cpu, interpreter or cuda; the default device if not given")
    parser.add_argument("--op", action="append", metavar="NAME", help="only this op; may be given again")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="dtype of the samples (default float32)")
    parser.add_argument("--jobs", "-j", type=int, default=1, metavar="N", help="check in N processes (default 1)")
    parser.add_argument("--json", metavar="FILE", help="write a summary of every op to FILE, and what failed")
    parser.add_argument("--verbose", "-v", action="store_true", help="every op and check, not only what fails")


def run(options):
    """Check, show the table, write the JSON; 1 if anything disagrees."""
    from tritorch.ops.base import TABLE
    from tritorch.runtime import dtypes

    names = options.op or sorted(TABLE)
    unknown = [name for name in names if name not in TABLE]
    if unknown:
        import difflib

        close = difflib.get_close_matches(unknown[0], TABLE)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        print(f"tritorch validate: no op named {unknown[0]!r}{hint}", file=sys.stderr)
        return USAGE
    if options.jobs < 1:
        print(f"tritorch validate: --jobs takes a number of processes, at least 1, not {options.jobs}", file=sys.stderr)
        return USAGE
    device = device_of(options)
    if device is None:
        return NO_DEVICE
    kinds = [dtypes.NAMES[name].numpy for name in options.dtype or ["float32"]]
    started = time.perf_counter()
    findings = _check_all(names, str(device), kinds, options.jobs)
    seconds = time.perf_counter() - started
    failed = [finding for finding in findings if not finding.ok]
    _show(findings, failed, names, device, seconds, options.verbose)
    if options.json:
        _write(options.json, findings if options.verbose else failed, _summary(findings), device, seconds)
    return FAILED if failed else GOOD


def _check_all(names, device, kinds, jobs):
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    calls = [(name, device, kind) for name in names for kind in kinds]
    found = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(calls))
        for call, findings in _in_processes(calls, jobs) if jobs > 1 else ((call, _check(*call)) for call in calls):
            found[call] = findings
            progress.update(task, description=call[0], advance=1)
    return [finding for call in calls for finding in found[call]]


def _check(name, device, kind):
    from tritorch.validation import check_op

    return list(check_op(name, device, kind))


def _in_processes(calls, jobs):
    """Each call with its findings, as they come. Processes are spawned: a CUDA context must not be forked."""
    with _one_thread_each():
        pool = ProcessPoolExecutor(min(jobs, len(calls)), multiprocessing.get_context("spawn"))
        try:
            waiting = {pool.submit(_check, *call): call for call in calls}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each():
    """Processes started within leave the other cores to each other: NumPy reads these when it is loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _show(findings, failed, names, device, seconds, verbose):
    console = Console()
    shown = {finding.op for finding in findings} if verbose else {finding.op for finding in failed}
    if shown:
        table = Table(
            "op", "forward", "gradient", "largest error / allowed", "what differs", title=f"validate on {device}"
        )
        for name in sorted(shown):
            mine = [finding for finding in findings if finding.op == name]
            worst = max(mine, key=lambda finding: finding.error)
            wrong = next((finding for finding in mine if not finding.ok), None)
            why = "" if wrong is None else f"{wrong.what}, sample {wrong.sample}, {wrong.dtype}: {wrong.message}"
            table.add_row(name, _ratio(mine, "forward"), _ratio(mine, "gradient"), f"{worst.error:.2g}", why)
        console.print(table)
    style = "red" if failed else "green"
    console.print(
        f"[{style}]{len(names)} ops, {len(findings)} checks on {device}, {len(failed)} failed[/], {seconds:.1f} s"
    )


def _ratio(findings, what):
    mine = [finding for finding in findings if finding.what == what]
    good = sum(finding.ok for finding in mine)
    return f"[{'green' if good == len(mine) else 'red'}]{good}/{len(mine)}[/]" if mine else "-"


def _summary(findings):
    """By op and dtype: how many checks, how many failed, and the largest error over what is allowed."""
    found = {}
    for each in findings:
        row = found.setdefault(each.op, {}).setdefault(each.dtype, {"checks": 0, "failed": 0, "error": 0.0})
        row["checks"] += 1
        row["failed"] += not each.ok
        if np.isfinite(each.error):
            row["error"] = float(f"{max(row['error'], each.error):.3g}")
    return found


def _write(path, findings, summary, device, seconds):
    from tritorch.cli.doctor import environment

    report = {
        "command": "validate",
        "tritorch": tritorch.__version__,
        "device": str(device),
        "seconds": round(seconds, 2),
        "environment": environment(),
        "failed": sum(row["failed"] for kinds in summary.values() for row in kinds.values()),
        "ops": summary,
        "findings": [{**asdict(each), "error": each.error if np.isfinite(each.error) else None} for each in findings],
    }
    with open(path, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
