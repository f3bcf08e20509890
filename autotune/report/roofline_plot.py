"""The roofline plot as a drawing: roofs, and of each entry a ring for its default config and a dot for its best."""

from __future__ import annotations

import math

from tritorch.autotune.report.markup import LogScale, path, prefixed, svg, tag

_MOST_LABELS = 16  # with more points only the fastest of each name is named
_MANY = 60  # points, from which on they are smaller
_LONGEST = 18  # letters of a label
_LETTER = 7.4  # the width of a letter of a label, about
# Where a label may stand, from the dot: the first place that is free.
_BESIDE = ((9, 4, "start"), (-9, 4, "end"), (9, 13, "start"), (-9, 13, "end"), (0, -10, "middle"), (9, -6, "start"),
           (-9, -6, "end"), (0, 24, "middle"))  # fmt: skip
_EDGE, _TICKS = 6, 52  # left of everything, and for the numbers at the axis

# Width, height, and the width of the strip for what multiplies nothing and so has no place on a logarithmic axis.
WIDE, NARROW = (960, 500, 160), (380, 400, 74)


def roofline_plot(points, roofs, size):
    """The drawing, of one of the two sizes."""
    plot = _Plot(points, roofs, size)
    parts = (plot.grid(), plot.strip_ground(), plot.roofs_drawn(), plot.marks(), plot.labels())
    return svg(*size[:2], *parts, label="Roofline plot", class_="narrow" if size is NARROW else "wide")


