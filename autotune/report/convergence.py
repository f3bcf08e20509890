"""How the search went on: the best time so far against the number of trials, one small drawing an entry."""

from __future__ import annotations

import math

from tritorch.autotune.figures import time_text
from tritorch.autotune.report.markup import LogScale, path, svg, tag

_WIDTH, _HEIGHT = 260, 128
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 252, 10, 104
_HIGHEST = 2.0  # times the default; slower trials are drawn at the edge


def lowest_ratio(figures):
    """The lower end of the scale that all drawings share: the best time over the default's."""
    ratios = [each.best.seconds / _start(each).seconds for each in figures if each.best]
    return min([0.5, *ratios]) * 0.92


def convergence_plot(figures, lowest):
    """The drawing of one entry: a dot a trial, a step where one was better, a mark at the bottom for each failure."""
    trials, first = figures.entry.trials, _start(figures)
    y = LogScale(lowest, _HIGHEST * 1.08, _BOTTOM, _TOP)

    def x(number):
        return _LEFT + 6 + (_RIGHT - _LEFT - 12) * number / max(1, len(trials) - 1)

    dots, failures, steps, best = [], [], [], math.inf
    for number, trial in enumerate(trials):
        if not trial.ok:
            failures.append(f"M{x(number):.1f} {_BOTTOM + 2}v6")
            continue
        ratio = trial.seconds / first.seconds
        dots.append(tag("circle", cx=x(number), cy=y(min(ratio, _HIGHEST)), r=1.6))
        if ratio < best:
            steps += [(x(number), y(min(best, _HIGHEST)))] if steps else []
            steps.append((x(number), y(min(ratio, _HIGHEST))))
            best = ratio
    if steps:
        steps.append((x(len(trials) - 1), steps[-1][1]))
    parts = [
        _axes(y, len(trials)),
        tag("g", dots, class_="dots"),
        tag("path", d="".join(failures), class_="failures") if failures else None,
        path(steps, class_="steps") if steps else None,
        tag("circle", cx=steps[-1][0], cy=steps[-1][1], r=3.2, class_="best") if steps else None,
    ]
    said = time_text(figures.seconds) if figures.best else "no config works"
    return svg(_WIDTH, _HEIGHT, *parts, label=f"{figures.name}: {len(trials)} trials, best {said}")


def _axes(y, count):
    lines, texts = [], []
    for value in y.ticks(2):
        lines.append(tag("path", d=f"M{_LEFT} {y(value):.1f}H{_RIGHT}", class_="one" if value == 1 else None))
        if value >= 0.25 or len(y.ticks(2)) < 6 or math.log2(value) % 2 == 0:
            text = f"{value:g}x" if value >= 1 else f"1/{1 / value:g}"
            texts.append(tag("text", text, x=_LEFT - 5, y=y(value) + 3.5, text_anchor="end"))
    texts.append(tag("text", "1", x=_LEFT + 6, y=_HEIGHT - 4, text_anchor="middle"))
    if count > 1:
        texts.append(tag("text", f"{count} trials", x=_RIGHT, y=_HEIGHT - 4, text_anchor="end"))
    return [tag("g", lines, class_="grid"), tag("g", texts, class_="axis")]


def _start(figures):
    """What times are given over: the default's trial where it ran, else the first that did."""
    if figures.default is not None and figures.default.ok:
        return figures.default
    return next((each for each in figures.entry.trials if each.ok), figures.default)
