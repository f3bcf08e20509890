"""Hold the best config of each entry against the reference again, on this device, and mark the wrong ones.

    tritorch autotune verify
    tritorch autotune verify matmul --device cuda --all

What is wrong, or does not run, is recorded as such in the store, so that no launch takes it again, and makes the exit
code 1.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace

from tritorch.autotune.child import ChildError
from tritorch.autotune.command.selection import (
    Refused,
    add_selection,
    devices_here,
    need_triton,
    refusing,
    selected,
)
from tritorch.autotune.device import environment_of
from tritorch.autotune.figures import figures_of
from tritorch.autotune.lookup import forget
from tritorch.autotune.problem import problem_from
from tritorch.autotune.store import Store
from tritorch.autotune.trial import NO_MEMORY, show_config
from tritorch.autotune.worker import Worker
from tritorch.cli.main import FAILED, GOOD, NOTHING_VALID

RIGHT, BAD, SKIPPED = "right", "wrong", "not checked"


def add_arguments(parser):
    """OP..., --device, --environment, --all."""
    add_selection(parser, "verify")
    parser.add_argument("--all", action="store_true", help="every config that may be used, not only the best")


@refusing
def run(options):
    """Check, a line for each config; 1 if any is wrong."""
    need_triton()
    store, counts = Store(), Counter()
    here = {environment_of(info): device for device, info in devices_here()}
    parts = [part for part in selected(options, store) if part.environment in here]
    if not any(part.entries for part in parts):
        raise Refused(f"{store.root} has no such entry of this machine's devices as they are now", NOTHING_VALID)
    for part in parts:
        entries = sorted(part.entries, key=lambda entry: (entry.key.policy, json.dumps(entry.problem, sort_keys=True)))
        for policy, group in itertools.groupby(entries, key=lambda entry: entry.key.policy):
            with Worker(here[part.environment], policy) as worker:
                for entry in group:
                    for state, line in verified(worker, store, part.environment, entry, options.all):
                        counts[state] += 1
                        print(line, flush=True)
    forget()
    print(", ".join(f"{counts[state]} {state}" for state in (RIGHT, BAD, SKIPPED)))
    return FAILED if counts[BAD] else GOOD


def verified(worker, store, environment, entry, every=False):
    """Check an entry's best config, or every one; yields (state, line). After a wrong one the next best is checked."""
    figures = figures_of(entry)
    what = f"{figures.title} {figures.sizes} {figures.dtypes}"
    try:
        bench = worker.bench(problem_from(entry.problem))
        others = _others(bench.asked(), store, environment, entry)
    except (ValueError, TypeError, ChildError) as error:  # no such op or file now, or it does not run at all
        yield SKIPPED, f"{SKIPPED}  {what}: {error}"
        return
    for trial in entry.ranked():
        found = bench.trial(entry.key.kernel, entry.key, trial.config, others)
        if found.state == NO_MEMORY:
            yield SKIPPED, f"{SKIPPED}  {what}: {show_config(trial.config)}: {found.cause}"
            return
        if not found.ok:
            store.save(environment, replace(entry, trials=[found]))
            yield BAD, f"{BAD}  {what}: {show_config(trial.config)}: {found.state}: {found.cause}"
            continue
        yield RIGHT, f"{RIGHT}  {what}: {show_config(trial.config)}: error {found.error:.2g} of what is allowed"
        if not every:
            return


def _others(asked, store, environment, entry):
    """The best configs of what else an entry's problem asks for; a ValueError where it asks for the entry no more."""
    if not any((each.kernel.kernel_name, each.key) == (entry.key.kernel, entry.key) for each in asked):
        mine = [each.key for each in asked if each.key.kernel == entry.key.kernel]
        nearest = min(mine, key=entry.key.distance, default=None)
        differs = entry.key.differs(nearest) if nearest is not None else {}
        text = ", ".join(f"{name} ({ours} then, {theirs} now)" for name, (ours, theirs) in differs.items())
        raise ValueError(f"its problem asks for another key by now: {text or 'none of this kernel'}")
    found = []
    for each in asked:
        known = store.load(environment, each.key) if each.key != entry.key else None
        best = known.best() if known is not None else None
        if best is not None:
            found.append((each.kernel.kernel_name, each.key, best.config))
    return found
