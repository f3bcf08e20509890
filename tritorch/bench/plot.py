"""Bandwidth over size: a figure for each suite, a panel for each dtype's lines, from the rows that `--json` writes."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path

from tritorch.bench.suites import suites
from tritorch.runtime.files import whole_file

SIDES = {  # a row's figures, and how they are drawn
    "ours": ("tritorch", "#c0392b", "o", "-"),
    "theirs": ("torch", "#2c6fbb", "s", "--"),
    "compiled": ("torch.compile", "#2e8b57", "^", "--"),
    "copy": ("copy on the device", "#7f7f7f", "", ":"),
}
LEAST_ACROSS, PANEL = 3, (4.2, 3.0)  # panels in a row of a figure with few, and the inches of one


class NothingToDraw(Exception):
    """No figure can be drawn as asked; the text says why."""


def check_place(place, asked):
    """Raise a NothingToDraw before anything is timed, if a figure could not be drawn or written there."""
    _pyplot()
    path = Path(place)
    if path.suffix and len(asked) != 1:
        raise NothingToDraw(f"--plot {place}: one file is for one suite; give a folder for several")
    if not (path.parent if path.suffix else path).exists() and not path.absolute().parent.is_dir():
        raise NothingToDraw(f"--plot {place}: there is no folder {path.absolute().parent}")


def _pyplot():
    try:
        import matplotlib
    except ImportError as error:
        raise NothingToDraw(f"--plot needs matplotlib ({error}): pip install 'tritorch[plot]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw(found, place):
    """Write the figures of what a run found, and say where; a NothingToDraw where no row has a size."""
    families = panels(found)
    if not families:
        raise NothingToDraw(f"--plot {place}: bandwidth over size is of suites in GB/s, which {found['suite']} is not")
    path = Path(place)
    if not path.suffix:
        path.mkdir(exist_ok=True)
    for name, drawn in families.items():
        file = path if path.suffix else path / f"{name}.png"
        _figure(name, drawn, found["environment"], file)
        print(f"drawn: {os.fspath(file)}")


def panels(found):
    """{suite: {(line, dtype): {side: [(size, GB/s), ...]}}} of rows that have a size, sizes in order."""
    families = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in found["rows"]:
        if not row.get("size"):
            continue
        suite, _, _ = row["case"].rpartition(": ")
        panel = families[suite or found["suite"]][row["line"], row["dtype"]]
        for side in SIDES:
            if row.get(side) is not None:
                panel[side].append((row["size"], row[side]))
    for drawn in families.values():
        for panel in drawn.values():
            for points in panel.values():
                points.sort()
    return families


def _figure(name, drawn, environment, file):
    pyplot = _pyplot()
    across = min(max(LEAST_ACROSS, math.isqrt(len(drawn))), len(drawn))
    rows = -(-len(drawn) // across)
    figure, axes = pyplot.subplots(
        rows, across, figsize=(PANEL[0] * across, PANEL[1] * rows + 0.6), squeeze=False, layout="constrained"
    )
    handles = {}
    for axis, ((line, dtype), panel) in zip(axes.flat, drawn.items(), strict=False):
        for side, points in panel.items():
            label, color, marker, style = SIDES[side]
            (handles[label],) = axis.plot(
                *zip(*points, strict=True), color=color, marker=marker, linestyle=style, markersize=4, linewidth=1.4
            )
        axis.set_title(f"{line}, {dtype}", fontsize=9)
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("GB/s", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel(getattr(suites().get(name), "AXIS", "size"), fontsize=8)
    for axis in list(axes.flat)[len(drawn) :]:
        axis.set_visible(False)
    figure.suptitle(f"{name} on {environment.get('gpu') or 'cpu'}", fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    with whole_file(file) as stream:
        figure.savefig(stream, format=file.suffix.lstrip(".") or "png", dpi=120)
    pyplot.close(figure)
