"""Problems: what a tuner works on, made again from its description in any process.

An op with arguments is one (op_problem.py, in the room above the ops), a kernel of a user's own another
(kernel_problem.py). The tuner knows neither: it asks for a call, which configs that call asks for, runs it with others,
and has the results compared.
"""

from __future__ import annotations

import importlib
import os
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tritorch.autotune.tunable import noting_configs
from tritorch.runtime import precision
from tritorch.runtime.device import Device
from tritorch.runtime.kernel import recording_launches


@dataclass(frozen=True)
class Work:
    """What one call takes at least: multiplications and additions, bytes moved, and the dtype that is multiplied."""

    flops: int
    bytes: int
    dtype: str


class Call(ABC):
    """A problem with its arguments in memory, to be run again and again on one device."""

    work: Work

    @abstractmethod
    def run(self):
        """Do it once: fresh copies of what is written in place, launches, and the results as a tuple of arrays."""

    @abstractmethod
    def compare(self, results):
        """(largest difference from the NumPy reference in float64 in units of what is allowed, where it is)."""

    def prepare(self):  # noqa: B027  # most have nothing that takes long
        """Make now what `compare` will need and takes long, such as the reference's results."""


class Problem(ABC):
    """One call whose kernels are tuned.

    kind   the module that makes it again, see `problem_from`
    name   the op or kernel, for people;  label  its shapes, likewise;  dtype  the first array's
    """

    kind: str
    name: str
    label: str
    dtype: str

    @abstractmethod
    def to_json(self):
        """What `from_json` of the same class makes the problem again from; JSON's own types."""

    @classmethod
    @abstractmethod
    def from_json(cls, found):
        """The problem that `to_json` wrote; a ValueError in clear words where it is none."""

    @abstractmethod
    def call(self, device: Device, values=True) -> Call:
        """The Call on a device. Without `values` arrays are zero, of no use but to see what would be launched."""


def describe(problem):
    """A problem as JSON's own types, with its kind."""
    return {"kind": problem.kind, **problem.to_json()}


def problem_from(found):
    """The problem that `describe` wrote; a ValueError in clear words where it is none."""
    module = _KINDS.get(found.get("kind"))
    if module is None:
        raise ValueError(f"a problem of kind {found.get('kind')!r}; there are {', '.join(_KINDS)}")
    return importlib.import_module(module).PROBLEM.from_json(found)


_KINDS = {"op": "tritorch.autotune.op_problem", "kernel": "tritorch.autotune.kernel_problem"}


def to_process(problem):
    """What another process makes the same problem from: its class, its description, and the switches it depends on."""
    return type(problem), problem.to_json(), precision.get_float32_matmul_precision()


def from_process(found):
    """The problem that `to_process` was given elsewhere, with its switches set here."""
    kind, described, chosen = found
    precision.set_float32_matmul_precision(chosen)
    return kind.from_json(described)


def failure_text(error):
    """An exception of somebody's code in a line, with where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def configs_asked(call):
    """What a call asks configs for, as a list of Asked in order, each kernel and key once; nothing is launched."""
    found = {}
    with noting_configs() as asked, recording_launches(run=False):
        call.run()
    for each in asked:
        found.setdefault((each.kernel, each.key), each)
    return list(found.values())
