"""The roofline plot: how fast each entry runs against how fast the device could, before and after tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritorch.autotune.figures import gain_text
from tritorch.autotune.report.markup import LogScale, path, prefixed, svg, tag

_MOST_LABELS = 16  # with more points only the fastest of each kernel is named
_LETTER = 6.8  # the width of a letter of a label, about
# Where a label may stand, from the dot: the first place that is free.
_BESIDE = ((9, 4, "start"), (-9, 4, "end"), (9, 13, "start"), (-9, 13, "end"), (0, -10, "middle"), (9, -6, "start"),
           (-9, -6, "end"), (0, 24, "middle"))  # fmt: skip
WIDE, NARROW = (960, 500), (380, 400)


@dataclass(frozen=True)
class Roofs:
    """What a device does at most: bytes a second, and FLOP/s for each dtype; what is not known is left out."""

    bandwidth: float
    flops: dict[str, float]


def roofs_of(figures, ceiling=None):
    """The Roofs over entries: by the device's Ceiling, else as far as their own rooflines tell; None where they do not.

    An entry's roofline is the longer of what its arithmetic and what its bytes take. So the most bytes a second among
    entries is the bandwidth, and a dtype's most FLOP/s its rate if an entry with that is not bound by its bytes.
    """
    found: dict[str, list] = {}
    for each in figures:
        flops, moved, seconds = (each.entry.work.get(name, 0) for name in ("flops", "bytes", "roofline"))
        if flops and moved and seconds:
            found.setdefault(_dtype(each), []).append((flops / seconds, moved / seconds))
    if not found:
        return None
    if ceiling is not None:
        return Roofs(ceiling.bandwidth, {dtype: ceiling.rate(dtype) for dtype in found})
    bandwidth = max(moved for rates in found.values() for _, moved in rates)
    flops = {dtype: max(rates) for dtype, rates in found.items()}
    bound = {dtype: most for dtype, (most, moved) in flops.items() if moved < bandwidth * (1 - 1e-6)}
    return Roofs(bandwidth, bound) if bound else None


def _dtype(figures):
    """What an entry's arithmetic is done in: the dtype of its first array of floating-point numbers."""
    names = [text.split()[0] for text in figures.entry.key.arrays]
    return next((name for name in names if "float" in name), names[0] if names else "unknown")


@dataclass(frozen=True)
class Point:
    """An entry: FLOP for each byte, FLOP/s with the best config and with the default, and what is said of it."""

    intensity: float
    best: float
    default: float | None
    name: str
    tip: str


def points_of(figures):
    """The Points of the entries that do arithmetic and have a best config."""
    found = []
    for each in figures:
        flops, moved = each.entry.work.get("flops", 0), each.entry.work.get("bytes", 0)
        if not (flops and moved and each.best):
            continue
        default = flops / each.default.seconds if each.gain else None
        tip = f"{each.name} {each.sizes} {each.dtypes}\n{each.rate_text}, {gain_text(each.gain)} the default's"
        found.append(Point(flops / moved, flops / each.best.seconds, default, each.name, tip))
    return found


def roofline_plot(points, roofs, size):
    """The drawing, of one of the two sizes."""
    width, height = size
    compact = size is NARROW
    x, y = _scales(points, roofs, (58, width - 16), (height - 46, 26))
    placed = _Labels(58, width - 8)
    parts = [_grid(x, y, compact), _roofs(roofs, x, y, placed)]
    parts += [_mark(point, x, y, placed) for point in sorted(points, key=lambda each: each.best)]
    parts += _labels(points, x, y, placed, 0 if compact else _MOST_LABELS)
    return svg(width, height, *parts, label="Roofline plot", class_="narrow" if compact else "wide")


def _scales(points, roofs, across, down):
    ridges = [flops / roofs.bandwidth for flops in roofs.flops.values()]
    rates = [rate for each in points for rate in (each.best, each.default) if rate]
    left = min([each.intensity for each in points] + ridges) / 3
    right = max([each.intensity for each in points] + ridges) * 3
    bottom = min([*rates, left * roofs.bandwidth]) / 1.6
    top = max([*rates, *roofs.flops.values()]) * 2.2
    return LogScale(left, right, *across), LogScale(bottom, top, *down)


def _grid(x, y, compact):
    left, right, bottom, top = x(x.low), x(x.high), y(y.low), y(y.high)
    lines, texts = [], []
    for value in x.ticks():
        lines.append(tag("path", d=f"M{x(value):.1f} {bottom:.1f}V{top:.1f}"))
        texts.append(tag("text", f"{value:g}", x=x(value), y=bottom + 17, text_anchor="middle"))
    for value in y.ticks():
        lines.append(tag("path", d=f"M{left:.1f} {y(value):.1f}H{right:.1f}"))
        texts.append(tag("text", prefixed(value).strip(), x=left - 8, y=y(value) + 4, text_anchor="end"))
    names = [
        tag("text", "FLOP/s", x=left - 8, y=top - 10, text_anchor="end"),
        tag("text", "FLOP for each byte" if compact else "arithmetic intensity, FLOP for each byte moved",
            x=right, y=bottom + 36, text_anchor="end"),
    ]  # fmt: skip
    return [tag("g", lines, class_="grid"), tag("g", texts, names, class_="axis")]