class _Plot:
    """Scales, and what is covered already. In the strip a dot is as far below the roof as its rate by ratio."""

    def __init__(self, points, roofs, size):
        self.roofs, self.compact = roofs, size is NARROW
        width, height, strip = size
        self.points = sorted((each for each in points if each.intensity), key=lambda each: each.best)
        self.movers = sorted((each for each in points if not each.intensity), key=lambda each: (each.name, each.best))
        self.strip = strip if self.movers else 0
        intensities = [each.intensity for each in self.points] + roofs.ridges or [1.0]
        self.x = LogScale(min(intensities) / 3, max(intensities) * 3, _EDGE + self.strip + _TICKS, width - 16)
        self.ridge = max([*roofs.ridges, 0.0]) or self.x.high  # where the slope ends
        foot, ridge = self.x.low * roofs.bandwidth, self.ridge * roofs.bandwidth
        rates = [rate for each in self.points for rate in (each.best, each.default) if rate]
        rates += [rate * self.x.low for each in self.movers for rate in (each.best, each.default) if rate]
        self.y = LogScale(min(*rates, foot) / 1.6, max(*rates, ridge) * 2.2, height - 46, 26)
        self.placed = _Placed(0, width - 8)

    def grid(self):
        """Lines at powers of ten, and what they are."""
        x, y = self.x, self.y
        left, right, bottom, top = x(x.low), x(x.high), y(y.low), y(y.high)
        lines, texts = [], []
        for value in x.ticks():
            lines.append(tag("path", d=f"M{x(value):.1f} {bottom:.1f}V{top:.1f}"))
            texts.append(tag("text", f"{value:g}", x=x(value), y=bottom + 17, text_anchor="middle"))
        for value in y.ticks():
            lines.append(tag("path", d=f"M{left:.1f} {y(value):.1f}H{right:.1f}"))
            texts.append(tag("text", prefixed(value).strip(), x=left - 8, y=y(value) + 4, text_anchor="end"))
        texts.append(tag("text", "FLOP/s", x=left - 8, y=top - 10, text_anchor="end"))
        title = "FLOP for each byte" if self.compact else "arithmetic intensity, FLOP for each byte moved"
        texts.append(tag("text", title, x=right, y=bottom + 36, text_anchor="end"))
        return [tag("g", lines, class_="grid"), tag("g", texts, class_="axis")]

    def strip_ground(self):
        """The strip's lines at powers of ten of the bandwidth, and what it is."""
        if not self.strip:
            return None
        bottom, top, foot = self.y(self.y.low), self.y(self.y.high), self.x.low * self.roofs.bandwidth
        edges = [tag("path", d=f"M{x} {bottom:.1f}V{top:.1f}") for x in (_EDGE, _EDGE + self.strip)]
        texts = [
            tag("text", "bytes only," if not self.compact else "bytes only", x=_EDGE, y=bottom + 17),
            tag("text", "share of the bandwidth" if not self.compact else "", x=_EDGE, y=bottom + 36),
        ]
        for share in (0.5, 0.1, 0.01, 0.001):
            if foot * share > self.y.low:
                at = self.y(foot * share)
                edges.append(tag("path", d=f"M{_EDGE} {at:.1f}H{_EDGE + self.strip}"))
                texts.append(self.placed.at(f"{share * 100:g}%", _EDGE + self.strip - 4, at - 3, "end"))
        return [tag("g", edges, class_="grid"), tag("g", texts, class_="axis")]

    def roofs_drawn(self):
        """The slope of the memory's bandwidth and, for each dtype, a roof from its ridge on."""
        x, y, roofs = self.x, self.y, self.roofs
        foot = x.low * roofs.bandwidth
        parts = [self._line((x(x.low), y(foot)), (x(self.ridge), y(self.ridge * roofs.bandwidth)))]
        if self.strip:
            parts.append(self._line((_EDGE, y(foot)), (_EDGE + self.strip, y(foot))))
        names: dict[float, list] = {}
        for dtype, flops in roofs.flops.items():
            names.setdefault(flops, []).append(dtype)
        for flops, dtypes in names.items():
            at, height = flops / roofs.bandwidth, y(flops)
            parts.append(self._line((x(at), height), (x(x.high), height)))
            parts.append(tag("circle", cx=x(at), cy=height, r=3, class_="ridge"))
            text = f"{prefixed(flops)}FLOP/s {', '.join(dtypes)}"
            parts.append(self.placed.at(text, x(x.high), height - 8, "end", "roof-name"))
            parts.append(self.placed.at(f"ridge {at:.3g} FLOP/B", x(at) - 9, height + 4, "end", "roof-name"))
        return [*parts, self._bandwidth_named()]

    def _line(self, start, end):
        self.placed.block_line(*start, *end)
        return path([start, end], class_="roof")

    def _bandwidth_named(self):
        x, y, text = self.x, self.y, f"{prefixed(self.roofs.bandwidth)}B/s"
        if self.strip:
            return self.placed.at(text, _EDGE, y(x.low * self.roofs.bandwidth) - 8, "start", "roof-name")
        middle = (x.low * self.ridge) ** 0.5
        across, height = x(middle), y(middle * self.roofs.bandwidth) - 8
        angle = math.degrees(math.atan2(y(y.low * 10) - y(y.low), x(x.low * 10) - x(x.low)))
        return tag("text", text, x=across, y=height, transform=f"rotate({angle:.1f} {across:.1f} {height:.1f})",
                   text_anchor="middle", class_="roof-name")  # fmt: skip

    def _places(self):
        """Each point with its x, and the y of its best and of its default."""
        step = min(16.0, (self.strip - 46) / max(1, len(self.movers) - 1))
        for at, each in enumerate(self.movers):
            default = self.y(each.default * self.x.low) if each.default else None
            yield each, _EDGE + 14 + at * step, self.y(each.best * self.x.low), default
        for each in self.points:
            yield each, self.x(each.intensity), self.y(each.best), self.y(each.default) if each.default else None

    def marks(self):
        """A ring for each default, a dot for each best, a line between them."""
        found, radius = [], 5 if len(self.points) + len(self.movers) <= _MANY else 3
        for point, across, best, default in self._places():
            parts = [tag("title", point.tip)]
            self.placed.block(across - 5, best - 5, across + 5, best + 5)
            if default is not None:
                self.placed.block(across - 4, default - 4, across + 4, default + 4)
                parts.append(tag("path", d=f"M{across:.1f} {default:.1f}V{best:.1f}", class_="link"))
                parts.append(tag("circle", cx=across, cy=default, r=radius * 0.7, class_="default"))
            parts.append(tag("circle", cx=across, cy=best, r=radius, class_="best"))
            found.append(tag("g", parts, class_="point"))
        return found

    def labels(self):
        """Names beside dots, as far as they cover nothing; with many points one for each name."""
        ordered = sorted(self._places(), key=lambda place: place[2])
        if self.compact or len(ordered) > _MOST_LABELS:
            ordered = list({place[0].name: place for place in reversed(ordered)}.values())
        found = []
        for point, across, best, _ in ordered:
            name = point.name if len(point.name) <= _LONGEST else f"{point.name[: _LONGEST - 1]}…"
            tries = (self.placed.try_at(name, across + dx, best + dy, anchor) for dx, dy, anchor in _BESIDE)
            found.append(next((each for each in tries if each is not None), None))
        return found


class _Placed:
    """What is covered already, so that no label is written over another."""

    def __init__(self, left, right):
        self.left, self.right, self.boxes = left, right, []

    def block(self, *box):
        """Keep labels away from a box: left, top, right, bottom."""
        self.boxes.append(box)

    def block_line(self, left, top, right, bottom, steps=60):
        """Keep labels away from a line."""
        for step in range(steps):
            x, y = (low + (high - low) * step / steps for low, high in ((left, right), (top, bottom)))
            self.block(x - 1, y - 1, x + (right - left) / steps, y + 1)

    def at(self, text, x, y, anchor, class_=None):
        """A text where it must stand."""
        self.block(*self._box(text, x, y, anchor))
        return tag("text", text, x=float(x), y=float(y), text_anchor=anchor, class_=class_)

    def try_at(self, text, x, y, anchor):
        """A name, or None where it would cover something or leave the drawing."""
        left, top, right, bottom = self._box(text, x, y, anchor)
        free = left >= self.left and right <= self.right and not any(
            left < box[2] and right > box[0] and top < box[3] and bottom > box[1] for box in self.boxes)  # fmt: skip
        return self.at(text, x, y, anchor, "name") if free else None

    def _box(self, text, x, y, anchor):
        width = len(text) * _LETTER
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        return left, y - 10, left + width, y + 3
