"""A case: inputs by their shapes, a step that either library does with them, and what it costs at least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tritorch.autotune.problem import Work
from tritorch.runtime import dtypes

DRAWN = (1 << 24) - 3  # numbers drawn at most: larger inputs repeat them, since drawing takes longer than what is timed


class Input(NamedTuple):
    """A tensor of normal numbers times `scale`; `order` says which dimension lies outermost in memory, which next.

    With `below` it is one of integers from 0 to below that.
    """

    shape: tuple
    scale: float = 1.0
    requires_grad: bool = False
    order: tuple | None = None
    below: int | None = None

    @property
    def size(self):
        """How many elements it has."""
        return math.prod(self.shape)

    def laid_out(self, make):
        """An array of its shape in the memory order it asks for; `make(shape)` gives the memory."""
        order = self.order or tuple(range(len(self.shape)))
        return make([self.shape[dim] for dim in order]).transpose(sorted(range(len(order)), key=order.__getitem__))

    def numbers(self, random):
        """Its elements on the host, in float32 or int64."""
        return self.laid_out(lambda shape: np.resize(self._some(random, min(self.size, DRAWN)), shape))

    def _some(self, random, count):
        if self.below is not None:
            return random.integers(0, self.below, count)
        return random.standard_normal(count, np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class Case:
    """Something to time.

    name             what it is, for people
    dtype            of its inputs; "tf32" is float32 whose products may be rounded to tf32
    inputs           an Input for each tensor
    step             step(lib, *tensors) makes ready, and gives a function that does it once and returns what it
                     computed; `lib` has PyTorch's names
    work             what it takes at least; None where there is no such bound
    length           how many terms an element of the results sums
    unit             what its figures are given in, a key of UNITS
    gives_gradients  whether what it computes are gradients
    on_host          whether the time of Python until all is queued is asked, not that of the device
    needs_gpu        whether it means nothing without one
    alone            whether another library has nothing like it
    choices          choices(lib) gives {name: context manager}: ways of the other library, of which the fastest counts
    compiles         whether `step` takes `wrap`, a function that compiles what the step calls
    usual            whether it is timed where no dtype is asked for
    line             what it is without its size: cases of one line differ by `size`
    size             where it stands on its line, in what the suite's AXIS says
    """

    is_whole: ClassVar[bool] = False  # whether it is timed from its start until a GPU has done all of it

    name: str
    dtype: str
    inputs: tuple
    step: Callable
    work: Work | None = None
    length: int = 1
    unit: str = "us"
    gives_gradients: bool = False
    on_host: bool = False
    needs_gpu: bool = False
    alone: bool = False
    choices: Callable | None = None
    compiles: bool = False
    usual: bool = True
    line: str = ""
    size: int = 0

    @property
    def tf32(self):
        """Whether float32 products may be rounded to tf32."""
        return self.dtype == "tf32"

    @property
    def stored(self):
        """The dtype of its inputs in memory."""
        return dtypes.NAMES["float32" if self.tf32 else self.dtype]

    def figure(self, seconds):
        """What is reported for a step of `seconds`, in the case's unit."""
        return UNITS[self.unit](self.work, seconds)

    def drawn(self, random):
        """Its inputs on the host."""
        return [each.numbers(random).astype(self.kind_of(each)) for each in self.inputs]

    def kind_of(self, given):
        """The NumPy dtype of an Input."""
        return self.stored.numpy if given.below is None else np.dtype(np.int64)

    def results(self, step):
        """What a step gives that both sides are compared by."""
        return step()

    def beside(self, device):
        """Functions that are timed in the same turns and belong to no side."""
        return []

    def facts(self, device, sides, beside):
        """More of a row: {name: value}, from the Sides by name and the seconds of what was timed beside them."""
        return {}


class Side(NamedTuple):
    """A library's step as it was timed; `peer` is None for this library."""

    lib: object
    step: Callable
    seconds: float
    peer: object = None


UNITS = {
    "us": lambda work, seconds: seconds * 1e6,
    "ms": lambda work, seconds: seconds * 1e3,
    "TFLOP/s": lambda work, seconds: work.flops / seconds / 1e12,
    "GB/s": lambda work, seconds: work.bytes / seconds / 1e9,
}


def work_of(flops, elements, dtype):
    """The Work of so many operations that move so many elements."""
    size = dtypes.NAMES["float32" if dtype == "tf32" else dtype].itemsize
    return Work(int(flops), int(elements) * size, dtype)


def short(number):
    """Four digits, which is more than a measurement has."""
    return float(f"{number:.4g}")
