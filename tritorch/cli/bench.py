"""Time ops on this machine, if asked against PyTorch in the same process on the same numbers.

    tritorch bench matmul --against torch --json matmul.json
    tritorch bench launch --device cpu
    tritorch bench step --net gpt2 --amp bf16 --against torch
    tritorch bench softmax norm --against torch --compile --json rows.json --plot plots
    tritorch bench --from rows.json --plot plots

Both sides multiply in the same precision, find a cold L2 cache, take turns, and must agree. `ratio` is the speed of
ours over theirs: above 1 ours is faster. `roofline` is how much ours reached of what the device attains, `spread` how
far measurements lie apart over their median; in the JSON both are shares of one. Without a suite's name all suites run.
Figures of a GPU are the GPU's time, Python's is in the suite `launch`, and the wall's in `step`, whose rows also say
how many kernels a step launches, how long the GPU is idle in it, and how much memory it takes. Suites in GB/s time a
copy on the device of as many bytes in the same turns: `of copy` is how much of its bandwidth ours reached. With
--compile the other library's step is timed as its compiler makes it, too: `over compiled` is the speed of ours over it.

Exit codes: 1 if results do not agree or a case failed, 2 if the comparison cannot be made, 3 without the device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from tritorch.cli.main import FAILED, GOOD, INTERRUPTED, NO_DEVICE, USAGE, device_of

UNSTEADY = 0.2  # a spread from which a row means little
COLUMNS = ("case", "dtype", ">ours", ">theirs", "unit", ">ratio", ">roofline", ">spread", "agree")
EXTRA = ("of_copy", "compiled", "over_compiled", "step_ms", "launches", "theirs_launches", "compiled_launches", "idle",
         "theirs_idle", "compiled_idle", "peak_mib", "theirs_peak_mib", "compiled_peak_mib")  # fmt: skip
SHARES = ("roofline", "spread", "of_copy", "idle", "theirs_idle", "compiled_idle")
AMP = {"bf16": "bfloat16"}
STEP = "step"  # the suite whose cases are nets


def add_arguments(parser):
    """Suites, what is compared, and where it goes."""
    from tritorch.bench.nets import nets
    from tritorch.bench.peer import PEERS
    from tritorch.bench.suites import suites

    names = ", ".join(suites())
    parser.add_argument("suite", nargs="*", type=suite_name, help=f"what to time; everything if not given: {names}")
    parser.add_argument("--against", choices=PEERS, help="time this library too and compare")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="time what the other library's compiler makes, too (default: of whole steps on a GPU)",
    )
    parser.add_argument("--net", choices=nets(), help="only steps of this net")
    parser.add_argument("--amp", choices=AMP, help="only steps under autocast in this dtype")
    parser.add_argument("--json", metavar="FILE", help="write the rows and the environment to FILE")
    parser.add_argument("--plot", metavar="PLACE", help="draw bandwidth over size: a folder, or a file for one suite")
    parser.add_argument("--from", dest="stored", metavar="FILE", help="time nothing, draw what --json wrote")
    parser.add_argument("--dtype", action="append", help="only this dtype, or tf32; may be given again")
    parser.add_argument("--device", default="cuda", help="cuda (the default) or cpu")


def suite_name(text):
    """A suite's name."""
    from tritorch.bench.suites import suites

    if text not in suites():
        raise argparse.ArgumentTypeError(f"there is no suite {text!r}; there are {', '.join(suites())}")
    return text


def run(options):
    """Time all cases, print the table, write the JSON, draw; or draw what was timed before."""
    from tritorch.bench.peer import PEERS, NoPeer
    from tritorch.bench.plot import NothingToDraw, check_place, draw
    from tritorch.bench.precision import UnlikePrecision

    try:
        if options.plot:
            check_place(options.plot, options.suite)
        if options.stored:
            draw(stored(options), options.plot)
            return GOOD
        device = device_of(options)
        if device is None:
            return NO_DEVICE
        chosen = chosen_cases(options, device)
        peer = PEERS[options.against](device) if options.against else None
        return _timed(options, chosen, device, peer)
    except (NoPeer, UnlikePrecision, UnfitOptions, NothingToDraw) as error:
        print(f"tritorch bench: {error}", file=sys.stderr)
        return USAGE


class UnfitOptions(Exception):
    """Nothing can be timed as asked."""


