"""What trace_bench.py and trace_models.py share: op calls noted without launching anything, and what each is worth."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from tritorch.autograd.intercept import Interceptor
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.problem import describe
from tritorch.autotune.roofline import PRETENDED
from tritorch.autotune.trace import Seen, trace_of, write_shapes
from tritorch.runtime import transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches

SHORTEST = 2e-6  # seconds that a launch takes at least, however little it does
MOST = 500  # problems of a file


class Calls(Interceptor):
    """Every op call as an OpProblem, in order; None where there is nothing to tune."""

    def __init__(self, values):
        self.values, self.found = values, []

    def intercept(self, cls, args):
        """The call, noted."""
        try:
            self.found.append(OpProblem.of(cls, args, self.values))
        except ValueError:
            self.found.append(None)
        return cls.apply(*args)


class Dropped:
    """What recorded launches are put in when nobody wants them: a list would keep every array."""

    def append(self, launch):
        """Let go of it."""


@contextmanager
def nothing_runs():
    """Inside, launches are not carried out, and arrays are zeros that nobody touches."""
    before, transfer.empty_on_host = transfer.empty_on_host, np.zeros
    try:
        with recording_launches(run=False, launches=Dropped()):
            yield
    finally:
        transfer.empty_on_host = before


class Worth:
    """Calls by what they are: how often each is made, and the least time of all of them on an H200."""

    def __init__(self):
        self.seen: dict = {}

    def add(self, call, by=None):
        """Count a call, as equal to those of the same description; `by` is the one that is described instead."""
        key = str(describe(by or call))
        self.seen.setdefault(key, Seen(call.name, call, device=INTERPRETER)).count += 1

    def write(self, path, about):
        """Write the shapes file; gives the Trace."""
        for each in self.seen.values():
            work = each.problem.call(INTERPRETER, values=False).work
            each.seconds = each.count * max(SHORTEST, PRETENDED.seconds(work))
        trace = trace_of(sorted(self.seen.values(), key=lambda each: -each.seconds), MOST)
        write_shapes(path, trace, about, "none: the least time on an H200")
        return trace
