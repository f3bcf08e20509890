"""Knobs of a kernel and the space they span.

A knob is named as the kernel's constexpr parameter, or as a launch option (num_warps, num_stages). Its values stand in
an order in which neighbours are alike, which is what a search goes by.
"""

from __future__ import annotations

import inspect
import itertools
import math


def cdiv(a, b):
    """The number of blocks of `b` that cover `a`."""
    return -(-a // b)


def next_power_of_2(n):
    """The smallest power of two that is at least `n`; 1 for n below 1."""
    return 1 << (n - 1).bit_length() if n > 1 else 1


class Choices:
    """A knob that takes one of a few values, the middle one unless `default` names another."""

    def __init__(self, *values, default=None):
        if not values:
            raise ValueError("a knob needs at least one value")
        if len(set(values)) < len(values):
            raise ValueError(f"choices{values}: a value stands twice")
        if default is not None and default not in values:
            raise ValueError(f"choices{values}: the default {default!r} is none of them")
        self.values = values
        self.default = values[(len(values) - 1) // 2] if default is None else default

    def __contains__(self, value):
        return any(type(each) is type(value) and each == value for each in self.values)  # 1 is not True

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)

    def __repr__(self):
        return f"choices{self.values}"

    def random(self, random):
        """A value drawn by `random`, a `random.Random`."""
        return random.choice(self.values)

    def neighbours(self, value):
        """The values one step away from `value`; for one that is not among them, the nearest by size, else all."""
        if value not in self:
            if not all(isinstance(each, int) for each in (value, *self.values)):
                return self.values
            return (min(self.values, key=lambda each: abs(each - value)),)
        at = self.values.index(value)
        return self.values[max(at - 1, 0) : at] + self.values[at + 1 : at + 2]


class Permutations(Choices):
    """A knob that takes an order of some items; neighbours differ by one swap of adjacent items."""

    def __init__(self, *items, default=None):
        super().__init__(*itertools.permutations(items), default=items if default is None else tuple(default))

    def __repr__(self):
        return f"permutations{self.default}"

    def neighbours(self, value):
        """The orders that one swap of adjacent items leads to."""
        found = []
        for at in range(len(value) - 1):
            swapped = list(value)
            swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
            found.append(tuple(swapped))
        return tuple(found)


def choices(*values, default=None):
    """A knob that takes one of `values`, in an order in which neighbours are alike."""
    return Choices(*values, default=default)


def powers(low, high, default=None):
    """A knob that takes the powers of two from `low` to `high`, both included."""
    if low < 1 or low & (low - 1) or high & (high - 1) or high < low:
        raise ValueError(f"powers({low}, {high}): both ends must be powers of two, in order")
    return Choices(*(1 << k for k in range(low.bit_length() - 1, high.bit_length())), default=default)


def permutations(*items, default=None):
    """A knob that takes an order of `items`, as a tuple."""
    return Permutations(*items, default=default)


def warps(low=1, high=8, default=4):
    """The knob num_warps: powers of two from `low` to `high`; 4 if that is among them."""
    return powers(low, high, default=min(max(default, low), high))


def stages(low=1, high=4, default=None):
    """The knob num_stages: every depth of a pipeline from `low` to `high`."""
    return Choices(*range(low, high + 1), default=default)


class Space:
    """The configs a kernel can be launched with: the product of its knobs, as far as conditions allow.

    A condition in `where` is a function that names what it looks at: knobs, sizes and facts that the kernel's default
    and key name, or `device` (a DeviceInfo); it holds where it gives a true value. One that names a size nobody has
    given is taken to hold.
    """

    def __init__(self, *, where=(), **knobs):
        self.knobs = {name: knob if isinstance(knob, Choices) else Choices(*knob) for name, knob in knobs.items()}
        conditions = (where,) if callable(where) else tuple(where)
        self.conditions = [(each, tuple(inspect.signature(each).parameters)) for each in conditions]

    def __len__(self):
        """How many configs the knobs span, conditions aside."""
        return math.prod(len(knob) for knob in self.knobs.values())

    def __iter__(self):
        return self.configs()

    def configs(self, **known):
        """Every config that the conditions allow, given sizes, facts and `device`."""
        known, ready = dict(known), self._ready(known)
        if all(condition(**{name: known[name] for name in names}) for condition, names in ready.pop(None)):
            yield from self._extended({}, list(self.knobs), ready, known)

    def _ready(self, known):
        """For each knob the conditions that can be looked at once it and those before it have values; None: at once."""
        found = {name: [] for name in (None, *self.knobs)}
        for condition, names in self.conditions:
            if all(name in known or name in self.knobs for name in names):
                own = [name for name in self.knobs if name in names]
                found[own[-1] if own else None].append((condition, names))
        return found

    def _extended(self, config, left, ready, known):
        """The allowed configs that begin with the values of `config`; none is gone into further than it is allowed."""
        if not left:
            yield dict(config)
            return
        name, *rest = left
        for value in self.knobs[name]:
            config[name] = known[name] = value
            if all(condition(**{each: known[each] for each in names}) for condition, names in ready[name]):
                yield from self._extended(config, rest, ready, known)

    def default(self):
        """The default of each knob."""
        return {name: knob.default for name, knob in self.knobs.items()}

    def allows(self, config, **known):
        """Whether all conditions hold for a config, given sizes, facts and `device`."""
        return next(self._broken(config, known), None) is None

    def broken(self, config, **known):
        """The names of the conditions that do not hold for a config, given sizes, facts and `device`."""
        return [condition.__name__.strip("_") for condition in self._broken(config, known)]

    def _broken(self, config, known):
        known = known | config
        for condition, names in self.conditions:
            if all(name in known for name in names) and not condition(**{name: known[name] for name in names}):
                yield condition

    def random(self, random, **known):
        """A config drawn by a `random.Random` that the conditions allow, or None after many tries."""
        for _ in range(1000):
            config = {name: knob.random(random) for name, knob in self.knobs.items()}
            if self.allows(config, **known):
                return config
        return None

    def neighbours(self, config, **known):
        """The allowed configs that differ from `config` in one knob, by one step."""
        for name, knob in self.knobs.items():
            for value in knob.neighbours(config[name]) if name in config else knob.values:
                other = config | {name: value}
                if self.allows(other, **known):
                    yield other

    def check(self, config, owner):
        """Raise a ValueError naming the first knob of `config` that this space does not have."""
        for name in config:
            if name not in self.knobs:
                raise ValueError(f"{owner}: no knob named {name!r}; it has {', '.join(self.knobs)}")

    def check_values(self, config, owner):
        """Raise a ValueError where `config` is not one value of each knob."""
        self.check(config, owner)
        for name, knob in self.knobs.items():
            if name not in config:
                raise ValueError(f"{owner}: the config has no {name!r}")
            if config[name] not in knob:
                raise ValueError(f"{owner}: {name} is {config[name]!r}, which is none of {knob.values}")