def stored(options):
    """What an earlier run wrote; of the suites asked for, if any are."""
    if not options.plot:
        raise UnfitOptions("--from draws what an earlier run wrote: say where with --plot")
    try:
        with open(options.stored, "rb") as file:
            found = json.load(file)
        rows = [{**row, "case": str(row["case"])} for row in found["rows"]]
        return {"suite": str(found["suite"]), "environment": dict(found["environment"]), "rows": rows}
    except OSError as error:
        raise UnfitOptions(f"--from {options.stored}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnfitOptions(f"--from {options.stored}: not what tritorch bench --json writes") from error


def chosen_cases(options, device):
    """The cases asked for as [(suite, Case)]."""
    from tritorch.bench.suites import suites
    from tritorch.runtime import launcher

    if options.json and not os.path.isdir(os.path.dirname(os.path.abspath(options.json))):
        raise UnfitOptions(f"--json {options.json}: there is no such folder")
    if device.type not in ("cuda", "cpu"):
        raise UnfitOptions(f"--device takes cuda or cpu, not {device}: what is interpreted is not worth timing")
    if options.compile and not options.against:
        raise UnfitOptions("--compile is about the other library's compiler: say which with --against")
    small = not device.is_cuda or launcher.is_diverted()
    names = _suites(options)
    asked, every = _dtypes(options, device), suites()
    found = []
    for name in names or every:
        known = every[name].DTYPES
        wanted = [each for each in asked or known if each in known]
        if not asked and not device.is_cuda and "float32" in wanted:
            wanted = ["float32"]  # what a processor computes in
        for case in every[name].cases(wanted, options.quick, small):
            if (asked or case.usual) and options.net in (None, case.line):
                found.append((name, case))
    if not found:
        known = {each for name, suite in every.items() if name in (options.suite or every) for each in suite.DTYPES}
        missing = f"{' and '.join(options.suite)} has it not" if options.suite else "no suite has it"
        raise UnfitOptions(f"--dtype {' '.join(options.dtype)}: {missing}; there are {', '.join(sorted(known))}")
    fitting = [each for each in found if device.is_cuda or not each[1].needs_gpu]
    if not fitting:
        raise UnfitOptions(f"--dtype {' '.join(asked)}: only on a GPU")
    return fitting


def _suites(options):
    """The names of the suites asked for; empty for all of them."""
    for name, value in (("--net", options.net), ("--amp", options.amp)):
        if value and options.suite not in ([], [STEP]):
            raise UnfitOptions(f"{name} is of the suite {STEP}, not of {', '.join(options.suite)}")
    return [STEP] if options.net or options.amp else list(dict.fromkeys(options.suite))


def _dtypes(options, device):
    """The dtypes asked for, or None."""
    if not options.amp:
        return options.dtype
    if options.dtype:
        raise UnfitOptions(f"--amp {options.amp} with --dtype {' '.join(options.dtype)}: say one of them")
    if not device.is_cuda:
        raise UnfitOptions(f"--amp {options.amp}: only on a GPU; a processor has no products of {AMP[options.amp]}")
    return [AMP[options.amp]]


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
            row, where = measure(case, device, peer, _compiles(options, suite, device))
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


def _compiles(options, suite, device):
    """Whether the other library's compiler is a side of a suite."""
    from tritorch.bench.suites import suites
    from tritorch.runtime import launcher

    if options.compile is not None:
        return options.compile
    return device.is_cuda and not launcher.is_diverted() and getattr(suites()[suite], "COMPILED", False)


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
    """Print the table, write the JSON and draw, if asked."""
    from tritorch.autotune.command.table import print_table
    from tritorch.bench.environment import environment
    from tritorch.bench.plot import draw
    from tritorch.runtime.files import whole_file

    suite = _together(options)
    named = [row.to_json() | ({} if suite == name else {"case": f"{name}: {row.case}"}) for name, row in rows]
    about = environment(device, peer)
    against = f" against {peer.name} {peer.version}" if peer is not None else ""
    columns = [*COLUMNS, *(f">{name}" for name in EXTRA if any(name in each for each in named))]
    print_table(
        [name.replace("_", " ") for name in columns],
        [[_shown(each, name.lstrip(">")) for name in columns] for each in named],
        f"{suite} on {about['gpu'] or device}{against}",
    )
    unsteady = sum(row.spread > UNSTEADY for _, row in rows)
    if unsteady:
        print(f"{unsteady} of {len(rows)} rows have a spread of more than {UNSTEADY:.0%}: is the machine busy?",
              file=sys.stderr)  # fmt: skip
    found = {"suite": suite, "environment": about, "rows": named}
    if options.json:
        with whole_file(options.json) as file:
            file.write(json.dumps(found, indent=1).encode() + b"\n")
    if options.plot:
        draw(found, options.plot)


def _together(options):
    """What the rows are of: one suite, several, or all."""
    return "+".join(_suites(options)) or "all"


def _shown(row, name):
    """A cell for people."""
    value = row.get(name)
    if name == "agree":
        return {None: "-", True: "yes", False: "NO"}[value]
    if value is None:
        return "-"
    if name in SHARES:
        return f"{value:.1%}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
