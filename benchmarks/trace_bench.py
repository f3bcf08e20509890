"""The calls that `tritorch bench` times, as a shapes file: what a sweep has to tune before the figures count.

    python benchmarks/trace_bench.py [--dtype bfloat16] [FILE]
    tritorch autotune sweep --shapes FILE --budget 10m

Needs no GPU: each case's step runs on the interpreter with its launches noted and not carried out. A call counts for
the least time that an H200 takes for it, so a sweep's budget goes where time is spent.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from trace_models import SHORTEST, Calls, Dropped

import tritorch
from tritorch import creation
from tritorch.autotune.problem import describe
from tritorch.autotune.roofline import PRETENDED
from tritorch.autotune.trace import Seen, trace_of, write_shapes
from tritorch.bench.suites import suites
from tritorch.runtime import transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches

SUITES = ("matmul", "attention", "conv", "rnn")
MOST = 500


def calls_of(case):
    """The op calls of a case's step, without what makes it ready."""
    tensors = []
    for each in case.inputs:
        tensor = creation.wrap(each.laid_out(partial(np.zeros, dtype=case.stored.numpy)), INTERPRETER)
        tensors.append(tensor.requires_grad_() if each.requires_grad else tensor)
    step, calls = case.step(tritorch, *tensors), Calls(values=False)
    with calls:
        step()
    return [call for call in calls.found if call is not None]


def all_calls(dtypes):
    """Every call of every case by what it is, with how often it is made and the least time of all."""
    seen: dict = {}
    known = suites()
    for name in SUITES:
        for case in known[name].cases([each for each in known[name].DTYPES if each in dtypes], False, False):
            for call in calls_of(case):
                seen.setdefault(str(describe(call)), Seen(call.name, call, device=INTERPRETER)).count += 1
    for each in seen.values():
        work = each.problem.call(INTERPRETER, values=False).work
        each.seconds = each.count * max(SHORTEST, PRETENDED.seconds(work))
    return sorted(seen.values(), key=lambda each: -each.seconds)


def main():
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).parent / "shapes" / "bench.json")
    parser.add_argument("--dtype", action="append", help="only this dtype; may be given again (default: bfloat16)")
    options = parser.parse_args()
    before, transfer.empty_on_host = transfer.empty_on_host, np.zeros
    try:
        with recording_launches(run=False, launches=Dropped()):
            found = all_calls(options.dtype or ["bfloat16"])
    finally:
        transfer.empty_on_host = before
    trace = trace_of(found, MOST)
    write_shapes(options.file, trace, "tritorch bench", "none: the least time on an H200")
    print(f"{options.file}: {len(trace.problems)} problems, {trace.count} calls")


if __name__ == "__main__":
    main()
