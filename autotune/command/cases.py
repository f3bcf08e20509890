"""Cases of a check: what was looked at, what is wrong with it, and how CI is told (JUnit XML)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from itertools import groupby

from tritorch.autotune.command.table import printable
from tritorch.runtime.files import whole_file

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Case:
    """One thing that was checked.

    suite     which check it is of;  name  what was checked;  summary  how it came out, in a few words
    failures  what is wrong, a line each;  notes  what is worth knowing
    """

    suite: str
    name: str
    summary: str = ""
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self):
        """Whether nothing is wrong."""
        return not self.failures

    def lines(self):
        """The case for people: one line; where there is more than one thing to say, one more for each."""
        first, *rest = [each for each in (self.summary, *self.failures, *self.notes) if each] or [""]
        yield printable(f"{'ok    ' if self.ok else 'FAILED'}  {self.suite}  {self.name}{first and ': '}{first}")
        yield from (printable(f"        {each}") for each in rest)


def name_of(subject):
    """What a case about a Subject is called."""
    problem = subject.problem
    return f"{subject.kernel.kernel_name} [{problem.name} {problem.label} {problem.dtype}]"


def write_junit(path, cases):
    """Write cases as JUnit XML: a test suite for each check, a test case for each case."""
    root = xml.Element("testsuites", name="tritorch autotune check", **_counts(cases))
    for suite, members in groupby(sorted(cases, key=lambda case: case.suite), key=lambda case: case.suite):
        members = list(members)
        parent = xml.SubElement(root, "testsuite", name=suite, **_counts(members))
        for case in members:
            _add(parent, case)
    xml.indent(root)
    with whole_file(path) as file:
        file.write(xml.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _add(parent, case):
    name = f"tritorch.autotune.{case.suite.replace(' ', '.')}"
    element = xml.SubElement(parent, "testcase", classname=name, name=_text(case.name), time=f"{case.seconds:.3f}")
    if case.failures:
        failure = xml.SubElement(element, "failure", message=_text(case.failures[0]))
        failure.text = _text("\n".join(case.failures))
    if case.summary or case.notes:
        xml.SubElement(element, "system-out").text = _text("\n".join(filter(None, [case.summary, *case.notes])))


def _counts(cases):
    return {
        "tests": str(len(cases)),
        "failures": str(sum(not case.ok for case in cases)),
        "errors": "0",
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _text(text):
    """Text without what XML cannot hold, such as a terminal's colours in a compiler's message."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
