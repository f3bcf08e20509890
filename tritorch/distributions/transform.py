"""Transform: what all transforms share; their inverses, and several one after the other."""

from __future__ import annotations

import functools
import weakref

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.utils import sum_rightmost


class Transform:
    """An invertible function from `domain` to `codomain`.

    A member has `_call`, `_inverse` and `log_abs_det_jacobian`, and where it rises or falls everywhere its `sign`.
    """

    bijective = False
    domain: constraints.Constraint
    codomain: constraints.Constraint

    def __init__(self, cache_size=0):
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size, self._inverse_of = cache_size, None
        self._cached = None, None

    @property
    def event_dim(self):
        """The dimensions of one value, where they are the same on both sides."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self):
        """The inverse, a Transform too."""
        found = self._inverse_of() if self._inverse_of is not None else None
        if found is None:
            found = _InverseTransform(self)
            self._inverse_of = weakref.ref(found)
        return found

    @property
    def sign(self):
        """1 where the function rises, -1 where it falls."""
        raise NotImplementedError

    def with_cache(self, cache_size=1):
        """The same transform, remembering its last value and result if `cache_size` is 1."""
        if self._cache_size == cache_size:
            return self
        raise NotImplementedError(f"{type(self)}.with_cache is not implemented")

    def __call__(self, x):
        """The function at `x`."""
        if not self._cache_size:
            return self._call(x)
        if x is not self._cached[0]:
            self._cached = x, self._call(x)
        return self._cached[1]

    def _inverse_call(self, y):
        if not self._cache_size:
            return self._inverse(y)
        if y is not self._cached[1]:
            self._cached = self._inverse(y), y
        return self._cached[0]

    def _call(self, x):
        raise NotImplementedError

    def _inverse(self, y):
        raise NotImplementedError

    def log_abs_det_jacobian(self, x, y):
        """log |det dy/dx| at `x`, where the function gives `y`."""
        raise NotImplementedError

    def forward_shape(self, shape):
        """The shape of results for values of `shape`."""
        return shape

    def inverse_shape(self, shape):
        """The shape of values for results of `shape`."""
        return shape

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__

    def __repr__(self):
        return f"{type(self).__name__}()"


class _InverseTransform(Transform):
    """A transform the other way."""

    def __init__(self, transform):
        super().__init__(transform._cache_size)
        self._inv = transform

    domain = property(lambda self: self._inv.codomain)
    codomain = property(lambda self: self._inv.domain)
    bijective = property(lambda self: self._inv.bijective)
    sign = property(lambda self: self._inv.sign)
    inv = property(lambda self: self._inv)

    def with_cache(self, cache_size=1):
        """The inverse of the transform with a cache."""
        return self._inv.with_cache(cache_size).inv

    def __eq__(self, other):
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    __hash__ = object.__hash__

    def __repr__(self):
        return f"{type(self).__name__}({self._inv!r})"

    def __call__(self, x):
        return self._inv._inverse_call(x)

    def log_abs_det_jacobian(self, x, y):
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape):
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape):
        return self._inv.forward_shape(shape)


class ComposeTransform(Transform):
    """One transform after the other."""

    def __init__(self, parts, cache_size=0):
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else list(parts)
        super().__init__(cache_size)

    def __eq__(self, other):
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = object.__hash__

    @property
    def domain(self):
        """What the first takes, with the dimensions that later ones need."""
        return self._widened(self.parts, "domain") if self.parts else constraints.real

    @property
    def codomain(self):
        """What the last gives, with the dimensions of those before."""
        return self._widened(self.parts[::-1], "codomain") if self.parts else constraints.real

    @staticmethod
    def _widened(parts, side):
        other = "codomain" if side == "domain" else "domain"
        event_dim = getattr(parts[-1], other).event_dim
        for part in reversed(parts):
            event_dim += getattr(part, side).event_dim - getattr(part, other).event_dim
            event_dim = max(event_dim, getattr(part, side).event_dim)
        own = getattr(parts[0], side)
        return constraints.independent(own, event_dim - own.event_dim) if event_dim > own.event_dim else own

    @property
    def bijective(self):
        """Whether all are."""
        return all(part.bijective for part in self.parts)

    @property
    def sign(self):
        """The product of the signs."""
        return functools.reduce(lambda x, y: x * y, (part.sign for part in self.parts), 1)

    @property
    def inv(self):
        """The inverses in the other order."""
        return ComposeTransform([part.inv for part in reversed(self.parts)])

    def with_cache(self, cache_size=1):
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size)

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return x

    def log_abs_det_jacobian(self, x, y):
        if not self.parts:
            return tritorch.zeros_like(x)
        values = [x]
        for part in self.parts[:-1]:
            values.append(part(values[-1]))
        values.append(y)
        found, event_dim = 0.0, self.domain.event_dim
        for part, before, after in zip(self.parts, values[:-1], values[1:], strict=True):
            change = part.log_abs_det_jacobian(before, after)
            found = found + sum_rightmost(change, event_dim - part.domain.event_dim)
            event_dim += part.codomain.event_dim - part.domain.event_dim
        return found

    def forward_shape(self, shape):
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape):
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self):
        return f"ComposeTransform(\n    {(',' + chr(10) + '    ').join(repr(part) for part in self.parts)}\n)"


identity_transform = ComposeTransform([])
