"""Knobs of a kernel and the space they span.

A knob is named as the kernel's constexpr parameter, or as a launch option (num_warps, num_stages).
"""

from __future__ import annotations

import itertools
import math


def cdiv(a, b):
    """The number of blocks of `b` that cover `a`."""
    return -(-a // b)


def next_power_of_2(n):
    """The smallest power of two that is at least `n`; 1 for n below 1."""
    return 1 << (n - 1).bit_length() if n > 1 else 1


class Choices:
    """A knob that takes one of a few values."""

    def __init__(self, *values):
        if not values:
            raise ValueError("a knob needs at least one value")
        self.values = values

    def __contains__(self, value):
        return value in self.values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)

    def __repr__(self):
        return f"choices{self.values}"

    def neighbours(self, value):
        """The values one step away from `value`."""
        at = self.values.index(value)
        return self.values[max(at - 1, 0) : at] + self.values[at + 1 : at + 2]


def choices(*values):
    """A knob that takes one of `values`, in an order in which neighbours are alike."""
    return Choices(*values)


def powers(low, high):
    """A knob that takes the powers of two from `low` to `high`, both included."""
    if low < 1 or low & (low - 1) or high & (high - 1) or high < low:
        raise ValueError(f"powers({low}, {high}): both ends must be powers of two, in order")
    return Choices(*(1 << k for k in range(low.bit_length() - 1, high.bit_length())))


class Space:
    """The configs a kernel can be launched with: the product of its knobs."""

    def __init__(self, **knobs):
        self.knobs = {name: knob if isinstance(knob, Choices) else Choices(*knob) for name, knob in knobs.items()}

    def __len__(self):
        return math.prod(len(knob) for knob in self.knobs.values())

    def __iter__(self):
        for values in itertools.product(*self.knobs.values()):
            yield dict(zip(self.knobs, values, strict=True))

    def check(self, config, owner):
        """Raise a ValueError naming the first knob of `config` that this space does not have."""
        for name in config:
            if name not in self.knobs:
                raise ValueError(f"{owner}: no knob named {name!r}; it has {', '.join(self.knobs)}")