def _roofs(roofs, x, y, placed):
    """The slope of the memory's bandwidth and, for each dtype, a roof from its ridge on."""
    highest = max(roofs.flops.values())
    ridge = highest / roofs.bandwidth
    start = max(x.low, y.low / roofs.bandwidth)
    foot = (x(start), y(start * roofs.bandwidth))
    placed.block_line(*foot, x(ridge), y(highest))
    parts = [path([foot, (x(ridge), y(highest))], class_="roof")]
    names: dict[float, list] = {}
    for dtype, flops in roofs.flops.items():
        names.setdefault(flops, []).append(dtype)
    for flops, dtypes in names.items():
        at = flops / roofs.bandwidth
        placed.block_line(x(at), y(flops), x(x.high), y(flops))
        parts.append(path([(x(at), y(flops)), (x(x.high), y(flops))], class_="roof"))
        parts.append(tag("circle", cx=x(at), cy=y(flops), r=3, class_="ridge"))
        text = f"{prefixed(flops)}FLOP/s {', '.join(dtypes)}"
        parts.append(placed.at(text, x(x.high), y(flops) - 8, "end", "roof-name"))
        parts.append(placed.at(f"ridge {at:.3g} FLOP/B", x(at) - 9, y(flops) + 4, "end", "roof-name"))
    middle = (start * ridge) ** 0.5
    slope = (x(middle), y(middle * roofs.bandwidth) - 8)
    rise = y(roofs.bandwidth * x.low * 10) - y(roofs.bandwidth * x.low)
    turned = f"rotate({math.degrees(math.atan2(rise, x(x.low * 10) - x(x.low))):.1f} {slope[0]:.1f} {slope[1]:.1f})"
    parts.append(tag("text", f"{prefixed(roofs.bandwidth)}B/s", x=slope[0], y=slope[1], transform=turned,
                     text_anchor="middle", class_="roof-name"))  # fmt: skip
    return parts


def _mark(point, x, y, placed):
    """A ring for the default, a dot for the best, a line between them."""
    across, best = x(point.intensity), y(point.best)
    placed.block(across - 5, best - 5, across + 5, best + 5)
    parts = [tag("title", point.tip)]
    if point.default:
        default = y(point.default)
        parts.append(tag("path", d=f"M{across:.1f} {default:.1f}V{best:.1f}", class_="link"))
        parts.append(tag("circle", cx=across, cy=default, r=3.5, class_="default"))
        placed.block(across - 4, default - 4, across + 4, default + 4)
    parts.append(tag("circle", cx=across, cy=best, r=5, class_="best"))
    return tag("g", parts, class_="point")


def _labels(points, x, y, placed, most):
    """Names beside dots, as far as they do not cover anything; with many points one for each kernel."""
    ordered = sorted(points, key=lambda each: -each.best)
    if len(ordered) > most:
        ordered = list({each.name: each for each in reversed(ordered)}.values())
    found = []
    for each in ordered:
        across, best = x(each.intensity), y(each.best)
        for dx, dy, anchor in _BESIDE:
            text = placed.try_at(each.name, across + dx, best + dy, anchor, "name")
            if text is not None:
                found.append(text)
                break
    return found


class _Labels:
    """What is covered already, so that no label is written over another."""

    def __init__(self, left, right):
        self.left, self.right, self.boxes = left, right, []

    def block(self, *box):
        self.boxes.append(box)

    def block_line(self, left, top, right, bottom):
        steps = 60
        for step in range(steps):
            x, y = (low + (high - low) * step / steps for low, high in ((left, right), (top, bottom)))
            self.block(x - 1, y - 1, x + (right - left) / steps, y + 1)

    def at(self, text, x, y, anchor, class_):
        """A text where it must stand."""
        self.boxes.append(self._box(text, x, y, anchor))
        return tag("text", text, x=float(x), y=float(y), text_anchor=anchor, class_=class_)

    def try_at(self, text, x, y, anchor, class_):
        """A text, or None where it would cover something or leave the drawing."""
        left, top, right, bottom = self._box(text, x, y, anchor)
        free = left >= self.left and right <= self.right and not any(
            left < box[2] and right > box[0] and top < box[3] and bottom > box[1] for box in self.boxes)  # fmt: skip
        return self.at(text, x, y, anchor, class_) if free else None

    def _box(self, text, x, y, anchor):
        width = len(text) * _LETTER
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        return left, y - 10, left + width, y + 3
