"""What it costs on the host that launches ask for their config: known before, not known before, and found in a store.

    python benchmarks/config.py

Needs no GPU: the arrays are objects that have what `config` looks at, a device, a dtype's number and a pointer. What is
known or computed is given in seconds of the processor, so that other programs beside this one do not count.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

import numpy as np

import tritorch
from tritorch.autotune import DeviceInfo, lookup
from tritorch.autotune.device import environment_of
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Entry, Timing, Trial
from tritorch.autotune.tunable import KERNELS, forget_all_configs, pretending

ASKED, ROUNDS, TRIALS = 20_000, 15, 300
GPU = DeviceInfo("cuda", 132, 232_448, 90, "none in particular")
CASES = {"matrix.kernel.matmul_kernel": 5, "rowwise.kernel.softmax_kernel": 2}  # kernels, and how many arrays they take


class Array:
    """What an array on a GPU shows to `config`."""

    __slots__ = ("code", "device", "dtype", "pointer")

    def __init__(self):
        self.device, self.pointer, self.dtype, self.code = tritorch.device("cpu"), 4096, np.dtype(np.float32), 3


def asking(kernel, known, arrays):
    """A function that asks a kernel for its config so many times, as a launch site does: by names in the call."""
    names = {"config": kernel.config, "arrays": arrays} | {f"_{name}": value for name, value in known.items()}
    call = f"config(({', '.join(f'arrays[{at}]' for at in range(len(arrays)))},), "
    call += ", ".join(f"{name}=_{name}" for name in known) + ")"
    exec(f"def ask(count):\n    for _ in range(count):\n        {call}\n", names)
    return names["ask"]


def microseconds(ask, count):
    """The median and the least over rounds of the time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        ask(count)
        times.append((time.thread_time() - start) / count * 1e6)
    return f"{sorted(times)[ROUNDS // 2]:9.2f} {min(times):9.2f}"


def once(function):
    """The microseconds of one call, waiting for the disk included."""
    start = time.perf_counter()
    function()
    return f"{(time.perf_counter() - start) * 1e6:9.0f}"


def save_one_by_one(entry, default):
    """Save an entry after each of many trials, as a sweep does."""
    store, environment = Store(), environment_of(GPU)
    for at in range(TRIALS):
        timing = Timing(1e-3, 1e-3 + at * 1e-6, 2e-3, 20)
        entry.put(Trial({**default, "num_warps": default["num_warps"] if not at else -at}, timing=timing))
        store.save(environment, entry)


def measure(kernel, count):
    """Print the table of one kernel."""
    known = dict.fromkeys(kernel.sizes, 256) | dict.fromkeys(kernel.facts)
    ask = asking(kernel, known, [Array() for _ in range(count)])
    print(f"{kernel.kernel_name}, {count} arrays, {len(known)} sizes and facts: microseconds, median and best")
    ask(1)
    print("  known before             ", microseconds(ask, ASKED))

    def computed(times):
        for _ in range(times):
            forget_all_configs()
            ask(1)

    print("  computed by its formula  ", microseconds(computed, 100))
    key = kernel.key_for([Array() for _ in range(count)], known)
    default = kernel.default(GPU, **{name: known[name] for name in kernel.sizes})
    spent = once(lambda: save_one_by_one(Entry(key), default))
    print(f"  {TRIALS} trials saved, each {float(spent) / TRIALS:9.0f}")
    lookup.forget()
    print("  found in the store       ", once(lambda: ask(1)))


def main():
    with tempfile.TemporaryDirectory() as folder, pretending(GPU):
        os.environ["TRITORCH_CACHE_DIR"] = folder
        for name, count in CASES.items():
            measure(KERNELS[f"tritorch.ops.{name}"], count)
            lookup.forget()
    return 0


if __name__ == "__main__":
    sys.exit(main())
