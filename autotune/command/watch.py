"""What people see while a sweep runs: a live table on a terminal, else a line now and then; and what it came to."""

from __future__ import annotations

import time
from collections import Counter

from rich.live import Live
from rich.table import Table
from rich.text import Text

from tritorch.autotune.figures import (
    count_text,
    duration_text,
    gain_text,
    kernel_name,
    rate_text,
    share_text,
    time_text,
)
from tritorch.autotune.trial import show_config
from tritorch.autotune.tuner import BROKEN, Listener

LIVE = ("op", "shape", ">done", ">time", ">gain", ">rate", ">roofline", "failed", "left")
CLOSING = ("op", "shape", "dtype", ">trials", ">time", ">gain", ">rate", ">roofline", "failed", "ended", "best config")
_EVERY = 10.0  # seconds between plain lines of one subject
_REDRAWN = 2  # times a second
_AROUND = 8  # lines of a terminal that the live table leaves free


def names(subject):
    """The op, and its kernel where it has several; the shape."""
    op = subject.problem.name
    return (f"{op} {kernel_name(subject.key)}" if subject.companions else op), subject.problem.label


def failures(subject):
    """How many trials failed, by cause, as text."""
    found = Counter(each.state for each in subject.entry.trials if not each.ok)
    return ", ".join(f"{count} {state}" for state, count in found.most_common()) or "-"


def figures(subject):
    """Time, gain over the default, rate and share of the roofline of the best config, as texts."""
    best, work = subject.entry.best(), subject.entry.work
    if best is None:
        return "-", "-", "-", "-"
    roofline = work.get("roofline")
    share = roofline / best.seconds if roofline else None
    return time_text(best.seconds), gain_text(subject.gain), rate_text(work, best.seconds), share_text(share)


def closing_row(subject):
    """What a subject came to, a text for each of CLOSING."""
    best, trials = subject.entry.best(), f"{subject.new} new of {len(subject.entry.trials)}"
    config = (
        "none works" if best is None and subject.entry.trials else "-" if best is None else show_config(best.config)
    )
    ended = f"{subject.ended}: {subject.trouble}" if subject.ended == BROKEN else subject.ended or "interrupted"
    return (*names(subject), subject.problem.dtype, trials, *figures(subject), failures(subject), ended, config)


class PlainWatch(Listener):
    """A line when a subject's search begins and ends, and every ten seconds between."""

    def __init__(self, console):
        self.console, self.last = console, 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def began(self, tuner, subject):
        """Say what is tuned."""
        self._say(f"{_title(subject)}: tuning")

    def tried(self, tuner, subject, trial):
        """Say how far it is, if that was not said lately."""
        if time.monotonic() - self.last > _EVERY:
            self._say(
                f"{_title(subject)}: {subject.done} of {subject.planned}, {_found(subject)}, {_left(tuner, subject)}"
            )

    def ended(self, tuner, subject):
        """Say what was found."""
        end = f"{subject.ended}{subject.trouble and ': ' + subject.trouble}"
        self._say(f"{_title(subject)}: {count_text(subject.new, 'new trial')}, {_found(subject)}, {end}")

    def _say(self, text):
        self.console.file.write(f"{text}\n")
        self.console.file.flush()
        self.last = time.monotonic()


def _title(subject):
    return f"{' '.join(names(subject))} {subject.problem.dtype}"


def _found(subject):
    seconds, gain, rate, share = figures(subject)
    failed = failures(subject)
    found = f"best {seconds}, {gain} of the default, {rate}, {share} of the roofline"
    text = found if subject.entry.best() is not None else "none works yet"
    return f"{text}, failed: {failed}" if failed != "-" else text


def _left(tuner, subject):
    """About how long the search of a subject may take yet, as text."""
    now = tuner.clock()
    a_trial = (subject.seconds + now - subject.began) / max(subject.new, 1)
    guess = a_trial * max(subject.planned - subject.done, 0)
    return f"about {duration_text(max(min(subject.ends - now, guess), 0.0))} left"


class LiveWatch(Listener):
    """A table that is drawn anew while the sweep runs, a row a subject."""

    def __init__(self, console):
        self.console, self.tuner, self.current = console, None, None
        self.rows: dict = {}  # of subjects that have ended
        self.live = Live(console=console, get_renderable=self.table, refresh_per_second=_REDRAWN, transient=True)

    def __enter__(self):
        self.live.start()
        return self

    def __exit__(self, *_):
        self.live.stop()

    def began(self, tuner, subject):
        """Follow this one."""
        self.tuner, self.current = tuner, subject
        self.rows.pop(id(subject), None)

    def ended(self, tuner, subject):
        """Its row stays as it is."""
        self.rows[id(subject)] = self._row(subject)

    def table(self):
        """The table as it stands; where the terminal is short, the rows around the subject at hand."""
        tuner = self.tuner
        subjects = list(tuner.subjects) if tuner is not None else []
        done = sum(bool(each.ended) for each in subjects)
        left = f", {duration_text(tuner.left)} of the budget left" if tuner is not None and tuner.left < 1e9 else ""
        table = Table(title=f"{done} of {len(subjects)} tuned{left}", title_justify="left", header_style="bold")
        for name in LIVE:
            right = name.startswith(">")
            table.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=name != "failed")
        height = max(self.console.height - _AROUND, 3)
        at = subjects.index(self.current) if self.current in subjects else 0
        first = max(min(at - height // 2, len(subjects) - height), 0)
        for subject in subjects[first : first + height]:
            style = "bold" if subject is self.current else ""
            table.add_row(*map(Text, self.rows.get(id(subject)) or self._row(subject)), style=style)
        return table

    def _row(self, subject):
        done = f"{subject.done}/{subject.planned}" if subject.planned else "-"
        running = subject is self.current and not subject.ended
        end = _left(self.tuner, subject).removeprefix("about ").removesuffix(" left") if running else subject.ended
        return (*names(subject), done, *figures(subject), failures(subject), end)
