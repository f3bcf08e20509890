"""Which knobs matter: the two that explain most of the times of an entry, against the time, failures hatched."""

from __future__ import annotations

import math
from collections import defaultdict

from tritorch.autotune.figures import time_text
from tritorch.autotune.report.markup import Markup, svg, tag
from tritorch.autotune.trial import show_config

STEPS = (1.03, 1.1, 1.25, 1.5, 2.0, 3.0)  # times the best, where one shade ends and the next begins
_WIDTH, _LEFT, _TOP, _ROW = 300, 46, 17, 24
_MOST_CELL = 64


def influence(trials, knob):
    """The share of the spread of the logarithms of times that a knob's values explain; 0 where it has one value."""
    groups = defaultdict(list)
    for each in trials:
        if each.ok and knob in each.config:
            groups[each.config[knob]].append(math.log(each.seconds))
    values = [value for group in groups.values() for value in group]
    if len(groups) < 2:
        return 0.0
    mean = sum(values) / len(values)
    total = sum((value - mean) ** 2 for value in values)
    between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in groups.values())
    return between / total if total else 0.0


def chosen_knobs(trials):
    """The names of the two knobs that matter most, of those that were tried at more than one value; may be fewer."""
    names = {name for each in trials for name in each.config}
    counts = {name: len({each.config.get(name) for each in trials}) for name in names}
    varied = [name for name in names if counts[name] > 1]
    return sorted(varied, key=lambda name: (-influence(trials, name), -counts[name], name))[:2]


def heat_map(figures):
    """The drawing of one entry, or None where no knob was tried at two values."""
    trials = figures.entry.trials
    knobs = chosen_knobs(trials)
    if not knobs:
        return None
    down, across = knobs[0], knobs[1] if len(knobs) > 1 else None
    rows, columns = _values(trials, down), _values(trials, across)
    cells = defaultdict(list)
    for each in trials:
        cells[each.config.get(down), each.config.get(across)].append(each)
    cell = min(_MOST_CELL, (_WIDTH - _LEFT - 4) / len(columns))
    best = figures.best
    chosen = None if best is None else (best.config.get(down), best.config.get(across))
    parts = []
    for row, a in enumerate(rows):
        for column, b in enumerate(columns):
            box = (_LEFT + column * cell, _TOP + row * _ROW, cell - 2, _ROW - 2)
            parts.append(_cell(cells.get((a, b)), box, figures.seconds, (a, b) == chosen))
    height = _TOP + len(rows) * _ROW + (34 if across else 4)
    parts.append(_names(rows, columns, (down, across), cell, height))
    return svg(_WIDTH, height, *parts, label=f"Times of {figures.name} by {' and '.join(knobs)}")


def _values(trials, knob):
    found = {each.config.get(knob) for each in trials}
    return sorted(found, key=lambda value: (isinstance(value, (int, float)), str(type(value)), value)) if all(
        isinstance(each, (int, float)) for each in found) else sorted(found, key=str)  # fmt: skip


def _cell(tried, box, best, chosen):
    """One cell: the fastest trial with those two values, hatched where all failed, empty where none was made."""
    x, y, width, height = box
    place = {"x": x, "y": y, "width": width, "height": height, "rx": 2}
    if not tried:
        return tag("rect", **place, class_="untried")
    usable = [each for each in tried if each.ok]
    if not usable:
        causes = "\n".join(sorted({f"{each.state}: {each.cause}" for each in tried}))
        return tag("g", tag("title", causes), tag("rect", **place, class_="hatched"))
    fastest = min(usable, key=lambda each: each.seconds)
    ratio = fastest.seconds / best
    shade = sum(ratio > step for step in STEPS)
    tip = f"{time_text(fastest.seconds)}, {ratio:.2f} times the best\n{show_config(fastest.config)}"
    if len(usable) < len(tried):
        tip += f"\n{len(tried) - len(usable)} of {len(tried)} failed"
    text = f"{ratio:.2f}" if width >= 32 and ratio < 9.95 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
    number = tag("text", text, x=x + width / 2, y=y + height / 2 + 3.8, text_anchor="middle", class_=f"t{shade}")
    return tag("g", tag("title", tip), tag("rect", **place, class_=f"h{shade}{' chosen' if chosen else ''}"),
               number if width >= 22 else None)  # fmt: skip


def _names(rows, columns, knobs, cell, height):
    down, across = knobs
    texts = [tag("text", down, x=0, y=10)]
    texts += [
        tag("text", _short(value), x=_LEFT - 6, y=_TOP + row * _ROW + _ROW / 2 + 3, text_anchor="end")
        for row, value in enumerate(rows)
    ]
    if across is not None:
        texts += [
            tag("text", _short(value), x=_LEFT + column * cell + cell / 2 - 1, y=height - 20.0, text_anchor="middle")
            for column, value in enumerate(columns)
        ]
        texts.append(tag("text", across, x=_LEFT + len(columns) * cell / 2, y=height - 4.0, text_anchor="middle"))
    return tag("g", texts, class_="axis")


def _short(value):
    text = str(value)
    return text if len(text) <= 7 else f"{text[:6]}…"


def hatching():
    """The pattern that hatched cells are filled with, once a page."""
    lines = tag("path", d="M-1 1l2 -2M0 6l6 -6M5 7l2 -2", class_="hatch")
    pattern = tag("pattern", lines, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse")
    return Markup(f'<svg width="0" height="0" class="defs" aria-hidden="true"><defs>{pattern}</defs></svg>')


def legend():
    """What the shades mean, in a line."""
    ends = [*(f"to {step:g}" for step in STEPS), f"over {STEPS[-1]:g}"]
    swatches = [tag("span", _swatch(f"h{at}"), text) for at, text in enumerate(ends)]
    return tag("p", tag("span", "times the best:"), swatches, tag("span", _swatch("hatched"), "failed"),
               tag("span", _swatch("untried"), "not tried"), class_="legend")  # fmt: skip


def _swatch(class_):
    return svg(22, 12, tag("rect", x=1, y=1, width=20, height=10, rx=2, class_=class_), label=class_)
