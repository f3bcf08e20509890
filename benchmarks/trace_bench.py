"""The calls that `tritorch bench` times, as shapes files: what a sweep has to tune before the figures count.

    python benchmarks/trace_bench.py [--dtype bfloat16] [--suite SUITE] [FOLDER]
    tritorch autotune sweep --shapes benchmarks/shapes/bench.json --budget 10m

bench.json has the suites bound by arithmetic, memory.json those in GB/s. Needs no GPU: each case's step runs on the
interpreter with its launches noted and not carried out. A call counts for the least time that an H200 takes for it, so
a sweep's budget goes where time is spent.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from tracing import Calls, Worth, nothing_runs

import tritorch
from tritorch import creation
from tritorch.bench.suites import suites
from tritorch.runtime.device import INTERPRETER


def calls_of(case):
    """The op calls of a case's step, without what makes it ready."""
    tensors = []
    for each in case.inputs:
        tensor = creation.wrap(each.laid_out(partial(np.zeros, dtype=case.kind_of(each))), INTERPRETER)
        tensors.append(tensor.requires_grad_() if each.requires_grad else tensor)
    step, calls = case.step(tritorch, *tensors), Calls(values=False)
    with calls:
        step()
    return [call for call in calls.found if call is not None]


def all_calls(names, dtypes):
    """The Worth of every call of every case of some suites."""
    worth = Worth()
    for name in names:
        suite = suites()[name]
        chosen = [each for each in suite.DTYPES if each in dtypes] or list(suite.DTYPES)
        for case in suite.cases(chosen, False, False):
            for call in calls_of(case):
                worth.add(call)
    return worth


def files():
    """{file: names of the suites whose calls it has}; what Python costs and whole steps have no calls of their own."""
    found: dict = {"bench.json": [], "memory.json": []}
    for name, suite in suites().items():
        if name not in ("launch", "step"):
            found["memory.json" if hasattr(suite, "AXIS") else "bench.json"].append(name)
    return found


def main():
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "shapes")
    parser.add_argument("--dtype", action="append", help="only this dtype; may be given again (default: bfloat16)")
    parser.add_argument("--suite", action="append", choices=suites(), help="only this suite; may be given again")
    options = parser.parse_args()
    for file, names in files().items():
        names = [each for each in names if each in (options.suite or names)]
        if not names:
            continue
        tritorch.set_default_device("interpreter")
        with nothing_runs():
            worth = all_calls(names, options.dtype or ["bfloat16"])
            trace = worth.write(options.folder / file, f"tritorch bench {' '.join(names)}")
        print(f"{options.folder / file}: {len(trace.problems)} problems, {trace.count} calls")


if __name__ == "__main__":
    main()
