"""Time ops on this machine, if asked against PyTorch in the same process on the same numbers.

    tritorch bench matmul --against torch --json matmul.json
    tritorch bench launch --device cpu

Both sides multiply in the same precision, find a cold L2 cache, take turns, and must agree. `ratio` is the speed of
ours over theirs: above 1 ours is faster. `roofline` is how much ours reached of what the device attains, `spread` how
far measurements lie apart over their median; in the JSON both are shares of one. Without a suite's name all suites run.
Figures of a GPU are the GPU's time, Python's is in the suite `launch`.

Exit codes: 1 if results do not agree or a case failed, 2 if the comparison cannot be made, 3 without the device.
"""

from __future__ import annotations

import json
import os
import sys

from tritorch.cli.main import FAILED, GOOD, INTERRUPTED, NO_DEVICE, USAGE, device_of

UNSTEADY = 0.2  # a spread from which a row means little
COLUMNS = ("case", "dtype", ">ours", ">theirs", "unit", ">ratio", ">roofline", ">spread", "agree")


def add_arguments(parser):
    """A suite, --against, --quick, --json, --dtype, --device."""
    from tritorch.bench.peer import PEERS
    from tritorch.bench.suites import suites

    parser.add_argument("suite", nargs="?", choices=suites(), help="what to time; everything if not given")
    parser.add_argument("--against", choices=PEERS, help="time this library too and compare")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--json", metavar="FILE", help="write the rows and the environment to FILE")
    parser.add_argument("--dtype", action="append", help="only this dtype, or tf32; may be given again")
    parser.add_argument("--device", default="cuda", help="cuda (the default) or cpu")


def run(options):
    """Time all cases, print the table, write the JSON."""
    from tritorch.bench.peer import PEERS, NoPeer
    from tritorch.bench.precision import UnlikePrecision

    device = device_of(options)
    if device is None:
        return NO_DEVICE
    try:
        chosen = chosen_cases(options, device)
        peer = PEERS[options.against](device) if options.against else None
        return _timed(options, chosen, device, peer)
    except (NoPeer, UnlikePrecision, UnfitOptions) as error:
        print(f"tritorch bench: {error}", file=sys.stderr)
        return USAGE


class UnfitOptions(Exception):
    """Nothing can be timed as asked."""


def chosen_cases(options, device):
    """The cases asked for as [(suite, Case)]."""
    from tritorch.bench.suites import suites
    from tritorch.runtime import launcher

    if options.json and not os.path.isdir(os.path.dirname(os.path.abspath(options.json))):
        raise UnfitOptions(f"--json {options.json}: there is no such folder")
    if device.type not in ("cuda", "cpu"):
        raise UnfitOptions(f"--device takes cuda or cpu, not {device}: what is interpreted is not worth timing")
    small = not device.is_cuda or launcher.is_diverted()
    found = []
    every = suites()
    for name in [options.suite] if options.suite else every:
        known = every[name].DTYPES
        wanted = [each for each in options.dtype or known if each in known]
        if not options.dtype and not device.is_cuda and "float32" in wanted:
            wanted = ["float32"]  # what a processor computes in
        cases = every[name].cases(wanted, options.quick, small)
        found += [(name, case) for case in cases if device.is_cuda or not case.needs_gpu]
    if not found:
        known = {each for name, suite in every.items() if options.suite in (None, name) for each in suite.DTYPES}
        missing = f"{options.suite} has it not" if options.suite else "no suite has it"
        raise UnfitOptions(f"--dtype {' '.join(options.dtype)}: {missing}; there are {', '.join(sorted(known))}")
    return found


def _timed(options, chosen, device, peer):
    """Time the cases one by one; what has finished is reported, whatever ends it."""
    rows, code = [], GOOD
    try:
        code = max(_each(options, chosen, device, peer, rows), code)
    except KeyboardInterrupt:
        print(f"interrupted: {len(rows)} of {len(chosen)} cases have finished", file=sys.stderr)
        code = INTERRUPTED
    finally:
        if rows:
            _report(options, rows, device, peer)
    return code


def _each(options, chosen, device, peer, rows):
    from tritorch.bench.measure import measure
    from tritorch.bench.precision import UnlikePrecision
    from tritorch.runtime.cuda import driver

    code = GOOD
    for suite, case in watched(chosen):
        try:
            row, where = measure(case, device, peer)
        except UnlikePrecision:
            raise
        except Exception as error:  # the other cases can be timed yet
            print(f"{suite} {case.name} {case.dtype}: {type(error).__name__}: {error}", file=sys.stderr)
            code = FAILED
            if device.is_cuda and driver.context_lost():
                return code
            continue
        rows.append((suite, row))
        if row.agree is False:
            print(f"{suite} {case.name} {case.dtype}: results differ: {where}", file=sys.stderr)
            code = FAILED
    return code


def watched(chosen):
    """The cases one by one, with a bar where somebody looks at a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(chosen))
        for suite, case in chosen:
            progress.update(task, description=f"{suite} {case.name} {case.dtype}")
            yield suite, case
            progress.update(task, advance=1)


def _report(options, rows, device, peer):
    """Print the table, and write the JSON if asked."""
    from tritorch.autotune.command.table import print_table
    from tritorch.bench.environment import environment
    from tritorch.runtime.files import whole_file

    named = [
        row.to_json() if options.suite else row.to_json() | {"case": f"{suite}: {row.case}"} for suite, row in rows
    ]
    about = environment(device, peer)
    against = f" against {peer.name} {peer.version}" if peer is not None else ""
    print_table(
        COLUMNS, [_shown(each) for each in named], f"{options.suite or 'all'} on {about['gpu'] or device}{against}"
    )
    unsteady = sum(row.spread > UNSTEADY for _, row in rows)
    if unsteady:
        print(f"{unsteady} of {len(rows)} rows have a spread of more than {UNSTEADY:.0%}: is the machine busy?",
              file=sys.stderr)  # fmt: skip
    if options.json:
        found = {"suite": options.suite or "all", "environment": about, "rows": named}
        with whole_file(options.json) as file:
            file.write(json.dumps(found, indent=1).encode() + b"\n")


def _shown(row):
    """The cells of a row for people."""
    shown = {name: "-" if value is None else value for name, value in row.items()}
    for name in ("ours", "theirs", "ratio"):
        shown[name] = "-" if row[name] is None else f"{row[name]:.4g}"
    for name in ("roofline", "spread"):
        shown[name] = "-" if row[name] is None else f"{row[name]:.1%}"
    shown["agree"] = {None: "-", True: "yes", False: "NO"}[row["agree"]]
    return [shown[name.lstrip(">")] for name in COLUMNS]
