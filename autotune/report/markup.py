"""Markup made by calls, in which every text is escaped: what files say can never become part of the page."""

from __future__ import annotations

import html
import math


class Markup(str):
    """Text that is markup already; every other text is escaped when it is put into a tag."""

    __slots__ = ()


_VOID = ("meta", "br", "col")  # of HTML: no end tag


def tag(name, /, *children, **attributes):
    """An element: `tag("p", "a < b", class_="note")`. None as a child or as an attribute is left out."""
    opened = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{join(children)}</{name}>")


def join(children):
    """Children side by side, each a Markup, a text, or nested in lists."""
    parts = []
    for each in children:
        if isinstance(each, Markup):
            parts.append(each)
        elif isinstance(each, (list, tuple)):
            parts.append(join(each))
        elif each is not None:
            parts.append(html.escape(_visible(str(each)), quote=False))
    return Markup("".join(parts))


def _value(value):
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return html.escape(_visible(str(value)))


def _visible(text):
    """Text without characters that HTML cannot hold."""
    return "".join(each if each >= " " or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text).encode(
        "utf-8", "replace").decode()  # fmt: skip


def svg(width, height, *children, label, class_=None):
    """A drawing that fills its column; `label` is read out where it cannot be seen."""
    return tag("svg", *children, viewBox=f"0 0 {width} {height}", role="img", aria_label=label, class_=class_)


def path(points, **attributes):
    """A line through points."""
    steps = " ".join(f"{_value(float(x))},{_value(float(y))}" for x, y in points)
    return tag("polyline", points=steps, **attributes)


class LogScale:
    """A place on the page for each positive value: equal ratios are equal distances."""

    def __init__(self, low, high, start, end):
        self.low, self.high = low, high
        self._start, self._a_unit = start, (end - start) / math.log(high / low)

    def __call__(self, value):
        return self._start + math.log(value / self.low) * self._a_unit

    def ticks(self, base=10):
        """The powers of a base within."""
        first, last = math.ceil(math.log(self.low, base) - 1e-9), math.floor(math.log(self.high, base) + 1e-9)
        return [float(base) ** power for power in range(first, last + 1)]


def prefixed(value):
    """A number with its SI prefix: "989 T", "3.35 T", "20 G"."""
    for prefix, scale in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.3g} "
