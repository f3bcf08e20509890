"""Whether launches find tuned configs, and whether these are still as fast as they were."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack

from tritorch.autotune import lookup
from tritorch.autotune.command.cases import Case, name_of
from tritorch.autotune.command.why import everything_known, explain
from tritorch.autotune.device import environment_of
from tritorch.autotune.figures import time_text
from tritorch.autotune.store import Store
from tritorch.autotune.tables import parse_table
from tritorch.autotune.trial import show_config
from tritorch.autotune.tunable import Asked
from tritorch.autotune.tuner import find_subjects, info_of
from tritorch.autotune.worker import Worker

_TUNED = (lookup.EXPLICIT, lookup.PINNED, lookup.CACHED, lookup.BUNDLED)


def hit_cases(problems, device):
    """A Case for each kernel and key that problems ask for: a miss says what the nearest entry differs in."""
    info, known = info_of(device), everything_known()
    for subject in find_subjects(problems, info):
        found = lookup.find(subject.kernel, subject.key, info, subject.known)
        case = Case("hit", name_of(subject))
        if found.source in _TUNED:
            case.summary = f"{show_config(found.config)} of the {found.source}"
        else:
            asked = Asked(subject.kernel, subject.key, info, subject.known, found.config)
            case.failures.append(next(iter(explain(asked, known))))
        yield case


def regress_cases(problems, device, most):
    """A Case for each tuned kernel and key: its config, measured in turn with the default, against what is recorded.

    `most` is the share by which it may be slower; what is slower is measured once more before it counts.
    """
    info, workers = info_of(device), {}
    with ExitStack() as stack:
        for subject in find_subjects(problems, info):
            found = lookup.find(subject.kernel, subject.key, info, subject.known)
            if found.source in _TUNED[1:]:
                start, policy = time.perf_counter(), found.key.policy
                if policy not in workers:
                    workers[policy] = stack.enter_context(Worker(device, policy))
                case = _measured(subject, found, _recorded(found, info), workers[policy], most)
                case.seconds = time.perf_counter() - start
                yield case


def _measured(subject, found, recorded, worker, most):
    case, name, timings = Case("regress", name_of(subject)), subject.kernel.kernel_name, [None]
    configs = [found.config] if found.config == subject.default else [found.config, subject.default]
    for _ in range(2):
        try:
            timings = worker.bench(subject.problem).finals(name, found.key, configs)
        except Exception as error:  # of the problem's own code, whatever it is
            case.failures = [f"{show_config(found.config)} cannot be measured: {error}"]
            continue
        case.failures = list(_slower(timings, recorded, most))
        if not case.failures:
            break
    if timings[0] is not None:
        default = timings[1].p50 if len(timings) > 1 and timings[1] is not None else math.nan
        case.summary = (
            f"{show_config(found.config)} of the {found.source}: {time_text(timings[0].p50)}, "
            f"default {time_text(default)}, recorded {time_text(recorded or math.nan)}"
        )
    return case


def _slower(timings, recorded, most):
    """What a config is too slow against, a line each."""
    mine, default = timings[0], timings[1] if len(timings) > 1 else None
    if mine is None:
        yield "it does not run"
        return
    for what, seconds in (("recorded", recorded), ("the default", default and default.p50)):
        if seconds and mine.p50 > seconds * (1 + most):
            yield f"{time_text(mine.p50)}, {mine.p50 / seconds - 1:.1%} slower than {what}, {time_text(seconds)}"


def _recorded(found, info):
    """The seconds that the cache or a table has for an Answer, or None."""
    if found.source == lookup.CACHED:
        entry = Store().load(environment_of(info), found.key)
        trial = entry.find(found.config) if entry is not None else None
        return trial.seconds if trial is not None and trial.ok else None
    rows = (row for table in parse_table(found.file) for row in table.rows)
    return next((row.seconds for row in rows if row.key == found.key and row.config == found.config), None)
