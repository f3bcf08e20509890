"""Kill sweeps at random moments, and run many at once: nothing that finished is lost, repeated, or left half written.

    python benchmarks/sweep_kills.py --kills 20
    python benchmarks/sweep_kills.py --together 8

Sweeps are whole ones of the command line, on the interpreter device, into a store of their own. --json writes figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tritorch.autotune.store import Store
from tritorch.autotune.trial import config_name

SWEEP = ["sweep", "matmul", "--shape", "M=256,N=256,K=256", "--device", "interpreter", "--budget", "600s"]


def main():
    """Run what was asked for; 1 if something was lost, repeated or broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0, help="kill a sweep this many times, then let it end")
    parser.add_argument("--together", type=int, default=0, help="run this many sweeps at once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", help="write figures to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.kills:
            found["kills"] = kill_many(Path(folder, "killed"), options.kills, random.Random(options.seed))
        if options.together:
            found["together"] = run_together(Path(folder, "together"), options.together)
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return int(any(each["wrong"] for each in found.values()))


def child(log):
    """A sweep that writes down which configs it tries, before it tries them."""
    from tritorch.autotune.worker import RemoteBench
    from tritorch.cli.main import main as command_line

    trial = RemoteBench.trial

    def noted(self, kernel_name, key, config, others=()):
        with open(log, "a") as file:
            file.write(f"{key.digest} {config_name(config)}\n")
        return trial(self, kernel_name, key, config, others)

    RemoteBench.trial = noted
    return command_line(["autotune", *SWEEP])


def start(folder, log):
    """A process that sweeps into the store of a folder."""
    command = [sys.executable, __file__, "--child", str(log)]
    environment = os.environ | {"TRITORCH_CACHE_DIR": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def finished(folder):
    """The trials in the store of a folder, and whether every sweep came to its end; a warning is an error here."""
    store = Store(folder / "autotune")
    entries = [entry for environment, _ in store.environments() for entry in store.entries(environment)]
    trials = {f"{entry.key.digest} {config_name(each.config)}" for entry in entries for each in entry.trials}
    return trials, bool(entries) and all(each.finished for each in entries)


def lines(log):
    """What a child wrote down."""
    return log.read_text().splitlines() if log.exists() else []


def whole_run(folder):
    """How long a sweep takes from start to end, to choose moments from."""
    folder.mkdir()
    began = time.monotonic()
    start(folder, folder / "log").wait()
    return time.monotonic() - began, lines(folder / "log")


def kill_many(folder, kills, moments):
    """Kill sweeps until `kills` were killed, each anywhere between its start and its end, then let one end."""
    folder.mkdir()
    seconds, expected = whole_run(folder / "whole")
    wrong, killed, runs, rounds, begun = [], 0, 0, 0, 0
    while killed < kills:
        store, done, rounds = folder / f"store {rounds}", False, rounds + 1
        while not done:
            before, log, runs = finished(store)[0], folder / f"log {runs}", runs + 1
            process = start(store, log)
            try:
                process.wait(moments.uniform(0, seconds) if killed < kills else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            after, done = finished(store)
            tried = lines(log)
            begun += len(tried)
            if set(tried) & before:
                wrong.append(f"run {runs} repeated {sorted(set(tried) & before)}")
            if not before <= after or len(after - before) < len(tried) - 1:
                wrong.append(f"run {runs} lost {sorted((before | set(tried[:-1])) - after)}")
        if sorted(finished(store)[0]) != sorted(expected):
            wrong.append(f"store {rounds} has other trials than a sweep that was not killed")
    return {"killed": killed, "runs": runs, "stores": rounds, "trials": len(expected), "begun": begun,
            "interrupted": begun - rounds * len(expected), "seconds": round(seconds, 1), "wrong": wrong}  # fmt: skip


def run_together(folder, count):
    """Run sweeps at once into one store."""
    folder.mkdir()
    began = time.monotonic()
    processes = [start(folder, folder / f"log {number}") for number in range(count)]
    codes = [process.wait() for process in processes]
    seconds = time.monotonic() - began
    trials, done = finished(folder)
    tried = [each for number in range(count) for each in lines(folder / f"log {number}")]
    wrong = [f"exit codes {codes}"] if any(codes) else []
    wrong += [] if done else ["an entry is not finished"]
    wrong += [f"lost {sorted(set(tried) - trials)}"] if set(tried) - trials else []
    wrong += [f"left {each.name}" for each in folder.rglob("*.tmp")]
    again, log = start(folder, folder / "log again"), folder / "log again"
    wrong += [f"another run tried {lines(log)}"] if again.wait() or lines(log) else []
    return {"processes": count, "trials": len(trials), "tried": len(tried), "seconds": round(seconds, 1),
            "wrong": wrong}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
