"""Distribution: what all distributions share, shapes, checks and what follows from other quantities."""

from __future__ import annotations

from typing import ClassVar

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.utils import lazy_property
from tritorch.tensor import Size, Tensor


class Distribution:
    """A distribution over values of `event_shape`, for each parameter of `batch_shape`.

    A member has `arg_constraints` and `support`, and of `rsample` or `sample`, `log_prob`, `entropy`, `mean`,
    `variance`, `cdf`, `icdf` those that there is a formula for.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[dict] = {}
    _validate_args = __debug__

    def __init__(self, batch_shape=Size(), event_shape=Size(), validate_args=None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    @staticmethod
    def set_default_validate_args(value):
        """Say whether parameters and values are checked unless told otherwise."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def _check_parameters(self):
        for name, constraint in self.arg_constraints.items():
            lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if constraints.is_dependent(constraint) or (lazy and name not in self.__dict__):
                continue
            value = getattr(self, name)
            if not bool(constraint.check(value).all()):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    @property
    def batch_shape(self):
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self):
        """The shape of one value."""
        return self._event_shape

    @property
    def support(self):
        """The region that values lie in."""
        raise NotImplementedError

    @property
    def mean(self):
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self):
        """The most probable value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self):
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self):
        """The root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape=Size()):
        """Draws without gradient: of `sample_shape`, then `batch_shape`, then `event_shape`."""
        with tritorch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=Size()):
        """Draws that move with the parameters, so that gradients by these flow through them."""
        raise NotImplementedError

    def log_prob(self, value):
        """The logarithm of the density, or probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value):
        """The probability of values up to `value`."""
        raise NotImplementedError

    def icdf(self, value):
        """The value up to which the probability is `value`."""
        raise NotImplementedError

    def enumerate_support(self, expand=True):
        """All values of a discrete distribution, along dimension 0."""
        raise NotImplementedError

    def entropy(self):
        """The mean of -log_prob."""
        raise NotImplementedError

    def perplexity(self):
        """exp(entropy)."""
        return self.entropy().exp()

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameters expanded to `batch_shape`."""
        shape, new = Size(batch_shape), self._expanded_instance(_instance)
        for name in self.arg_constraints:
            if name in self.__dict__:
                own = self._parameter_event_shape(name)
                setattr(new, name, getattr(self, name).expand(shape + own))
        Distribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _expanded_instance(self, instance):
        if instance is not None:
            return instance
        return type(self).__new__(type(self))

    def _parameter_event_shape(self, name):
        """The dimensions of a parameter that are no batch dimensions."""
        return Size(getattr(self, name).shape[len(self._batch_shape) :])

    def _extended_shape(self, sample_shape=Size()):
        return Size(sample_shape) + self._batch_shape + self._event_shape

    def _validate_sample(self, value):
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        first = value.dim() - len(self._event_shape)
        if value.shape[first:] != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.size()} vs {self._event_shape}."
            )
        actual, expected = value.size(), self._batch_shape + self._event_shape
        for i, j in zip(reversed(actual), reversed(expected), strict=False):
            if i not in (1, j) and j != 1:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {actual} vs {expected}.")
        if not bool(self.support.check(value).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({self.support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _check_value(self, value):
        if self._validate_args:
            self._validate_sample(value)

    def __repr__(self):
        names = [name for name in self.arg_constraints if name in self.__dict__]
        found = ((name, getattr(self, name)) for name in names)
        return f"{type(self).__name__}({', '.join(f'{n}: {v if v.numel() == 1 else v.size()}' for n, v in found)})"


class ExponentialFamily(Distribution):
    """A distribution of density exp(parameters . statistics - normaliser) on a carrier."""
