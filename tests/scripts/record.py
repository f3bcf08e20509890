"""What the scripts here print in PyTorch: `record.py` writes expected.json, `record.py --compare` runs both libraries.

With --full each runs as many steps as it does by itself, which says how fast they are; losses drift apart by then.
Needs torch (and torchvision for the scripts that import it); tests/host/test_scripts.py then does without.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
HELPERS = ("alike", "corpora", "record")
VARIANTS = (
    "gcn.py --steps 5 --dense",
    "maml.py --steps 5 --first-order",
    "matrix_factorization.py --steps 5 --sparse",
    "pinn.py --steps 3 --lbfgs",
)
DIGITS = 8  # of a recorded loss


def commands(full=False):
    """All command lines: each script for five steps, and the variants; or each script as long as it takes."""
    names = sorted(path.name for path in HERE.glob("*.py") if path.stem not in HELPERS)
    return names if full else sorted([*(f"{name} --steps 5" for name in names), *VARIANTS])


def spent():
    """The seconds that processes started here have computed so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(launcher, command):
    """The losses of a script, the seconds it computed, and what it wrote to stderr if it failed."""
    script, *arguments = command.split()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "losses.json"
        environment = {**os.environ, "LOSSES_FILE": str(file), "OMP_NUM_THREADS": "1", "TRITORCH_DEVICE": "cpu"}
        call = [*launcher, str(HERE / script), *arguments]
        started = spent()
        found = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = spent() - started
        if found.returncode:
            return None, seconds, found.stderr
        return json.loads(file.read_text()), seconds, ""


def pytorch(preload):
    """How to start a script in PyTorch, with modules imported before it."""
    if not preload:
        return [sys.executable]
    start = f"import sys, runpy, {', '.join(preload)}; sys.argv = sys.argv[1:]; sys.path[0] = {str(HERE)!r}; "
    return [sys.executable, "-c", start + "runpy.run_path(sys.argv[0], run_name='__main__')"]


def record(chosen, preload):
    """Write the losses of PyTorch."""
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for command in chosen:
        losses, seconds, error = run(pytorch(preload), command)
        if losses is None:
            sys.exit(f"{command} failed:\n{error}")
        expected[command] = [float(f"{loss:.{DIGITS}g}") for loss in losses]
        print(f"{command:48} {seconds:5.1f} s  {losses[-1]:.6f}")
    known = set(commands())
    lines = (
        f"{json.dumps(command)}: {json.dumps(expected[command])}" for command in sorted(expected) if command in known
    )
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def difference(ours, theirs):
    """The largest difference of losses, relative to max(1, |loss|)."""
    if len(ours) != len(theirs):
        return float("inf")
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True))


def compare(chosen, preload):
    """Run both libraries, and print how far apart they are and how long they computed; gives the number of failures."""
    bad = 0
    print(f"{'command':48} {'difference':>10} {'PyTorch':>8} {'tritorch':>8}")
    for command in chosen:
        theirs, their_seconds, error = run(pytorch(preload), command)
        ours, our_seconds, our_error = run([sys.executable, "-W", "error", "-m", "tritorch", "run"], command)
        if theirs is None or ours is None:
            bad += 1
            last = (error or our_error).strip().splitlines()[-1]
            print(f"{command:48} {'failed':>10} {their_seconds:7.1f}s {our_seconds:7.1f}s  {last}")
            continue
        apart = difference(ours, theirs)
        bad += apart > 1e-4
        print(f"{command:48} {apart:10.1e} {their_seconds:7.1f}s {our_seconds:7.1f}s{'' if apart <= 1e-4 else '  <--'}")
    return bad


def main():
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", action="store_true", help="run both libraries and write nothing")
    parser.add_argument("--full", action="store_true", help="with --compare: as many steps as each script has")
    parser.add_argument("--only", default="", help="a part of the command line of the scripts to run")
    parser.add_argument("--preload", action="append", default=[], help="import this before a script in PyTorch")
    options = parser.parse_args()
    chosen = [command for command in commands(options.full and options.compare) if options.only in command]
    if options.compare:
        sys.exit(min(compare(chosen, options.preload), 1))
    record(chosen, options.preload)


if __name__ == "__main__":
    main()
