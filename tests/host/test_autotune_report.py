"""The report: one well-formed file that fetches nothing, whatever the store holds, and says what the entries say."""

from __future__ import annotations

import html.parser
import re
from collections import Counter
from dataclasses import replace

import pytest
from invented_store import ENVIRONMENT, invented_entries, matmul, row_wise

from tritorch.autotune.figures import figures_of, mean_gain
from tritorch.autotune.report import page
from tritorch.autotune.report.heat import chosen_knobs, influence
from tritorch.autotune.report.roofline import Roofs, points_of, roofs_of
from tritorch.autotune.report.roofline_plot import NARROW, WIDE, roofline_plot
from tritorch.autotune.roofline import PRETENDED
from tritorch.autotune.trial import CRASH, Entry, Timing, Trial

HOSTILE = "<script>alert(1)</script>\"'&<img src=//evil.example/x onerror=alert(2)>\x00]]>"
_VOID = {"meta", "br", "col"}


class Reader(html.parser.HTMLParser):
    """Checks that tags are closed in order, and notes elements, their attributes and their text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.count, self.attributes, self.texts = [], Counter(), [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name, attributes):
        self.count[name] += 1
        self.attributes += attributes
        if name not in _VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open and self.open[-1] == name, f"</{name}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def read(environment=ENVIRONMENT, entries=(), **more):
    text = page(environment, entries, **more)
    found = Reader(text)
    for name, value in found.attributes:
        assert name not in ("src", "srcset", "href", "action", "data", "background"), f"{name}={value!r} may fetch"
        assert not name.startswith("on"), f"{name}={value!r} runs"
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#hatch"}
    assert "@import" not in text
    assert found.count["script"] == found.count["style"] == 1
    return found, text


@pytest.fixture(scope="module")
def whole():
    return read(entries=list(invented_entries()), made="2026-01-02")


def test_every_section_is_there(whole):
    found, text = whole
    for heading in ("Winners", "How the search went on", "Which knobs matter", "Configs that failed", "Environment"):
        assert f"<h2>{heading}</h2>" in text
    assert found.count["polyline"] >= 12 and "2026-01-02" in found.text and ENVIRONMENT.folder in found.text


def test_it_asks_the_browser_to_fetch_nothing(whole):
    assert (
        "default-src 'none'" in dict(whole[0].attributes).get("content", "")
        or "default-src &#x27;none&#x27;" in whole[1]
    )
    assert "http" not in whole[1].replace("http-equiv", "")


def test_what_it_says_is_what_the_entries_say(whole):
    figures = [figures_of(each) for each in invented_entries()]
    gain = mean_gain([each.gain for each in figures])
    assert f"{gain:.2f}x" in whole[0].text
    assert str(sum(len(each.entry.trials) for each in figures)) in whole[0].text
    for each in figures:
        for name, value in each.best.config.items():
            assert f"{name}={value}" in whole[0].text
    for cause in ("no answer in 20 s", "of shared memory"):
        assert cause in whole[0].text


def test_hostile_names_and_causes_are_text():
    entry = matmul(64, 64, 64, trials=8)
    key = replace(entry.key, kernel=f"module.{HOSTILE}", facts=((HOSTILE, HOSTILE),), arrays=(HOSTILE,))
    config = {HOSTILE: HOSTILE, "BLOCK": 1}
    trials = [
        Trial(config, timing=Timing(1e-5, 1e-5, 1e-5, 3)),
        Trial({**config, "BLOCK": 2}, timing=Timing(2e-5, 2e-5, 2e-5, 3)),
        Trial({HOSTILE: "x", "BLOCK": 4}, CRASH, cause=HOSTILE),
        Trial({HOSTILE: "y", "BLOCK": 4}, CRASH, cause="\ud800 lone surrogate"),
    ]
    problem = {"kind": HOSTILE, "op": HOSTILE}
    environment = replace(ENVIRONMENT, device=HOSTILE, driver=HOSTILE)
    found, text = read(environment, [Entry(key, trials, HOSTILE, problem, entry.work)])
    assert found.count["img"] == 0 and "alert(1)</script>" not in text
    assert found.text.count("alert(1)") >= 5
    assert "\x00" not in text
    text.encode()


def test_no_entries():
    found, _ = read()
    assert "tritorch autotune sweep" in found.text and found.count["table"] == 0


def test_one_entry_with_one_trial():
    found, _ = read(entries=[Entry(matmul(64, 64, 64).key, [Trial({"BLOCK": 16}, timing=Timing(1e-6, 1e-6, 1e-6, 9))])])
    assert "1.00x" in found.text and "BLOCK=16" in found.text


def test_all_failed():
    entry = row_wise("softmax", 128, 128)
    entry.trials = [each.failed(CRASH, "the worker died") for each in entry.trials]
    found, _ = read(entries=[entry, Entry(matmul(8, 8, 8).key)])
    assert "For 2 of 2 no config works" in found.text and "the worker died" in found.text


def test_entries_without_work_or_default():
    entry = row_wise("softmax", 128, 128)
    entry.work = {}
    entry.trials[0] = entry.trials[0].failed(CRASH, "the worker died")
    found, _ = read(entries=[entry])
    assert "No default config has a time to compare with" in found.text


def test_roofs_are_the_devices_or_what_the_entries_tell():
    figures = [figures_of(each) for each in invented_entries()]
    told = roofs_of(figures)
    assert told.bandwidth == pytest.approx(3.35e12)
    assert told.flops == pytest.approx({"bfloat16": 989e12, "float32": 67e12})
    assert roofs_of(figures, PRETENDED).bandwidth == PRETENDED.bandwidth
    movers = [each for each in figures if not each.entry.work["flops"]]
    assert roofs_of(movers) == Roofs(pytest.approx(3.35e12), {})
    assert roofs_of([]) is None
    for some in (figures, movers, figures[:1], figures[1:2]):  # everything lies inside the drawing
        for size in (WIDE, NARROW):
            drawing = roofline_plot(points_of(some), roofs_of(some), size)
            places = [(float(x), float(y)) for x, y in re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', drawing)]
            places += [tuple(map(float, each.split(","))) for each in re.findall(r"-?[\d.]+,-?[\d.]+", drawing)]
            assert len(places) > 2 and all(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in places)


def test_five_hundred_entries_are_less_than_two_megabytes():
    kinds = [matmul(64 * (1 + at), 4096, 4096, trials=40) for at in range(20)]
    entries = [replace(each, key=replace(each.key, source=str(at))) for at in range(25) for each in kinds]
    found, text = read(entries=entries)
    assert len(text.encode()) < 2_000_000
    assert found.count["tr"] > 500 and "of 500" in found.text


def test_the_knobs_that_matter_are_those_that_explain_the_times():
    trials = [
        Trial({"A": a, "B": b, "C": c, "D": 1}, timing=Timing(s, s, s, 5))
        for a in (1, 2, 4)
        for b in (1, 2)
        for c in (1, 2)
        if (s := 1e-5 * a**0.5 * (1.2 if b == 2 else 1))
    ]
    assert chosen_knobs(trials) == ["A", "B"]
    assert influence(trials, "A") > influence(trials, "B") > influence(trials, "C") == pytest.approx(0)
    assert influence(trials, "D") == 0.0
