"""What a launch costs on the host: microseconds from `kernel[grid](...)` to the driver's queue, for 6 and 16 arguments.

    python benchmarks/launch.py

Needs a GPU, or the stub driver of tests/stub in its place, whose launch does nothing: then what is measured is Python
and cuda-core alone. On a GPU the kernels are empty, and waiting for them is not part of the time.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tritorch.runtime import tl
from tritorch.runtime.cuda import array, driver
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.kernel import Kernel

LAUNCHES, ROUNDS = 1000, 30


@Kernel
def six(
    x,  # nothing is read: (16,)
    y,  # nothing is read: (16,)
    out,  # nothing is written: (16,)
    n,
    alpha,
    BLOCK: tl.constexpr,
):
    tl.static_assert(BLOCK == 128)


@Kernel
def sixteen(
    a,  # nothing is read: (16,)
    b,  # nothing is read: (16,)
    c,  # nothing is read: (16,)
    d,  # nothing is read: (16,)
    e,  # nothing is written: (16,)
    rows,
    columns,
    inner,
    a_row,
    a_column,
    b_row,
    b_column,
    alpha,
    beta,
    BLOCK: tl.constexpr,
    EVEN: tl.constexpr,
):
    tl.static_assert(BLOCK == 128)


def measure(launch):
    """The median over rounds of the time of a launch, in microseconds, after a warm-up."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(LAUNCHES):
            launch()
        times.append((time.perf_counter() - start) / LAUNCHES)
        streams.synchronize()
    return 1e6 * sorted(times)[len(times) // 2], 1e6 * min(times)


def main():
    if not driver.is_available():
        print(f"no GPU: {driver.why_not()}", file=sys.stderr)
        return 3
    x, y, z, u, v = (array.empty((16,), np.float32) for _ in range(5))
    cases = {
        6: lambda: six[(4,)](x, y, z, 1000, 0.5, BLOCK=128, num_warps=4),
        16: lambda: sixteen[(4, 2)](
            x, y, z, u, v, 1000, 64, 48, 64, 1, 48, 1, 0.5, 2.0, BLOCK=128, EVEN=True, num_warps=4
        ),
    }
    print(f"{driver.properties().name}: microseconds a launch")
    for count, launch in cases.items():
        median, best = measure(launch)
        print(f"{count:3} arguments   median {median:.2f}   best {best:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
