"""What DistributedDataParallel costs and gains over MPI on a CPU, on the step of the MNIST net, one BLAS thread a rank.

    pip install 'tritorch[distributed]' && python benchmarks/distributed.py [--rounds N] [--steps N] [--json FILE]

Ways in turn, round by round, so that a machine that slows down slows all: the plain step, the wrapped module on one
rank, and on two ranks with a batch each. Quotes the median over the rounds of ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

from tritorch.distributed.launcher import find_mpiexec

WAYS = {"plain": 1, "one rank": 1, "two ranks": 2}


def rank(way, steps):
    """One rank of one way: prints the seconds of each step."""
    import tritorch
    from tritorch import distributed as dist
    from tritorch.bench.nets import mnist_cnn
    from tritorch.nn.parallel import DistributedDataParallel

    tritorch.set_default_device("cpu")
    dist.init_process_group("mpi")
    tritorch.manual_seed(0)
    training = mnist_cnn.training(False, False)
    model = training.net(tritorch)
    if way != "plain":
        model = DistributedDataParallel(model)
    optimizer = training.optimizer(tritorch, model.parameters())
    images, classes = tritorch.randn(training.count, 1, 28, 28), tritorch.randint(0, 10, (training.count,))
    seconds = []
    for step in range(steps + 2):
        if step == 2:
            dist.barrier()
        started = time.perf_counter()
        optimizer.zero_grad()
        model(images, classes).backward()
        optimizer.step()
        if step >= 2:  # the first ones make caches and the order of buckets
            seconds.append(time.perf_counter() - started)
    if dist.get_rank() == 0:
        sys.stdout.write(json.dumps(seconds) + "\n")
    dist.destroy_process_group()


def measured(way, steps):
    """The mean seconds of a step of a way, in processes of its own."""
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [find_mpiexec(), "-n", str(WAYS[way]), sys.executable, __file__, "--rank", way, "--steps", str(steps)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    return statistics.mean(json.loads(done.stdout.splitlines()[-1]))


def main():
    """Measure, print, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        rank(options.rank, options.steps)
        return
    rounds = []
    for number in range(options.rounds):
        rounds.append({way: measured(way, options.steps) for way in WAYS})
        parts = ", ".join(f"{way} {seconds * 1e3:.1f} ms" for way, seconds in rounds[-1].items())
        sys.stdout.write(f"round {number + 1}: {parts}\n")
        sys.stdout.flush()
    overhead = [each["one rank"] / each["plain"] for each in rounds]
    gain = [2 * each["one rank"] / each["two ranks"] for each in rounds]
    rows = [
        {"case": "one rank, time over the plain step", "ratio": statistics.median(overhead), "target": 1.05,
         "low": min(overhead), "high": max(overhead)},
        {"case": "two ranks, throughput over one rank", "ratio": statistics.median(gain), "target": 1.6,
         "low": min(gain), "high": max(gain)},
    ]  # fmt: skip
    for row in rows:
        sys.stdout.write(f"{row['case']}: {row['ratio']:.3f} ({row['low']:.3f}-{row['high']:.3f}), {row['target']}\n")
    if options.json:
        about = {"python": platform.python_version(), "processors": os.cpu_count()}
        with open(options.json, "w") as file:
            json.dump({"suite": "distributed", "environment": about, "rows": rows, "rounds": rounds}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
