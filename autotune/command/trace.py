"""Run a program, and note which ops it calls, with which shapes, how often, and how much of the time each takes.

    tritorch autotune trace train.py -- --epochs 1
    tritorch autotune trace --steps 20 -o gpt.json -m package.train -- --batch 8
    tritorch autotune sweep --shapes gpt.json

The program runs as by `tritorch run`, and what it printed and its exit code are its own. The file is written however it
ends: by itself, with an error, by sys.exit or Ctrl-C, and after --steps or --seconds. Processes that it starts are not
traced. On a GPU an op's time is that of its kernels; elsewhere it is what its calls took.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console

from tritorch.autotune.command.selection import Refused, need_writable, refusing
from tritorch.autotune.command.table import print_table
from tritorch.autotune.figures import share_text, time_text
from tritorch.autotune.trace import Tracer, device_text, trace_of, write_shapes
from tritorch.cli import run as program
from tritorch.cli.main import FAILED, USAGE

_COLUMNS = ("op", "shapes", "dtype", ">calls", ">time", ">a call", ">share")
_ROWS = 30  # problems in the closing table; the file has all
_MOST = 200


def add_arguments(parser):
    """--device, -o, --steps, --seconds, --most, then a script or -m and a module, --, and that program's arguments."""
    parser.add_argument("-o", "--output", metavar="FILE", help="the shapes file (default: NAME.shapes.json)")
    parser.add_argument("--steps", type=int, metavar="N", help="end the program after N steps of its optimizers")
    parser.add_argument("--seconds", type=float, metavar="S", help="end the program after S seconds")
    parser.add_argument("--most", type=int, default=_MOST, metavar="N",
                        help=f"keep the N most expensive calls (default {_MOST})")  # fmt: skip
    program.add_arguments(parser)


@refusing
def run(options):
    """Run the program, write the file, show the table; the program's exit code."""
    for name in ("steps", "seconds", "most"):
        given = getattr(options, name)
        if given is not None and given <= 0:
            print(f"tritorch autotune trace: --{name} takes a number above 0, not {given}", file=sys.stderr)
            return USAGE
    words = options.module or options.script
    if words[1:2] == ["--"]:
        del words[1]
    output = options.output or (f"{_name_of(words[0], bool(options.module))}.shapes.json" if words else None)
    if output:
        need_writable(output, "--output")
    tracer = Tracer(options.steps, options.seconds)
    ended = None
    try:
        code = program.start(options, "tritorch autotune trace", tracer)
    except SystemExit as error:
        code, ended = error.code, error
    if tracer.began:
        try:
            _finish(tracer, output, shlex.join((["-m"] if options.module else []) + words), options.most)
        except OSError as error:
            raise Refused(f"{output} cannot be written: {error.strerror}", FAILED) from error
    if ended is not None:
        raise ended
    return code


def _name_of(word, is_module):
    return word.rpartition(".")[2] if is_module else (Path(word).stem or Path(word).name or "program")


def _finish(tracer, output, script, most):
    """Write the file and say what is in it."""
    seen = tracer.seen()
    console = Console(stderr=True)
    if not seen:
        console.print("no op was called, so no shapes file was written", highlight=False)
        return
    trace, device = trace_of(seen, most), device_text(seen)
    write_shapes(output, trace, script, device)
    rows = [
        (each.problem.name, each.problem.label, each.problem.dtype, each.count, time_text(each.seconds),
         time_text(each.seconds / each.count), share_text(each.share))
        for each in trace.problems[:_ROWS]
    ]  # fmt: skip
    print_table(_COLUMNS, rows, f"\n{script} on {device}", console)
    for line in _closing(trace, output, most):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _closing(trace, output, most):
    more = trace.problems[_ROWS:]
    if more:
        share = sum(each.share for each in more)
        yield f"and {len(more)} more, {share_text(share)} of the time"
    yield f"{trace.count} calls of ops took {time_text(trace.seconds)}"
    if trace.untuned:
        seconds = sum(each for _, each in trace.untuned.values())
        costly = sorted(trace.untuned, key=lambda name: -trace.untuned[name][1])[:5]
        share = share_text(seconds / trace.seconds if trace.seconds else 0.0)
        yield f"{share} in calls with nothing to tune: {', '.join(costly)}{', ...' if len(trace.untuned) > 5 else ''}"
    if trace.left_out:
        left = trace.left_out
        yield f"left out beyond the {most} most expensive (--most): {left.count} calls, {share_text(left.share)}"
    yield f"{len(trace.problems)} problems in {output}; tune them with: tritorch autotune sweep --shapes {output}"
