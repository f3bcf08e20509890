"""Draw: where samples get their numbers, the same ones in every test, on every device."""

from __future__ import annotations

import numpy as np


class Draw:
    """Random arrays of one floating dtype for `Op.samples`; `draw(5, 7)` is standard normal."""

    def __init__(self, dtype=np.float32, seed=0):
        self.dtype, self.random = np.dtype(dtype), np.random.default_rng(seed)

    def __call__(self, *shape):
        return np.asarray(self.random.standard_normal(shape)).astype(self.dtype)

    def uniform(self, low, high, *shape):
        """Numbers between `low` and `high`."""
        return np.asarray(self.random.uniform(low, high, shape)).astype(self.dtype)

    def apart(self, *shape, gap=0.05):
        """Numbers no two of which are closer than `gap`, so that a maximum is one element's and stays it."""
        count = int(np.prod(shape))
        values = (self.random.permutation(count) - count / 2 + 0.25) * gap
        return values.reshape(shape).astype(self.dtype)

    def integers(self, low, high, *shape, dtype=np.int64):
        """Integers from `low` up to, without, `high`."""
        return np.asarray(self.random.integers(low, high, shape)).astype(dtype)

    def booleans(self, *shape):
        """True or False, evenly."""
        return np.asarray(self.random.random(shape) < 0.5)

    def again(self, values, *shape):
        """The elements of an array in order, again and again, under another shape."""
        count, have = int(np.prod(shape)), min(values.size, int(np.prod(shape)))
        found = np.empty(count, values.dtype)
        found[:have] = values.reshape(-1)[:have]
        while 0 < have < count:  # as much again as is there
            more = min(have, count - have)
            found[have : have + more] = found[:more]
            have += more
        return found.reshape(shape)
