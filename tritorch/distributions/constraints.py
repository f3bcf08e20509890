"""Constraints: the regions that parameters and values of distributions lie in. `check` says, by event, what does."""

from __future__ import annotations

import tritorch


class Constraint:
    """A region of values; the last `event_dim` dimensions make one value."""

    is_discrete = False
    event_dim = 0

    def check(self, value):
        """True for each value that lies in the region."""
        raise NotImplementedError

    def __repr__(self):
        bounds = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__.removeprefix('_')}({bounds})"


class _Dependent(Constraint):
    """A region that depends on other parameters: a distribution says it by a property."""

    def __init__(self, *, is_discrete=False, event_dim=0):
        self._discrete, self._dim = is_discrete, event_dim

    is_discrete = property(lambda self: self._discrete)
    event_dim = property(lambda self: self._dim)

    def __call__(self, *, is_discrete=None, event_dim=None):
        return _Dependent(
            is_discrete=self._discrete if is_discrete is None else is_discrete,
            event_dim=self._dim if event_dim is None else event_dim,
        )

    def check(self, value):
        """Cannot be said without the distribution."""
        raise ValueError("Cannot determine validity of dependent constraint")

    def __repr__(self):
        return "Dependent()"


def is_dependent(constraint):
    """Whether a region depends on other parameters."""
    return isinstance(constraint, _Dependent)


class dependent_property(property, _Dependent):
    """A property of a distribution that gives a region; on the class it is a dependent one."""

    def __init__(self, fn=None, *, is_discrete=False, event_dim=0):
        property.__init__(self, fn)
        self._discrete, self._dim = is_discrete, event_dim

    def __call__(self, fn):
        return dependent_property(fn, is_discrete=self._discrete, event_dim=self._dim)


class _IndependentConstraint(Constraint):
    """A region whose last dimensions count as part of the value."""

    def __init__(self, base_constraint, reinterpreted_batch_ndims):
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims

    is_discrete = property(lambda self: self.base_constraint.is_discrete)
    event_dim = property(lambda self: self.base_constraint.event_dim + self.reinterpreted_batch_ndims)

    def check(self, value):
        """True where all of the reinterpreted dimensions are in the base's region."""
        found, count = self.base_constraint.check(value), self.reinterpreted_batch_ndims
        if found.dim() < count:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return found.reshape(*found.shape[: found.dim() - count], -1).all(-1) if count else found

    def __repr__(self):
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class _Real(Constraint):
    def check(self, value):
        """What is not NaN."""
        return value == value


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value):
        """0 or 1."""
        return (value == 0) | (value == 1)


class _OneHot(Constraint):
    is_discrete, event_dim = True, 1

    def check(self, value):
        """One 1, the rest 0."""
        return ((value == 0) | (value == 1)).all(-1) & value.sum(-1).eq(1)


class _IntegerInterval(Constraint):
    is_discrete = True

    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value):
        """Whole numbers from the lower to the upper bound, both included."""
        return (value % 1 == 0) & (self.lower_bound <= value) & (value <= self.upper_bound)

    def __repr__(self):
        return f"IntegerInterval(lower_bound={self.lower_bound}, upper_bound={self.upper_bound})"


class _IntegerGreaterThan(Constraint):
    is_discrete = True

    def __init__(self, lower_bound):
        self.lower_bound = lower_bound

    def check(self, value):
        """Whole numbers from the bound on."""
        return (value % 1 == 0) & (value >= self.lower_bound)


class _GreaterThan(Constraint):
    def __init__(self, lower_bound):
        self.lower_bound = lower_bound

    def check(self, value):
        """Above the bound."""
        return self.lower_bound < value


class _GreaterThanEq(_GreaterThan):
    def check(self, value):
        """From the bound on."""
        return self.lower_bound <= value


class _LessThan(Constraint):
    def __init__(self, upper_bound):
        self.upper_bound = upper_bound

    def check(self, value):
        """Below the bound."""
        return value < self.upper_bound


class _Interval(Constraint):
    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value):
        """From the lower to the upper bound, both included."""
        return (self.lower_bound <= value) & (value <= self.upper_bound)


class _HalfOpenInterval(_Interval):
    def check(self, value):
        """From the lower bound, included, to the upper, excluded."""
        return (self.lower_bound <= value) & (value < self.upper_bound)


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value):
        """Not negative, and in sum 1."""
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _Multinomial(Constraint):
    is_discrete, event_dim = True, 1

    def __init__(self, upper_bound):
        self.upper_bound = upper_bound

    def check(self, value):
        """Counts that are not negative and do not exceed the number of trials."""
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)

    def __repr__(self):
        return "Multinomial()"


class _Square(Constraint):
    event_dim = 2

    def check(self, value):
        """Square matrices."""
        return tritorch.full(value.shape[:-2], value.shape[-2] == value.shape[-1], dtype=tritorch.bool,
                             device=value.device)  # fmt: skip


class _Symmetric(_Square):
    def check(self, value):
        """Matrices equal to their transpose."""
        square = super().check(value)
        return tritorch.isclose(value, value.mT, atol=1e-6).all(-2).all(-1) if bool(square.all()) else square


class _PositiveDefinite(_Symmetric):
    def check(self, value):
        """Symmetric matrices all of whose eigenvalues are positive."""
        symmetric = super().check(value)
        return tritorch.linalg.cholesky_ex(value).info.eq(0) if bool(symmetric.all()) else symmetric


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value):
        """Matrices of zeros above the diagonal."""
        return (value.tril() == value).flatten(-2).all(-1)


class _LowerCholesky(_LowerTriangular):
    def check(self, value):
        """Lower triangular matrices with a positive diagonal."""
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


dependent = _Dependent()
independent = _IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
square = _Square()
symmetric = _Symmetric()
positive_definite = _PositiveDefinite()
