"""What a sweep says without running a kernel: what it would tune, and what candidates take when they are compiled."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter

import tritorch
from tritorch.autotune.command.selection import Refused
from tritorch.autotune.command.table import print_table
from tritorch.autotune.command.watch import names
from tritorch.autotune.device import environment_of, generation
from tritorch.autotune.figures import duration_text
from tritorch.autotune.precompile import Compilers
from tritorch.autotune.problem import describe
from tritorch.autotune.search import Search, covers
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Trial, config_to_json, show_config
from tritorch.autotune.tuner import find_subjects, info_of, new_values
from tritorch.cli.main import GOOD, NOTHING_VALID
from tritorch.runtime.files import whole_file

FORMAT = 1  # of the file that --compile-only --json writes
_COUNTED = 100_000  # configs of a space


def dry_run(options, problems, device):
    """Say what a sweep would tune: each kernel and shape, its space, what is known of it, its part of the budget."""
    info, store = info_of(device), Store()
    subjects = find_subjects(problems, info, options.policy)
    rows = []
    for subject in subjects:
        entry = store.load(environment_of(info), subject.key)
        if entry is not None:
            subject.entry = entry
    waiting = [each for each in subjects if options.fresh or options.resume or not _is_finished(each, options.effort)]
    whole = sum(each.share for each in waiting)
    for subject in subjects:
        part = options.budget * subject.share / whole if subject in waiting else 0.0
        rows.append((*names(subject), subject.problem.dtype, f"{_allowed(subject)} of {len(subject.kernel.space)}",
                     len(subject.entry.trials), _state(subject), _budget(part, subject in waiting),
                     show_config(subject.default)))  # fmt: skip
    print_table(("op", "shape", "dtype", ">configs", ">trials", "state", ">budget", "default config"), rows)
    print(f"{len(waiting)} of {len(subjects)} would be tuned, effort {options.effort}; nothing was run")
    return GOOD


def _is_finished(subject, effort):
    return covers(subject.entry.finished, effort) and not new_values(subject)


def _state(subject):
    if subject.entry.finished:
        return f"finished, {subject.entry.finished}" + (", its space has grown" if new_values(subject) else "")
    return "begun" if subject.entry.trials else "new"


def _budget(seconds, waiting):
    return "-" if not waiting else "no limit" if math.isinf(seconds) else duration_text(seconds)


def _allowed(subject):
    """How many configs the conditions allow, as text."""
    found = sum(1 for _ in itertools.islice(subject.kernel.space.configs(**subject.known), _COUNTED))
    return f"{found}{'+' if found == _COUNTED else ''}"


def compile_only(options, problems):
    """Compile the configs that a sweep would look at first, and say what they take and which of them do not fit."""
    try:
        info = generation(options.arch)
    except ValueError as error:
        raise Refused(str(error)) from error
    with Compilers(options.jobs) as compilers:
        subjects = find_subjects(problems, info, options.policy)
        found = [(each, _compiled(each, info, options, compilers)) for each in subjects]
    for subject, outcomes in found:
        for config, outcome in outcomes:
            if isinstance(outcome, Trial):
                print(f"{' '.join(names(subject))}: {show_config(config)}: {outcome.state}, {outcome.cause}")
    rows = [_compiled_row(subject, [outcome for _, outcome in outcomes]) for subject, outcomes in found]
    print_table(("op", "shape", "dtype", ">configs", ">fit", "failed", ">registers", ">spill", ">shared memory"), rows,
                f"compiled for {info.name}")  # fmt: skip
    if options.json:
        _write(options, info, found)
    works = all(any(not isinstance(outcome, Trial) for _, outcome in outcomes) for _, outcomes in found)
    return GOOD if works else NOTHING_VALID


def _compiled(subject, info, options, compilers):
    search = Search(
        subject.kernel.space,
        subject.default,
        subject.known,
        subject.entry,
        None,
        effort=options.effort,
        seed=options.seed,
    )
    configs = search.first_configs()
    configs = configs[: int(min(options.max_trials, len(configs)))]
    name = subject.kernel.kernel_name
    return list(compilers.compile(subject.problem, info, name, subject.key, configs))


def _compiled_row(subject, outcomes):
    failed = Counter(each.state for each in outcomes if isinstance(each, Trial))
    taken = [each for each in outcomes if not isinstance(each, Trial)]
    return (
        *names(subject), subject.problem.dtype, len(outcomes), len(taken),
        ", ".join(f"{count} {state}" for state, count in failed.items()) or "-",
        _range(each.registers for each in taken), sum(bool(each.spills) for each in taken),
        _range(each.shared_memory for each in taken),
    )  # fmt: skip


def _range(values):
    known = [each for each in values if each is not None]
    return f"{min(known)} to {max(known)}" if known else "-"


def _write(options, info, found):
    report = {
        "format": FORMAT,
        "command": "autotune sweep --compile-only",
        "tritorch": tritorch.__version__,
        "arch": info.name,
        "subjects": [
            {
                "op": subject.problem.name,
                "shape": subject.problem.label,
                "dtype": subject.problem.dtype,
                "problem": describe(subject.problem),
                "kernel": subject.kernel.kernel_name,
                "configs": [_outcome_json(config, outcome) for config, outcome in outcomes],
            }
            for subject, outcomes in found
        ],
    }
    with whole_file(options.json) as file:
        file.write(json.dumps(report, indent=1).encode() + b"\n")


def _outcome_json(config, outcome):
    if isinstance(outcome, Trial):
        return outcome.to_json()
    return {"config": config_to_json(config), "state": "ok", "resources": vars(outcome)}
