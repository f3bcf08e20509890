"""The page's sections: each a heading, a sentence that says how to read it, and what there is to see."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict

from tritorch.autotune.figures import duration_text, gain_text, mean_gain, share_text, time_text
from tritorch.autotune.report import convergence, heat
from tritorch.autotune.report.markup import svg, tag
from tritorch.autotune.report.roofline import points_of, roofs_of
from tritorch.autotune.report.roofline_plot import NARROW, WIDE, roofline_plot
from tritorch.autotune.trial import COMPILE, CRASH, LAUNCH, RESOURCES, TIMEOUT, WRONG, show_config

MOST_PANELS = 24  # of small drawings; what is left out is in the table
_MOST_CAUSES = 20
_LONG = 40  # rows of a table, from which on it scrolls

_MEANINGS = {
    RESOURCES: "needs more shared memory or registers than there are",
    COMPILE: "the compiler refused it",
    WRONG: "its numbers are not the reference's, or it wrote where it must not",
    LAUNCH: "the driver refused it",
    TIMEOUT: "it did not come back in time",
    CRASH: "its process or the device went down with it",
}


def section(title, note, *children):
    """A section under a heading; `note` says how to read it."""
    return tag("section", tag("h2", title), tag("p", note, class_="note"), *children)


def summary(figures, modelled):
    """The sentence and the four numbers at the top; `modelled` where no device took these times."""
    gains = [each.gain for each in figures if each.gain is not None]
    trials = sum(len(each.entry.trials) for each in figures)
    failed = sum(each.failed for each in figures)
    spent = sum(each.measured_seconds for each in figures)
    best = max((each for each in figures if each.gain is not None), key=lambda each: each.gain, default=None)
    tiles = [
        (gain_text(mean_gain(gains)), "geometric mean gain over the defaults"),
        (f"{len(figures)}", "entries" if len(figures) != 1 else "entry"),
        (f"{trials:,}", f"configs tried, {f'{failed:,}' if failed else 'none'} of which failed"),
        (duration_text(spent) if spent >= 1 else time_text(spent) if spent else "-", "spent in timed launches"),
    ]
    found = tag("div", [tag("div", tag("b", value), tag("span", text)) for value, text in tiles], class_="tiles")
    warning = "Times here are those of a model of a GPU, not measurements: the interpreter takes no time of its own."
    return [
        tag("p", _sentence(figures, gains, best), class_="lead"),
        tag("p", warning, class_="lead bad") if modelled and figures else None,
        found,
    ]


def _sentence(figures, gains, best):
    if not figures:
        return "Nothing has been tuned here yet. `tritorch autotune sweep` fills this page."
    without = sum(each.best is None for each in figures)
    lost = f" For {without} of {len(figures)} no config works." if without else ""
    if best is None:
        return f"No default config has a time to compare with.{lost}"
    faster = sum(gain > 1.005 for gain in gains)
    most = f" The largest gain is {gain_text(best.gain)}, for {best.name} {best.sizes}." if faster else ""
    return f"Tuning made {faster} of {len(gains)} faster than the default config that a formula gives.{most}{lost}"


def roofline(figures, ceiling):
    """The roofline plot, wide and narrow, of which style shows one."""
    points, roofs = points_of(figures), roofs_of(figures, ceiling)
    if roofs is None or not points:
        return None
    key = [
        tag("span", _symbol("default"), "default config, by formula"),
        tag("span", _symbol("best"), "best config found"),
    ]
    note = (
        "Both axes are logarithmic. What lies under the slope is bound by memory, under a flat roof by arithmetic; the "
        "closer to the line, the less is left to gain."
    )
    if not all(each.intensity for each in points):
        note += " What multiplies nothing stands at the left, by its bytes a second under the memory's."
    return section("How close to the hardware", note, tag("div", key, class_="key"),
                   roofline_plot(points, roofs, WIDE), roofline_plot(points, roofs, NARROW))  # fmt: skip


def _symbol(class_):
    return svg(14, 14, tag("circle", cx=7, cy=7, r=4.5, class_=class_), label=class_)


def winners(figures):
    """The table of best configs."""
    if not figures:
        return None
    names = [("op", ""), ("best config", ""), ("time", "n"), ("default", "n"), ("gain", "n"), ("rate", "n"),
             ("of roofline", "n"), ("trials", "n")]  # fmt: skip
    head = tag("tr", [tag("th", tag("button", name, type="button"), class_=side or None) for name, side in names])
    rows = [tag("tr", _winner(each)) for each in figures]
    note = "Best configs as launches take them. Gain is the default's time over the best's. Headings sort."
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="cards")
    return section("Winners", note, tag("div", table, class_="long") if len(rows) > _LONG else table)


def _winner(each):
    nothing = each.best is None
    kernel = [tag("b", each.title), tag("span", f"{each.sizes} · {each.dtypes}", class_="sub")]
    config = "no config works" if nothing else tag("code", show_config(each.best.config))
    trials = [
        str(len(each.entry.trials)),
        tag("span", f", {each.failed} failed", class_="bad") if each.failed else None,
    ]
    default = each.default.seconds if each.default is not None and each.default.ok else float("inf")
    gained = each.gain is not None and each.gain > 1.005
    return [
        tag("td", kernel, data_value=f"{each.name} {each.sizes}"),
        tag("td", tag("span", config, class_="bad" if nothing else None), data_name="config"),
        _number("time", time_text(each.seconds), each.seconds),
        _number("default", time_text(default), default),
        _number("gain", tag("b", gain_text(each.gain), class_="gain" if gained else None), each.gain or 0),
        _number("rate", each.rate_text, each.rate),
        _number("of roofline", share_text(each.share), each.share or 0),
        _number("trials", tag("span", trials), len(each.entry.trials)),
    ]


def _number(name, text, value):
    return tag("td", text, class_="n", data_name=name, data_value=f"{value:.6g}".replace("inf", "1e99"))


def convergences(figures):
    """A small drawing for each entry of how its search went on."""
    shown = _most_telling([each for each in figures if len(each.entry.trials) > 1])
    if not shown:
        return None
    lowest = convergence.lowest_ratio(shown)
    panels = [_panel(each, convergence.convergence_plot(each, lowest)) for each in shown]
    note = (
        "Time over the default's, on one logarithmic scale: a dot is a config in the order of trial, the line the best "
        "so far, a mark at the bottom a config that failed. What is slower than twice the default is drawn at the top."
    )
    note += _left_out(shown, figures)
    return section("How the search went on", note, tag("div", panels, class_="panels rising"))


def heat_maps(figures):
    """A small drawing for each entry of the two knobs that matter most."""
    panels, shown = [], []
    for each in _most_telling(figures):
        drawing = heat.heat_map(each)
        if drawing is not None:
            shown.append(each)
            panels.append(_panel(each, drawing))
    if not panels:
        return None
    note = (
        "For each entry the two knobs that explain most of the spread of times. A cell is the fastest config tried "
        "with those two values, as a multiple of the best time; the best one is outlined."
    )
    note += _left_out(shown, figures)
    return section("Which knobs matter", note, heat.hatching(), heat.legend(), tag("div", panels, class_="panels"))


def _panel(each, drawing):
    value = tag("b", time_text(each.seconds), " ", tag("span", gain_text(each.gain), class_="gain"))
    kernel = "" if each.title == each.name else f"{each.kernel} · "
    return tag(
        "div",
        tag("h3", tag("span", each.name), value if each.best else tag("b", "none works", class_="bad")),
        tag("p", f"{kernel}{each.sizes} · {each.dtypes}", class_="sub"),
        drawing,
        class_="panel",
    )


def _most_telling(figures):
    """At most so many, those with the most trials, in the order they stood in."""
    kept = sorted(figures, key=lambda each: -len(each.entry.trials))[:MOST_PANELS]
    return [each for each in figures if any(each is other for other in kept)]


def _left_out(shown, figures):
    if len(shown) < MOST_PANELS or len(figures) <= MOST_PANELS:
        return ""
    return f" Shown are the {len(shown)} entries with the most trials, of {len(figures)}."


def failures(figures):
    """How many configs failed of each cause, and the causes themselves, alike ones together."""
    failed = [(each, trial) for each in figures for trial in each.entry.trials if not trial.ok]
    if not failed:
        return None
    counts = Counter(trial.state for _, trial in failed).most_common()
    most = counts[0][1]
    bars = [
        [tag("div", tag("b", state), " ", tag("span", _MEANINGS.get(state, "was not timed"))),
         tag("div", tag("i", style=f"width:{count / most * 70:.1f}%"), str(count))]
        for state, count in counts
    ]  # fmt: skip
    alike: dict[tuple, list] = {}
    for each, trial in failed:
        alike.setdefault((trial.state, re.sub(r"\d[\d.,e+]*", "#", trial.cause)), []).append((each, trial))
    groups = sorted(alike.items(), key=lambda item: -len(item[1]))[:_MOST_CAUSES]
    head = tag(
        "tr", [tag("th", "what happened, such as"), tag("th", "with config, such as"), tag("th", "times", class_="n")]
    )
    rows = [_cause(state, found) for (state, _), found in groups]
    note = "They cost their trial once: their cause is kept, and no launch and no later sweep tries them again."
    return section("Configs that failed", note, tag("div", bars, class_="bars"),
                   tag("table", tag("thead", head), tag("tbody", rows), class_="cards"))  # fmt: skip


def _cause(state, found):
    each, trial = found[0]
    return tag(
        "tr",
        tag("td", tag("b", state), tag("span", trial.cause, class_="sub")),
        tag("td", tag("span", f"{each.title} ", tag("code", show_config(trial.config))), data_name="with"),
        tag("td", str(len(found)), class_="n", data_name="times"),
    )


def environment(found):
    """The fields that decide whether what was found still holds."""
    rows = [
        [tag("dt", name.replace("_", " ")), tag("dd", _field(name, value))] for name, value in asdict(found).items()
    ]
    note = "Entries hold for this environment only: where one of these differs, another folder of the store answers."
    return section("Environment", note, tag("dl", rows, [tag("dt", "folder"), tag("dd", tag("code", found.folder))]))


def _field(name, value):
    return f"{value:,} bytes" if name == "shared_memory" else str(value)
