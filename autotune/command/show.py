"""Show what the store holds: environments, entries with their best configs, and with one entry all its trials.

    tritorch autotune show
    tritorch autotune show matmul --device cuda
    tritorch autotune show 3f9a --json

Times are medians. `gain` is the default's time over the best's, `roofline` the share of what the hardware could do.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from tritorch.autotune.command.selection import add_selection, refusing, selected
from tritorch.autotune.command.table import print_table
from tritorch.autotune.figures import duration_text, figures_of, gain_text, share_text, time_text
from tritorch.autotune.store import Store
from tritorch.autotune.tables import named_tables, pinned_folder, tables_in
from tritorch.autotune.trial import OK, config_to_json, show_config
from tritorch.cli.main import GOOD

_COLUMNS = ("op", "sizes", "dtypes", "best config", ">time", ">gain", ">rate", ">roofline", ">trials", "failed",
            "effort", ">age", "entry")  # fmt: skip
_TRIALS = (">#", "state", ">p50", ">p20", ">p80", ">final", ">registers", ">spills", ">shared", ">error", "config",
           "cause")  # fmt: skip


def add_arguments(parser):
    """OP..., --device, --environment, --all-trials, --json."""
    add_selection(parser, "show")
    parser.add_argument("--all-trials", action="store_true", help="every trial of each entry, not only of a single one")
    parser.add_argument("--json", action="store_true", help="print JSON")


@refusing
def run(options):
    """Print the tables, or the JSON."""
    store = Store()
    parts = selected(options, store)
    count = sum(len(part.entries) for part in parts)
    trials = options.all_trials or (count == 1 and bool(options.names))
    if options.json:
        print(json.dumps({"environments": [_part_json(store, part, trials) for part in parts]}, indent=1))
        return GOOD
    for file in (*named_tables(), *tables_in(pinned_folder())):
        print(f"pinned table: {file}")
    if not count:
        print(f"nothing is stored in {store.root}; `tritorch autotune sweep OP` finds configs")
        return GOOD
    for part in parts:
        _print_part(store, part)
        for entry in part.entries if trials else ():
            _print_trials(entry)
    return GOOD


def _print_part(store, part):
    environment = part.environment
    rows = [_row(figures_of(entry), _age(store, environment, entry)) for entry in part.entries]
    title = f"{environment.folder}: driver {environment.driver}, Triton {environment.triton}, {environment.flags}"
    print_table(_COLUMNS, rows, title)


def _row(figures, age):
    failed = " ".join(f"{count} {state}" for state, count in figures.failures.items())
    return (
        figures.title,
        figures.sizes,
        figures.dtypes,
        "none works" if figures.best is None else show_config(figures.best.config),
        time_text(figures.seconds),
        gain_text(figures.gain),
        figures.rate_text,
        share_text(figures.share),
        str(len(figures.entry.trials)),
        failed,
        figures.entry.finished or "unfinished",
        "-" if age is None else duration_text(age),
        figures.entry.key.short,
    )


def _age(store, environment, entry):
    """Seconds since an entry was last written, None where it is not on disk."""
    try:
        return max(0.0, time.time() - store.path(environment, entry.key).stat().st_mtime)
    except OSError:
        return None


def _print_trials(entry):
    best = entry.best()
    rows = []
    for number, trial in enumerate(entry.trials, 1):
        timing, final, taken = trial.timing, trial.final, trial.resources
        times = [time_text(each) for each in (timing.p50, timing.p20, timing.p80)] if timing else ["-"] * 3
        used = ["-" if each is None else str(each) for each in (taken.registers, taken.spills, taken.shared_memory)]
        state = "best" if trial is best else trial.state
        error = "-" if trial.error is None else f"{trial.error:.2g}"
        final_text = time_text(final.p50) if final else "-"
        rows.append((number, state, *times, final_text, *used, error, show_config(trial.config), trial.cause))
    fields = ", ".join(f"{name} {text}" for name, text in entry.key.fields().items())
    print_table(_TRIALS, rows, f"\n{entry.key.digest}: {fields}")


def _part_json(store, part, trials):
    entries = [_entry_json(store, part.environment, entry, trials) for entry in part.entries]
    return {"folder": part.environment.folder, "environment": asdict(part.environment), "entries": entries}


def _entry_json(store, environment, entry, trials):
    figures = figures_of(entry)
    best = figures.best
    found = {
        "digest": entry.key.digest,
        "op": figures.name,
        "kernel": entry.key.kernel,
        "sizes": figures.sizes,
        "dtypes": figures.dtypes,
        "best": None if best is None else config_to_json(best.config),
        "seconds": None if best is None else best.seconds,
        "gain": figures.gain,
        "roofline_share": figures.share,
        "trials": {OK: len(entry.trials) - figures.failed, **figures.failures},
        "finished": entry.finished,
        "age": _age(store, environment, entry),
        "key": entry.key.to_json(),
        "work": entry.work,
    }
    return found | ({"all_trials": [each.to_json() for each in entry.trials]} if trials else {})
