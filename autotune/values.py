"""What arrays hold: drawn the same in every process, and looked at so that others like them can be drawn."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.draw import Draw
from tritorch.runtime import transfer
from tritorch.runtime.quiet import restore, silence

MOST_BYTES = 1 << 38  # of all tensors of a call
_DRAWN = 1_000_003  # numbers drawn at most, a prime; larger arrays repeat them, and no two rows begin alike
_KEPT = 256  # integers that are kept as they are
_LOOKED_AT = 1 << 20  # elements of an array that are looked at, of larger ones evenly spaced


class Repeating(Draw):
    """A Draw whose large arrays repeat about a million numbers: a few hundred million take a second, not minutes."""

    def _repeated(self, shape, draw):
        count = math.prod(shape)
        return draw(shape) if count <= _DRAWN else self.again(draw((_DRAWN,)), *shape)

    def __call__(self, *shape):
        return self._repeated(shape, lambda some: super(Repeating, self).__call__(*some))

    def uniform(self, low, high, *shape):
        """Numbers between `low` and `high`."""
        return self._repeated(shape, lambda some: super(Repeating, self).uniform(low, high, *some))

    def integers(self, low, high, *shape, dtype=np.int64):
        """Integers from `low` up to, without, `high`."""
        return self._repeated(shape, lambda some: super(Repeating, self).integers(low, high, *some, dtype=dtype))

    def booleans(self, *shape, share=0.5):
        """True for about this share of the elements."""
        return self._repeated(shape, lambda some: np.asarray(self.random.random(some) < share))

    def orders(self, low, high, *shape):
        """Integers from `low` up to, without, `high`, none of them twice along the last dimension."""
        rows, length = math.prod(shape[:-1]), shape[-1]
        if length == high - low:
            found = np.argsort(self.random.random((rows, length)), axis=-1)
        else:
            picked = [self.random.choice(high - low, length, replace=False) for _ in range(rows)]
            found = np.array(picked, np.int64)
        return (low + found).reshape(shape)


class Hollow(Draw):
    """A Draw whose arrays are zeros that take no memory until they are written."""

    def _zeros(self, shape, dtype):
        if math.prod(shape) * np.dtype(dtype).itemsize > MOST_BYTES:
            raise ValueError(f"a tensor of shape {shape} takes more than {MOST_BYTES >> 30} GiB")
        return np.zeros(shape, dtype)

    def __call__(self, *shape):
        return self._zeros(shape, self.dtype)

    def uniform(self, low, high, *shape):
        """Zeros."""
        return self._zeros(shape, self.dtype)

    def apart(self, *shape, gap=0.05):
        """Zeros."""
        return self._zeros(shape, self.dtype)

    def integers(self, low, high, *shape, dtype=np.int64):
        """Zeros."""
        return self._zeros(shape, dtype)

    def again(self, values, *shape):
        """Zeros."""
        return self._zeros(shape, values.dtype)

    def booleans(self, *shape):
        """False."""
        return self._zeros(shape, np.bool_)


def drawn(spec, shape, draw):
    """Values of the kind that a TensorSpec describes, under a shape of its own."""
    dtype = spec.numpy
    if dtype == np.bool_:
        return draw.booleans(*shape, share=0.5 if spec.share is None else spec.share)
    if dtype.kind in "iu":
        low, high = (0 if spec.low is None else spec.low), (1 if spec.high is None else spec.high)
        found = draw.orders(low, high + 1, *shape) if spec.unique else draw.integers(low, high + 1, *shape)
        return (np.sort(found, axis=-1) if spec.sorted else found).astype(dtype, copy=False)
    draw.dtype = dtype
    if spec.low is None:
        found = draw(*shape)
        return np.sort(found, axis=-1) if spec.sorted else found
    found = draw.uniform(spec.low, spec.high, *shape)
    return np.sort(found, axis=-1) if spec.sorted else found


def look(array):
    """What of an array's values matters to those that are drawn in their place, by the names of a TensorSpec."""
    if not array.size:
        return {}
    some = transfer.to_host(_evenly(array))
    if some.dtype == np.bool_:
        share = round(float(some.mean()), 2)
        return {} if share == 0.5 else {"share": share}
    if some.dtype.kind in "iu":
        if some.size <= _KEPT:
            return {"values": tuple(some.reshape(-1).tolist())}
        return {"low": int(some.min()), "high": int(some.max()), **_order(some, array)}
    before = silence()  # a cast of a signalling NaN, or of memory that was never set, says so
    some = some.astype(np.float64)
    restore(before)
    return _range(some) | ({"sorted": True} if some.shape == array.shape and _ascends(some) else {})


def _evenly(array):
    """The array itself, or a view of elements of it that lie evenly."""
    while array.size > _LOOKED_AT:
        longest = max(range(array.ndim), key=lambda dim: array.shape[dim])
        array = array[(slice(None),) * longest + (slice(None, None, 2),)]
    return array


def _order(some, array):
    """Whether rows ascend, and whether no value stands twice in one; only where all elements were looked at."""
    if some.shape != array.shape or not some.ndim or some.shape[-1] < 2:
        return {}
    steps = np.diff(np.sort(some, axis=-1), axis=-1)
    found = {"sorted": True} if _ascends(some) else {}
    # Rows of different values are drawn one by one, unless they are orders of all there are.
    rows, all_of_them = math.prod(some.shape[:-1]), int(some.max()) - int(some.min()) + 1 == some.shape[-1]
    if (steps > 0).all() and (all_of_them or rows <= 64):
        found["unique"] = True
    return found


def _ascends(rows):
    """Whether every row is in order, and not of equal elements."""
    if not rows.ndim or rows.shape[-1] < 2:
        return False
    return bool((rows[..., 1:] >= rows[..., :-1]).all() and (rows[..., 0] < rows[..., -1]).all())


def _range(values):
    """The range of values that must stay in it; nothing of others, which are as well drawn from a normal distribution.

    They all have one sign (variances, probabilities), or fill what is between -1 and 1 (places in an image, what a tanh
    gave). Equal ones, such as new weights, are taken apart: of equal ones it does not show which was read.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return {}
    if low < 0 < high:
        return {"low": -1.0, "high": 1.0} if 0.9 < max(-low, high) < 1.5 else {}
    if low == high:
        low, high = (low / 2, low * 1.5) if low else (0.0, 1.0)
    return {"low": float(f"{min(low, high):.3g}"), "high": float(f"{max(low, high):.3g}")}
