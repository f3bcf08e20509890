"""A store as one HTML file that needs nothing else: what tuning gained, how it got there, and what went wrong."""

from __future__ import annotations

import tritorch
from tritorch.autotune.device import INTERPRETER
from tritorch.autotune.figures import figures_of
from tritorch.autotune.report import sections
from tritorch.autotune.report.markup import Markup, tag
from tritorch.autotune.report.style import SCRIPT, STYLE

# Whatever a file of the store says, the page fetches nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(environment, entries, ceiling=None, made=""):
    """The page of one environment's entries as text.

    ceiling   what the device attains, where it is at hand; else the roofline is drawn as far as the entries tell
    made      when, in the footer
    """
    figures = sorted(
        map(figures_of, entries), key=lambda each: (each.name, each.dtypes, each.entry.work.get("flops", 0))
    )
    name = environment.device or "unknown device"
    main = tag(
        "main",
        tag("p", "tritorch autotune", class_="over"),
        tag("h1", name),
        sections.summary(figures, modelled=environment.device == INTERPRETER.name),
        sections.roofline(figures, ceiling),
        sections.winners(figures),
        sections.convergences(figures),
        sections.heat_maps(figures),
        sections.failures(figures),
        sections.environment(environment),
        tag("footer", f"tritorch {tritorch.__version__}{', ' if made else ''}{made}"),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"Tuning report, {name}"),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", main, tag("script", Markup(SCRIPT)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"
