"""The NumPy path against torch on the CPU, in one process and one run: ratios of medians, measured in turn.

    pip install torch && python benchmarks/cpu.py [--quick] [--threads N] [--only TEXT] [--json FILE]

Each case runs ours and theirs alternately, so that a machine that slows down slows both. What is measured, and how much
of torch's time it may take, stands in cpu_cases.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from cpu_cases import CASES
from rich.console import Console
from rich.live import Live
from rich.table import Table

import tritorch


def seconds_per_call(function, repeats):
    """The mean time of a call over `repeats` calls."""
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - started) / repeats


def compare(make, rounds, seconds):
    """Medians of ours and theirs, timed alternately, each round about `seconds` long."""
    ours, theirs = make(tritorch), make(torch)
    repeats = []
    for function in (ours, theirs):
        function()
        repeats.append(max(1, int(seconds / seconds_per_call(function, 3))))
    times = [[seconds_per_call(f, n) for f, n in zip((ours, theirs), repeats, strict=True)] for _ in range(rounds)]
    pairs = sorted(a / b for a, b in times)
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return mine, other, statistics.median(pairs), pairs[0], pairs[-1]


@contextmanager
def shown_as_measured():
    """Gives a function that is told what is measured, then what was: a table that grows, or a line for each row.

    The lines are for logs: whatever ends the run, what was measured until then is there.
    """
    console = Console()
    table = Table(
        "case", "ours", "torch", "ratio", "spread", "target", title=f"CPU step times, torch {torch.__version__}"
    )

    def show(name, row=None):
        table.caption = f"measuring {name}" if row is None else ""
        if row is None:
            return
        color = "green" if row["ratio"] <= row["target"] else "red"
        ours, theirs = (f"{row[key]:,.1f} us" for key in ("ours_us", "torch_us"))
        ratio, spread = f"{row['ratio']:.2f}", f"{row['low']:.2f}-{row['high']:.2f}"
        table.add_row(name, ours, theirs, f"[{color}]{ratio}[/]", spread, f"<= {row['target']}")
        if not console.is_terminal:
            print(f"{name:48} {ours:>14} {theirs:>14} {ratio:>6} {spread:>11}  <= {row['target']}", flush=True)

    if not console.is_terminal:
        yield show
        return
    with Live(table, console=console, vertical_overflow="visible"):
        yield show


def main():
    """Measure all cases, show each as it is there, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, help="of torch; OMP_NUM_THREADS is for both")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this in it")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # torch's word about Dropout2d on matrices
    tritorch.set_default_device("cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    rounds, seconds = (5, 0.1) if options.quick else (11, 0.5)
    rows = []
    with shown_as_measured() as show:
        for name, (make, target) in CASES.items():
            if options.only not in name:
                continue
            show(name)
            mine, other, ratio, low, high = compare(make, rounds, seconds)
            rows.append({"case": name, "ours_us": mine * 1e6, "torch_us": other * 1e6, "ratio": ratio, "low": low,
                         "high": high, "target": target})  # fmt: skip
            show(name, rows[-1])
    if options.json:
        about = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
                 "threads": torch.get_num_threads(), "ratio": "our time over torch's: below 1 is faster"}  # fmt: skip
        with open(options.json, "w") as file:
            json.dump({"suite": "cpu", "environment": about, "rows": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
