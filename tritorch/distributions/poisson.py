"""The Poisson distribution."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import ExponentialFamily
from tritorch.distributions.utils import broadcast_all
from tritorch.tensor import Size


class Poisson(ExponentialFamily):
    """Counts of events of which `rate` happen on average."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate, validate_args=None):
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    @property
    def mean(self):
        return self.rate

    @property
    def mode(self):
        return self.rate.floor()

    @property
    def variance(self):
        return self.rate

    def sample(self, sample_shape=Size()):
        with tritorch.no_grad():
            return tritorch.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._check_value(value)
        rate, value = broadcast_all(self.rate, value)
        return tritorch.xlogy(value, rate) - rate - (value + 1).lgamma()
